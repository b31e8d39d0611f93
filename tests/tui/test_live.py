"""A trace that grows: following, pausing, errors and the end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from textual import events
from tui_capture import PATH, PER_PACKET, Capture

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.sink import GivingWay
from ktcpdump_tui.tui.ports import CaptureState

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Control:
    """A capture as the command line hands it to the screen."""

    state: CaptureState = CaptureState.RUNNING
    error: BaseException | None = None
    stopped: int = 0
    can_probe: bool = False
    kept: Path | None = Path("kept.ktrace")
    record_error: BaseException | None = None
    waits: Callable[[], None] | None = None

    def give_way(self, wait: Callable[[], None]) -> None:
        self.waits = wait

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def capture(tmp_path):
    """A capture that goes on; ``path`` is its trace."""
    running = Capture(tmp_path / "live.ktrace")
    running.path = tmp_path / "live.ktrace"
    yield running
    running.close()


async def test_a_live_trace_is_followed_until_one_moves_up(debugger, capture):
    control = Control(CaptureState.STARTING)
    async with debugger(capture.path, control=control) as driver:
        assert "STARTING" in driver.text("#status")
        assert driver.no == 0
        control.state = CaptureState.RUNNING
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET, "the newest event is shown")
        assert "LIVE" in driver.text("#status")
        assert f"{PER_PACKET}/{PER_PACKET}" in driver.text("#status")
        *_, last, drop = driver.text("#trace").splitlines()
        assert "▶" in last
        assert "packet 1 dropped" in drop

        await driver.press("k")
        assert driver.no == PER_PACKET - 1
        assert "PAUSED" in driver.text("#status")
        capture.packet()
        await driver.until(lambda: f"+{PER_PACKET} new" in driver.text("#status"))
        assert driver.no == PER_PACKET - 1, "nothing moves under the reader's eyes"

        await driver.press("G")
        assert driver.no == 2 * PER_PACKET
        capture.packet()
        await driver.until(lambda: driver.no == 3 * PER_PACKET)
        assert "new" not in driver.text("#status")


async def test_space_pauses_and_follows_again(debugger, capture):
    async with debugger(capture.path, control=Control()) as driver:
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET)
        await driver.press("space")
        capture.packet()
        await driver.until(lambda: "new" in driver.text("#status"))
        assert driver.no == PER_PACKET
        await driver.press("space")
        assert driver.no == 2 * PER_PACKET


async def test_the_wheel_stops_following(debugger, capture):
    async with debugger(capture.path, control=Control()) as driver:
        for _ in range(4):
            capture.packet()
        await driver.until(lambda: driver.no == 4 * PER_PACKET)
        table = driver.app.query_one("#trace")
        top = table.scroll_offset.y
        await driver.pilot._post_mouse_events([events.MouseScrollUp], table, button=0)
        await driver.until(lambda: not driver.app.navigator.follow)
        capture.packet()
        await driver.until(lambda: "new" in driver.text("#status"))
        assert table.scroll_offset.y < top


async def test_following_one_packet(debugger, capture):
    async with debugger(capture.path, control=Control()) as driver:
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET)
        await driver.press("p")
        capture.packet()
        await driver.until(lambda: f"/{2 * PER_PACKET}" in driver.text("#status"))
        assert driver.no == PER_PACKET, "the other packet's events are not listed"


async def test_the_capture_ends_and_the_screen_stays(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET)
        capture.close({"ring buffer full": 7})
        control.state = CaptureState.ENDED
        await driver.until(lambda: "ENDED" in driver.text("#status"))
        assert "LOST 7" in driver.text("#status")
        await driver.press("k", "space")
        assert driver.no == PER_PACKET - 1
        assert "nothing is being captured" in driver.told


async def test_an_error_of_the_capture_is_shown_and_the_trace_stays_usable(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET)
        control.error = UserError("the probes were taken away", "start again")
        control.state = CaptureState.ENDED
        await driver.until(lambda: "the probes were taken away" in driver.told)
        await driver.press("escape", "k")
        assert driver.no == PER_PACKET - 1
        assert not driver.app.query_one("#banner").display, "an error is shown once"


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_quitting_leaves_the_capture_to_who_started_it(debugger, capture, key):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        driver.send(key)
        while driver.app.is_running:
            await driver.pilot.pause(0)
        assert driver.app.return_value == 0
        assert not control.stopped, "asked twice, a capture in a lab would end without its counts"


async def test_the_capture_can_be_stopped_from_the_screen(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.enter(":stop")
        assert control.stopped == 1
        control.state = CaptureState.STOPPING
        await driver.enter(":stop")
        assert control.stopped == 1
        assert "no capture is going on" in driver.told


async def test_events_removed_by_a_size_limit_are_no_error(debugger, tmp_path):
    path = tmp_path / "small.ktrace"
    capture = Capture(path, max_size=400_000)
    capture.packet()
    async with debugger(path, control=Control()) as driver:
        await driver.press("g")
        assert driver.no == 1
        while driver.app.trace.first_no == 1:
            capture.packet(PATH * 400)
            await driver.until(lambda: len(driver.app.trace) >= capture.events)
        assert driver.no == 1
        await driver.press("j")
        assert driver.no >= driver.app.trace.first_no
        await driver.press("g", "k", "G", "k", "s", "p", "p")
        assert driver.app.trace.first_no <= driver.no <= len(driver.app.trace)
    capture.close()


async def test_the_trace_may_grow_behind_the_help(debugger, capture):
    async with debugger(capture.path, control=Control()) as driver:
        await driver.press("?")
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET)
        await driver.press("escape")
        assert f"{PER_PACKET}/{PER_PACKET}" in driver.text("#status")


async def test_continue_waits_for_what_is_still_to_come(debugger, capture):
    capture.packet()
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.enter(":1")
        await driver.enter(":b ip_demo_rcv+0")
        driver.send("c")
        await driver.pilot.pause(0.8)
        assert driver.no == 1
        assert "still to come" in driver.told
        capture.packet()
        await driver.until(lambda: driver.no == PER_PACKET + 1, "the next packet's first instruction")
        assert "breakpoint 1" in driver.told

        driver.send("c")
        await driver.pilot.pause(0.1)
        await driver.press("i")
        assert driver.no == PER_PACKET + 2, "another step does not wait for it"

        driver.send("c")
        await driver.pilot.pause(0.1)
        await driver.press("escape")
        assert driver.no == PER_PACKET + 2

        driver.send("c")
        await driver.pilot.pause(0.1)
        control.state = CaptureState.ENDED
        await driver.until(lambda: "no later event" in driver.told)
        assert driver.no == PER_PACKET + 2


async def test_a_stop_is_gone_to_although_the_list_has_not_grown_so_far(debugger, capture):
    """The thread that steps has a reader of its own, which may be ahead."""
    capture.packet()
    async with debugger(capture.path, control=Control()) as driver:
        await driver.enter(":1")
        await driver.enter(":b ip_demo_rcv+0")
        driver.app.ticker.stop()
        driver.send("c")
        capture.packet()
        for _ in range(200):
            await driver.pilot.pause(0.05)
            if not driver.app.stepping.busy:
                break
        await driver.pilot.pause(0.05)
        assert driver.no == PER_PACKET + 1


async def test_the_capture_waits_while_a_key_is_answered(debugger, capture):
    control = Control()
    written: list[str] = []
    async with debugger(capture.path, control=control) as driver:
        capture.packet()
        await driver.until(lambda: driver.no)
        assert control.waits is not None
        way = GivingWay(capture.writer, control.waits)
        driver.app.gate.shut()
        begun = time.monotonic()

        def write() -> None:
            way.write_notes(b"")
            written.append("notes")

        thread = threading.Thread(target=write)
        thread.start()
        assert not written
        await driver.press("k")  # the next frame opens the gate
        thread.join(5)
        assert written
        driver.app.gate.shut()
        write()  # where no frame comes it waits for no longer than PATIENCE
        assert time.monotonic() - begun < 5
    write()
    assert len(written) == 3
