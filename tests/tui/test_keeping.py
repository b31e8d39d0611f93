"""Keeping a trace from the screen: :record, :save, :export, and the question before it is thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from test_live import Control
from tui_capture import PATH, PER_PACKET, Capture

from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.recorder import Recorder
from ktcpdump_tui.trace.refuge import Refuge
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.whereabouts import Whereabouts
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.quit_screen import QuitScreen

if TYPE_CHECKING:
    from pathlib import Path


class Temporary(Control):
    """A capture whose trace is kept nowhere yet; recording is the program's own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.kept: Path | None = None
        self._path = path
        self.recorder: Recorder | None = None

    def record(self, path: Path) -> None:
        if self.kept is not None:
            raise UserError(f"the trace is recorded already, in {self.kept}", f":save {path} makes a copy")
        self.recorder = Recorder(self._path, path, lambda: self.state is CaptureState.ENDED)
        self.recorder.start()
        self.kept = path


@pytest.fixture
def capture(tmp_path: Path) -> Any:
    running = Capture(tmp_path / "live.ktrace")
    running.path = tmp_path / "live.ktrace"  # type: ignore[attr-defined]
    running.packet()
    yield running
    running.close()


def message(driver: Any) -> str:
    return str(driver.app.query_one(Banner).message)


async def test_recording_begun_late_has_everything(debugger: Any, capture: Any, tmp_path: Path) -> None:
    control, kept = Temporary(capture.path), tmp_path / "kept.ktrace"
    async with debugger(capture.path, control=control) as driver:
        await driver.enter(f":record {kept}")
        assert f"recording into {kept}" in message(driver)
        capture.packet()
        await driver.until(lambda: driver.no == 2 * PER_PACKET, "the capture goes on")
        await driver.enter(f":record {tmp_path}/other.ktrace")
        assert "recorded already" in message(driver)
        capture.close()
        control.state = CaptureState.ENDED
    assert control.recorder is not None
    assert control.recorder.finish() == 2 * PER_PACKET
    with Trace.open(kept) as trace:
        assert len(trace) == 2 * PER_PACKET
        assert trace.finished


async def test_what_is_listed_is_saved_or_all_of_it(debugger: Any, recorded: Path, tmp_path: Path) -> None:
    async with debugger(recorded, make_judge=make_judge) as driver:
        await driver.press("g", "]", "p")
        await driver.enter(f":save {tmp_path}/second")
        await driver.until(lambda: "events (packet:2) written" in message(driver), "it is told")
        await driver.enter(f":save {tmp_path}/second all")
        assert "exists already" in message(driver)
        await driver.press("escape")
        await driver.enter(f":save! {tmp_path}/second.ktrace fn:ip_demo_core packet:3 icmp")
        await driver.until(
            lambda: "events (fn:ip_demo_core packet:3 icmp) written" in message(driver), "it is replaced"
        )
        await driver.enter(f":save '{tmp_path}/all of it.ktrace' all")
        await driver.until(lambda: f"{3 * PER_PACKET} events written" in message(driver), "it is told")
    with Trace.open(tmp_path / "second.ktrace") as trace:
        events = list(trace.events(1, len(trace)))
        assert {(event.packet_id, event.instruction.symbol) for event in events} == {(3, "ip_demo_core")}
    with Trace.open(tmp_path / "all of it.ktrace") as trace:
        assert len(trace) == 3 * PER_PACKET


