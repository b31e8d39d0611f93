"""What the panes show: line states, losses, the inspector, missing source, sizes, themes, help."""

from __future__ import annotations

import re

import pytest
from textual.color import Color
from tui_capture import C_FILE, PATH, PER_PACKET, Capture

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.model import LineState
from ktcpdump_tui.tui import bindings
from ktcpdump_tui.tui.commands import COMMANDS
from ktcpdump_tui.tui.coverage import GLYPHS, short_count
from ktcpdump_tui.tui.inspector import NAMES
from ktcpdump_tui.tui.palette import ANSI, CONTRAST, DARK, LIGHT, PALETTES, THEMES
from ktcpdump_tui.tui.rows import duration


def gutter(driver, line):
    """Return hits and state glyph of a line of the source pane."""
    for text in driver.text("#source").splitlines():
        found = re.match(r"[● ][▶▷ ] *(\d+) .... (....) (.) ", text)
        if found and int(found[1]) == line:
            return found[2].strip(), found[3]
    raise AssertionError(f"line {line} is not on the screen:\n" + driver.text("#source"))


async def test_the_four_states_of_a_line_have_glyphs_of_their_own(debugger, recorded, lossy):
    assert len({glyph for glyph, _ in GLYPHS.values()}) == len(LineState)
    async with debugger(recorded, size=(100, 60)) as driver:
        assert gutter(driver, 20) == ("3", "▌")
        assert gutter(driver, 14) == ("", "○")
        assert gutter(driver, 23) == ("", "·")
        assert gutter(driver, 21) == ("", " ")
    async with debugger(lossy, size=(100, 60)) as driver:
        assert gutter(driver, 14) == ("", "?"), "events were lost: it may have been executed"
        assert gutter(driver, 20) == ("4", "▌")
        assert gutter(driver, 23) == ("", "·")


async def test_lost_events_have_a_row_and_a_place_in_the_status_bar(debugger, lossy):
    async with debugger(lossy) as driver:
        rows = driver.app.navigator.rows
        assert len(rows) == 4 * PER_PACKET + 1 + 2, "a row for the gap, one for each of two drops"
        await driver.enter(f":{2 * PER_PACKET + 1}")
        table = driver.text("#trace")
        assert "— 12 events lost on CPU 1 —" in table
        gap = next(row for row, text in enumerate(table.splitlines()) if "lost on CPU" in text)
        assert f" {2 * PER_PACKET} " in table.splitlines()[gap - 1]
        assert f" {2 * PER_PACKET + 1} " in table.splitlines()[gap + 1]
        assert "LOST 12: ring buffer full 12" in driver.text("#status")
        await driver.press("k")
        assert driver.no == 2 * PER_PACKET, "a gap is no event"
        await driver.pilot.click("#trace", offset=(20, gap))
        await driver.until(lambda: driver.no == 2 * PER_PACKET + 1)


async def test_truncated_events_are_told_in_the_status_bar(debugger, tmp_path):
    capture = Capture(tmp_path / "cut.ktrace")
    capture.packet()
    capture.close(truncated={"packet": 7, "stack": 3})
    async with debugger(tmp_path / "cut.ktrace", size=(120, 30)) as driver:
        assert "7 truncated" in driver.text("#status")
        assert "lost 0" in driver.text("#status"), "a part is missing, no event"


