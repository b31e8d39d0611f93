"""What a key shows is drawn where it is: nothing has all panes laid out, which takes longer than the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktcpdump_tui.debuginfo.source import SourceFinder

TRACE = Path(__file__).parents[1] / "data" / "four-ways-6.12.ktrace"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_stepping_through_files_without_source_lays_nothing_out(debugger, layouts, size):
    async with debugger(TRACE, size=size, sources=SourceFinder([], release="6.12")) as driver:
        await driver.enter(":60")
        layouts.clear()
        files = set()
        for key in ("s",) * 12 + ("n",) * 6 + ("j", "k", "N", "S", "G", "g", "pagedown"):
            await driver.press(key)
            files.add(driver.app.instruction().source.file)
            assert driver.app.source_file == driver.app.instruction().source.file
            assert driver.app.query_one("#disassembly").display
        assert len(files) > 2, "through headers too"
        assert not layouts
        assert f"no source for {driver.app.source_file}" in driver.text("#notice")


async def test_stepping_through_known_files_lays_nothing_out(debugger, recorded, layouts):
    async with debugger(recorded, size=(120, 40)) as driver:
        await driver.press("s", "g")
        layouts.clear()
        for key in ("s", "n", "s", "s", "N", "S", "j", "k", "G", "g"):
            await driver.press(key)
        assert not layouts


async def test_values_that_come_and_go_lay_nothing_out(debugger, recorded, layouts):
    """A section with more lines than the screen has a scroll bar, and one with fewer a place for it."""
    async with debugger(recorded, size=(120, 40)) as driver:
        await driver.press("3")
        tree = driver.app.query_one("#section-registers")
        fields = tree._fields
        layouts.clear()
        for shown in (fields[:2], fields * 4, fields[:2], fields):
            tree.show(shown)
            await driver.until()
        assert not layouts


async def test_the_headers_say_where_the_keyboard_is(debugger, recorded):
    async with debugger(recorded, size=(120, 40)) as driver:

        def marked():
            headers = ("Breadcrumb", "TraceHeader", "SectionBar")
            return [name for name in headers if driver.app.query_one(name).has_class("focused")]

        assert marked() == ["TraceHeader"]
        for key in ("3", "4", "5"):
            await driver.press(key)
            assert marked() == ["SectionBar"]
        await driver.press(":")
        assert marked() == []
        await driver.press("escape")
        assert marked() == ["SectionBar"]


async def test_a_section_that_is_chosen_has_the_styles_of_few_widgets_worked_out(
    debugger, recorded, monkeypatch
):
    async with debugger(recorded, size=(120, 40)) as driver:
        await driver.press("3", "4", "3")
        sheet, worked_out = driver.app.stylesheet, []
        plain = sheet.apply
        monkeypatch.setattr(
            sheet, "apply", lambda node, **named: (worked_out.append(node), plain(node, **named))
        )
        await driver.press("4")
        assert driver.app.focused.id == "section-variables"
        everything = len(list(driver.app.screen.walk_children()))
        assert len(worked_out) < everything / 4, worked_out


@pytest.mark.parametrize("source", [True, False])
async def test_what_is_drawn_line_by_line_is_what_would_be_drawn_as_a_whole(debugger, recorded, source):
    path, options = (recorded, {}) if source else (TRACE, {"sources": SourceFinder([], release="6.12")})
    async with debugger(path, size=(120, 40), **options) as driver:

        def picture():
            strips = driver.app.screen._compositor.render_strips()
            return [[(segment.text, str(segment.style)) for segment in strip] for strip in strips]

        await driver.press("tab", "d")
        for key in (*"ssn", "up", "up", *"snnsNS", "down", *"sjkGgmcb", "pagedown", *"sn"):
            await driver.press(key)
            kept = picture()
            for widget in driver.app.screen.walk_children():
                widget._styles_cache.clear()
            assert kept == picture(), key


async def test_a_section_chosen_on_a_large_terminal_is_there_when_it_gets_small(debugger, recorded):
    async with debugger(recorded, size=(120, 40)) as driver:
        await driver.press("3")
        await driver.pilot.resize_terminal(80, 24)
        await driver.until(lambda: driver.app.main.has_class("compact"))
        assert "3Regs" in driver.text().replace(" ", "")
        assert driver.app.query_one("#section-registers").region.height > 5
        assert driver.app.focused.id == "section-registers"