@pytest.mark.parametrize("suffix", ["pcap", "pcapng", "jsonl", "txt", "info", "parquet"])
async def test_exports_are_written_by_suffix(
    debugger: Any, recorded: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out.{suffix}"
    async with debugger(recorded, make_judge=make_judge) as driver:
        await driver.enter(f":export {path}")
        await driver.until(
            lambda: f"{3 * PER_PACKET} events written to {path}" in message(driver), "it is told"
        )
    assert path.stat().st_size


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (":record {}/x.ktrace", "this is a recorded trace: there is nothing to record"),
        (":save {}", "is a folder"),
        (":save {}/no/x.ktrace", "there is no folder"),
        (":save {}/x.pcap", "a saved trace is a .ktrace"),
        (":save {}/x icmp6 and", "icmp6 and"),
        (":save {}/x packet:99", "no event is selected by packet:99"),
        (":save '{}/x", "No closing quotation"),
        (":export {}/x.ktrace", ":save"),
        (":export {}/x.parqet", "did you mean .parquet"),
        (":export! /proc/version.pcap", "/proc/version.pcap"),
        (":goto! 3", "takes no !"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(
    debugger: Any, recorded: Path, tmp_path: Path, command: str, said: str
) -> None:
    async with debugger(recorded, make_judge=make_judge) as driver:
        await driver.enter(command.format(tmp_path))
        await driver.until(lambda: said in message(driver), said)
        assert driver.app.query_one(Banner).has_class("error")
        assert list(tmp_path.iterdir()) == []


async def test_quitting_asks_once_where_a_capture_would_be_lost(debugger: Any, capture: Any) -> None:
    async with debugger(capture.path, control=Temporary(capture.path)) as driver:
        await driver.press("q")
        assert isinstance(driver.app.screen, QuitScreen)
        assert f"{PER_PACKET} events were captured and are kept nowhere" in driver.text()
        await driver.press("escape")
        assert not isinstance(driver.app.screen, QuitScreen)
        assert driver.app.is_running
        driver.send("q")
        await driver.until(lambda: isinstance(driver.app.screen, QuitScreen), "it asks again")
        driver.send("q")
        await ended(driver)


async def test_the_answer_may_be_to_record(debugger: Any, capture: Any, tmp_path: Path) -> None:
    control = Temporary(capture.path)
    async with debugger(capture.path, control=control) as driver:
        await driver.press("q", "r")
        assert driver.app.query_one("#prompt").display
        for char in f"{tmp_path}/kept.ktrace":
            driver.send(char)
        await driver.press("enter")
        assert control.kept == tmp_path / "kept.ktrace"
        driver.send("q")
        await ended(driver)
        control.state = CaptureState.ENDED
    assert control.recorder is not None
    assert control.recorder.finish() == PER_PACKET


@pytest.mark.parametrize("how", ["quit!", "setting", "recorded", "saved"])
async def test_there_are_ways_not_to_be_asked(
    debugger: Any, capture: Any, recorded: Path, tmp_path: Path, how: str
) -> None:
    control = None if how == "recorded" else Temporary(capture.path)
    async with debugger(recorded if how == "recorded" else capture.path, control=control) as driver:
        if how == "quit!":
            for char in ":quit!":
                driver.send(char)
            driver.send("enter")
        else:
            if how == "setting":
                driver.app.ask_on_quit = False
            if how == "saved":
                await driver.enter(f":save {tmp_path}/saved all")
                await driver.until(lambda: "events written" in message(driver), "it is saved")
            driver.send("q")
        await ended(driver)


async def test_a_recorder_that_fails_is_told_and_the_capture_goes_on(debugger: Any, capture: Any) -> None:
    control = Temporary(capture.path)
    async with debugger(capture.path, control=control) as driver:
        control.record_error = UserError("cannot write kept.ktrace: the disk is full", "make room: df -h .")
        await driver.until(lambda: "the disk is full" in message(driver), "it is told")
        capture.packet()
        await driver.until(lambda: len(driver.app.trace) == 2 * PER_PACKET, "events go on")


async def test_recording_begun_when_events_are_gone_already_says_where_it_begins(
    debugger: Any, tmp_path: Path
) -> None:
    path, kept = tmp_path / "small.ktrace", tmp_path / "kept.ktrace"
    capture = Capture(path, max_size=400_000)
    capture.packet()
    control = Temporary(path)
    async with debugger(path, control=control) as driver:
        while driver.app.trace.first_no == 1:
            capture.packet(PATH * 400)
            await driver.until(lambda: len(driver.app.trace) >= capture.events)
        first = driver.app.trace.first_no
        await driver.enter(f":record {kept}")
        assert f"from event {first:,} on" in message(driver)
        assert "--max-size" in message(driver)
        capture.close()
        control.state = CaptureState.ENDED
    assert control.recorder is not None
    assert control.recorder.finish() == capture.events - first + 1


async def test_a_trace_without_an_end_says_so(debugger: Any, capture: Any) -> None:
    async with debugger(capture.path) as driver:
        assert "REPLAY, NO END" in driver.text("#status")


async def test_a_full_disk_moves_nothing_on_the_screen(debugger: Any, tmp_path: Path) -> None:
    # SQLite's own limit on the pages of a file is met as a full disk is (tests/unit/trace has real ones).
    where, moves = Whereabouts(tmp_path / "live.ktrace"), []
    refuge = Refuge(where, 1 << 30, moves.append)
    capture = Capture(where.path, refuge=refuge)
    capture.writer._db.execute("PRAGMA max_page_count = 20")
    capture.packet()
    control = Temporary(where.path)
    async with debugger(where, control=control) as driver:
        await driver.press("k", "k", "k")
        no, line = driver.no, driver.line
        while not moves:
            capture.packet()
        held = moves[0].events
        control.record_error = UserError(f"recording into live.ktrace ended: it holds {held} events")
        await driver.until(lambda: len(driver.app.trace) == capture.events, "events go on")
        assert f"it holds {held} events" in message(driver)
        assert driver.app.trace.path == where.path != tmp_path / "live.ktrace"
        assert (driver.no, driver.line) == (no, line), "one stays where one was"
        capture.packet()
        await driver.until(lambda: f"+{capture.events - PER_PACKET:,} new" in driver.text("#status"))
        await driver.press("escape", "j", "G")
        assert driver.no == capture.events
        await driver.enter("&packet:1")
        await driver.until(lambda: f"listed {PER_PACKET}:" in driver.text("#status"), "it filters")
        await driver.enter(f":save {tmp_path}/all all")
        await driver.until(lambda: "events written" in message(driver), "all of it can be saved")
    with Trace.open(tmp_path / "all.ktrace") as saved:
        assert len(saved) == capture.events
    capture.close()
    refuge.close()
    async with debugger(tmp_path / "live.ktrace") as driver:
        assert "REPLAY, DISK FULL" in driver.text("#status")
        assert len(driver.app.trace) == held


async def ended(driver: Any) -> None:
    """Wait until the application has been told to end."""
    for _ in range(400):
        if driver.app._exit:
            return
        await driver.pilot.pause(0.01)
    pytest.fail("the application goes on\n" + driver.text())
