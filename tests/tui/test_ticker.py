"""How often the screen looks what is new: often while something goes on, else seldom, and nothing waits."""

from __future__ import annotations

import asyncio
import time

import pytest
from test_live import Control
from tui_capture import Capture


@pytest.fixture
def capture(tmp_path):
    """A capture that goes on, with a packet in it."""
    running = Capture(tmp_path / "live.ktrace")
    running.packet()
    yield running
    running.close()


def counted(app):
    """Return a list that gets the time of each tick."""
    ticks, tick = [], app.ticker._tick

    def noting() -> None:
        ticks.append(time.monotonic())
        tick()

    app.ticker._tick = noting
    return ticks


async def test_an_idle_capture_has_few_ticks_and_its_next_event_is_shown_at_once(debugger, tmp_path, capture):
    async with debugger(tmp_path / "live.ktrace", control=Control()) as driver:
        await driver.until()
        await asyncio.sleep(2)
        ticks = counted(driver.app)
        await asyncio.sleep(3)
        assert 1 <= len(ticks) <= 12  # thirty where something goes on
        before = len(driver.app.trace)
        capture.packet()
        since = time.monotonic()
        await driver.until(lambda: driver.app.navigator.newest > before)
        assert time.monotonic() - since < 0.9  # not at the next tick that there would be anyhow


async def test_after_a_key_there_are_many_ticks_for_what_it_leads_to(debugger, tmp_path, capture):
    async with debugger(tmp_path / "live.ktrace") as driver:
        await driver.until()
        await asyncio.sleep(1.5)
        ticks = counted(driver.app)
        await driver.pilot.press("j")
        await asyncio.sleep(0.8)
        assert len(ticks) >= 4
