"""What the user is told: notices in the bottom line, errors and what does not fit there above it."""

from __future__ import annotations

import pytest

from ktcpdump_tui.tui import banner as banner_module
from ktcpdump_tui.tui.banner import Banner


async def test_a_notice_comes_and_goes_without_a_layout(debugger, recorded, layouts, monkeypatch):
    monkeypatch.setattr(banner_module, "NOTICE_SECONDS", 0.2)
    async with debugger(recorded) as driver:
        layouts.clear()
        driver.send("m")
        await driver.until(lambda: "event 1 is marked" in driver.text("#status"))
        await driver.until(lambda: "event 1 is marked" not in driver.text("#status"), "it goes by itself")
        assert driver.app.query_one(Banner).message == ""
        driver.send("c")  # what a step says comes with its frame
        await driver.until(lambda: "no breakpoint is set" in driver.text("#status"))
        await driver.press("escape")
        assert not driver.told
        assert not layouts


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_mode_and_losses_stand_before_a_notice(debugger, lossy, size):
    async with debugger(lossy, size=size) as driver:
        whole = driver.text("#status")
        assert "LOST 12: ring buffer full 12" in whole
        for message in ("short", "this one is as long as notices are, and longer than most"):
            driver.app.notice(message)
            await driver.until()
            line = driver.text("#status")
            assert not driver.app.query_one(Banner).display
            assert 0 <= line.index("REPLAY") < line.index("LOST 12") < line.index(message)
        await driver.press("escape")
        assert driver.text("#status") == whole


async def test_what_stands_before_a_short_notice_stays_where_it_was(debugger, recorded):
    async with debugger(recorded, size=(120, 40)) as driver:
        before = driver.text("#status")
        driver.app.notice("short")
        await driver.until()
        line = driver.text("#status")
        place = line.index("short")
        assert line[: place - 2].rstrip() == before[: place - 2].rstrip() == " REPLAY  1/51 1%"
        assert "lost 0  3 packets" in line[place:]
        assert line.rstrip().endswith("? help")


async def test_what_does_not_fit_the_line_gets_one_of_its_own(debugger, recorded):
    async with debugger(recorded, size=(80, 24)) as driver:
        for message in ("two\nlines", "x" * 75):
            driver.app.notice(message)
            await driver.until(lambda: driver.app.query_one(Banner).display)
            assert "".join(line.strip() for line in driver.text("#banner").splitlines()) == message.replace(
                "\n", ""
            )
            driver.app.notice("short")
            await driver.until(lambda: not driver.app.query_one(Banner).display, "a newer one replaces it")
            assert "short" in driver.text("#status")


async def test_an_error_takes_a_notices_place_and_stays(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.notice("a notice")
        await driver.enter(":frobnicate")
        assert "there is no command 'frobnicate'" in driver.text("#banner")
        assert "a notice" not in driver.text()
        driver.app.notice("it does not cover the error")
        await driver.until()
        assert "frobnicate" in driver.told
        await driver.press("escape")
        assert not driver.told
        assert not driver.app.query_one(Banner).display


async def test_the_prompt_covers_a_notice(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.notice("covered")
        await driver.press(":")
        assert "covered" not in driver.text()
        driver.app.notice("meanwhile")
        await driver.press("escape")
        assert driver.told == "meanwhile"


async def test_a_count_that_is_used_is_not_told_any_more(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.action_digit(3)
        await driver.until()
        assert driver.told == "3 …"
        driver.app._count = 0
        driver.app.action_digit(0)
        await driver.until()
        assert not driver.told