async def test_the_inspector_shows_the_packet_and_what_changed(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.press("1")
        assert driver.app.focused.id == "section-packet"
        packet = driver.text("#section-packet")
        assert re.search(r"^ +ttl +64", packet, re.MULTILINE)
        assert "10.0.0.1 > 10.0.0.2" in packet
        await driver.enter(":13")
        packet = driver.text("#section-packet")
        assert re.search(r"^\* +ttl +63 .*was 64", packet, re.MULTILINE), "the header changed: " + packet
        assert re.search(r"^  +dst +10.0.0.2 ", packet, re.MULTILINE)
        assert "event 13, * since 12" in driver.text("SectionBar")


async def test_registers_say_what_they_point_to(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.press("3", "j")
        text = driver.text("#section-registers")
        assert re.search(r"^  +rdi +ffff888000000100  skb", text, re.MULTILINE)
        assert re.search(r"^\* +rip +ffffffff81000005  ip_demo_rcv\+5", text, re.MULTILINE)
        assert re.search(r"^  +rbx +0000000000000003  3", text, re.MULTILINE)


async def test_fate(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.press("6")
        text = driver.text("#section-identity")
        assert re.search(r"fate +dropped", text)
        assert "ip_demo_core+28" in text
        assert f"{C_FILE}:14" in text
        assert re.search(r"found by +argument", text)
        await driver.press("]")
        assert re.search(r"fate +consumed", driver.text("#section-identity"))


async def test_fields_stay_open_from_event_to_event(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("1", "enter", "j")
        assert "type" not in driver.text("#section-packet").split("IP")[0]
        await driver.press("end", "up", "right")
        opened = driver.app.query_one("#section-packet").opened
        await driver.press("j")
        assert driver.app.query_one("#section-packet").opened == opened


async def test_without_debug_symbols_the_instructions_are_shown(debugger, tmp_path):
    capture = Capture(tmp_path / "bare.ktrace", lines=False)
    capture.packet()
    capture.close()
    async with debugger(tmp_path / "bare.ktrace") as driver:
        text = driver.text("#source-pane")
        assert "captured without debug" in text
        assert "nopl" in text
        await driver.press("s")
        assert "mov" in next(line for line in driver.text("#disassembly").splitlines() if "▶" in line)
        await driver.press("4")
        assert "the trace holds none" in driver.text("#section-variables")


class NoSource:
    def find(self, file):
        return Missing(file, ("/usr/src",), "apt-get install linux-source-6.12")


async def test_missing_source_says_what_was_looked_for_and_where_to_get_it(debugger, recorded):
    async with debugger(recorded, sources=NoSource()) as driver:
        text = driver.text("#source-pane")
        assert f"no source for {C_FILE} (looked in /usr/src)" in text
        assert "apt-get install linux-source-6.12" in text
        assert "nopl" in text


class BrokenSource:
    def find(self, file):
        raise RuntimeError("the archive bit")


async def test_errors_of_the_threads_reach_the_screen(debugger, recorded):
    async with debugger(recorded, sources=BrokenSource()) as driver:
        assert "RuntimeError: the archive bit" in driver.told
        await driver.press("j")
        assert driver.no == 2, "the rest still works"
        await driver.press("escape")
        assert not driver.app.query_one("#banner").display


async def test_disassembly_marks_the_instruction_its_line_and_what_was_refused(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.enter(":3")
        await driver.press("d")
        lines = driver.text("#disassembly").splitlines()
        here = next(line for line in lines if "▶" in line)
        assert re.search(r"▶│ +\+8 +1 +3 ▌ call .*// CALL ip_demo_core", here)
        assert any("x ud2" in line and "EINVAL" in line for line in lines)
        await driver.press("d")
        assert not driver.app.query_one("#disassembly").display


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (200, 60)], ids=str)
async def test_every_size_shows_what_it_has_room_for(debugger, recorded, size):
    async with debugger(recorded, size=size) as driver:
        large = size != (80, 24)
        inspector = driver.app.query_one("#inspector")
        for selector in ("#source", "#trace", "#status"):
            assert driver.app.query_one(selector).region.height > 0
        assert inspector.display is large
        assert driver.app.query_one("#source").region.height >= 8
        assert driver.app.query_one("#trace").region.height >= 8
        await driver.press("3")
        assert inspector.display
        assert "rax" in driver.text("#inspector")
        await driver.press("v")
        assert not inspector.display
        await driver.press("v", "z")
        assert driver.app.focused is not None
        await driver.press("z")


async def test_resizing_keeps_the_event_in_sight(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.enter(":40")
        for size in ((80, 24), (200, 60), (60, 15)):
            await driver.pilot.resize_terminal(*size)
            await driver.until(lambda: "▶" in driver.text("#trace"))
            assert any(" 40 " in line and "▶" in line for line in driver.text("#trace").splitlines())


async def test_tab_goes_round_the_panes(debugger, recorded):
    async with debugger(recorded) as driver:
        seen = []
        for _ in range(3):
            seen.append(driver.app.focused.id)
            await driver.press("tab")
        assert {"trace", "source"} <= set(seen)
        assert any(name.startswith("section-") for name in seen)
        assert driver.app.focused.id == seen[0]


@pytest.mark.parametrize("theme", [DARK, LIGHT, CONTRAST, ANSI])
async def test_themes_draw_everything(debugger, recorded, theme):
    async with debugger(recorded, theme=theme) as driver:
        await driver.press("d", "1", "2", "3", "4", "5", "6")
        assert "▌" in driver.text("#source")


async def test_t_changes_between_dark_and_light(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("t")
        assert driver.app.theme == LIGHT
        await driver.press("t")
        assert driver.app.theme == DARK


def luminance(color):
    parts = [value / 255 for value in color.rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("name", "least"), [(DARK, 4.5), (LIGHT, 4.5), (CONTRAST, 7.0)])
def test_text_can_be_read(name, least):
    """WCAG 2 contrast, on the ground and on every highlight text is drawn on."""
    palette = PALETTES[name]
    theme = next(theme for theme in THEMES if theme.name == name)
    highlights = [palette[kind].bgcolor.name for kind in ("current", "cursor", "cursor_blurred")]
    grounds = [theme.background, theme.panel, *highlights]
    for kind, style in (
        *palette.styles.items(),
        *((f"packet {n}", s) for n, s in enumerate(palette.packets)),
    ):
        if style.color is None or kind == "rule":
            continue
        own = [style.bgcolor.name] if style.bgcolor is not None else grounds
        for ground in own:
            one, other = luminance(Color.parse(style.color.name)), luminance(Color.parse(ground))
            contrast = (max(one, other) + 0.05) / (min(one, other) + 0.05)
            assert contrast >= least, f"{name}: {kind} on {ground} has {contrast:.2f}"


async def test_help_has_every_key_and_command(debugger, recorded):
    async with debugger(recorded, size=(120, 320)) as driver:
        await driver.press("?")
        text = driver.text()
        for _, group in bindings.GROUPS:
            for binding in group:
                assert binding.description in text, "too long for a line?"
        for name in COMMANDS:
            assert f" {name} " in text
        for state in LineState:
            assert str(state) in text
        await driver.press("escape")
        assert len(driver.app.screen_stack) == 1


async def test_what_a_packet_names_cannot_command_the_terminal(debugger, tmp_path):
    capture = Capture(tmp_path / "evil.ktrace", comm=b"\x1b]0;evil\x07\x9b31m")
    capture.packet(PATH)
    capture.close()
    async with debugger(tmp_path / "evil.ktrace", size=(200, 60)) as driver:
        await driver.press("6")
        text = driver.text()
        assert "evil" in text
        assert not {char for char in text if not char.isprintable()} - {"\n"}


async def test_watch_expressions_are_checked_kept_and_removed(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("w")
        for char in "skb->len":
            driver.send(char)
        await driver.press("enter")
        assert driver.app.watches == ["skb->len"]
        assert "skb->len" in driver.text("#section-watch")
        await driver.enter(":watch 1 +")
        assert "^" in driver.told
        assert driver.app.watches == ["skb->len"]
        await driver.press("delete")
        assert driver.app.watches == []
        assert "w adds one" in driver.text("#section-watch")


def test_every_section_has_a_key():
    keys = {binding.key for _, group in bindings.GROUPS for binding in group}
    assert {str(number) for number in range(1, len(NAMES) + 1)} <= keys


def test_no_key_means_two_things():
    keys = [binding.key for _, group in bindings.GROUPS for binding in group]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "+0ns"), (999, "+999ns"), (1500, "+1.500us"), (99_990, "+99.99us"), (123_456_789, "+123.5ms"),
     (61 * 10**9, "+61.00s"), (-1500, "-1.500us")],
)  # fmt: skip
def test_durations(ns, text):
    assert duration(ns) == text
    assert len(text) <= 8


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9_949, "9.9k"),
        (9_950, "10k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
    ],
)
def test_counts_fit_the_gutter(number, text):
    assert short_count(number) == text
