"""Adding and removing probes from the screen while a capture runs."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tui_capture import C_FILE, Capture, skb_of

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.kernel.names import pack_names
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.model import Flow, Instruction, ProbeState, SourceLine
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.callee_screen import CalleeScreen
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.probing import of_line

if TYPE_CHECKING:
    from collections.abc import Callable

#: Not in the plan of the trace at first: what line 24 calls.
FINISH = 0xFFFFFFFF81002000


@dataclass
class Control:
    """A capture that keeps what it is asked for until the test has it answer."""

    state: CaptureState = CaptureState.RUNNING
    error: BaseException | None = None
    can_probe: bool = True
    doing: str = ""
    kept: Path | None = Path("kept.ktrace")
    record_error: BaseException | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: list[Future[str]] = field(default_factory=list)

    def give_way(self, wait: Callable[[], None]) -> None:
        pass

    def stop(self) -> None:
        self.state = CaptureState.ENDED
        self.can_probe = False

    def probe(self, spec: str) -> Future[str]:
        return self._ask("probe", spec)

    def unprobe(self, spec: str) -> Future[str]:
        return self._ask("unprobe", spec)

    def _ask(self, verb: str, spec: str) -> Future[str]:
        self.asked.append((verb, spec))
        self.answers.append(Future())
        return self.answers[-1]


@pytest.fixture
def capture(tmp_path):
    """A capture that goes on, of which line 24's call leads to a function that is not probed."""
    running = Capture(tmp_path / "live.ktrace")
    running.path = tmp_path / "live.ktrace"
    running.plan[5] = replace(running.plan[5], call="ip_demo_finish", target=FINISH)
    running.writer.write_plan(running.plan)
    running.packet()
    yield running
    running.close()


def banner(driver) -> str:
    return driver.app.query_one(Banner).message


def grow(capture: Capture) -> None:
    """Let the capture have the callee's lines in its plan from now on."""
    for number, (text, flow) in enumerate((("push %rbp", Flow.NEXT), ("ret", Flow.RETURN))):
        capture.plan.append(
            Instruction(
                len(capture.plan), FINISH + number, "ip_demo_finish", number, None, b"\x90", text, flow,
                source=SourceLine(C_FILE, 12 + number, 2),
            )
        )  # fmt: skip
    capture.writer.write_plan(capture.plan)


async def test_a_command_probes_and_says_how_far_it_is_and_what_was_done(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        control.doing = "defining probes 16/57"
        await driver.enter(":probe ip_demo_finish:*")
        assert control.asked == [("probe", "ip_demo_finish:*")]
        await driver.until(lambda: "defining probes 16/57" in banner(driver), "progress is told")
        control.answers[0].set_result("ip_demo_finish:*: 2 probes attached, 1 refused")
        await driver.until(lambda: "2 probes attached, 1 refused" in banner(driver), "the result is told")


async def test_events_of_added_instructions_are_shown_like_all_others(debugger, capture):
    async with debugger(capture.path, control=Control()) as driver:
        grow(capture)
        capture.packet((0, 1, 2, 9, 3, 4, 5, len(capture.plan) - 2, len(capture.plan) - 1, 6, 7))
        await driver.until(lambda: driver.no == len(driver.app.trace), "the newest event is shown")
        for _ in range(2):
            await driver.press("k")
        assert driver.app.instruction().symbol == "ip_demo_finish"
        assert "ip_demo_fini…+1" in driver.text("#trace")


async def test_enter_on_a_call_offers_to_look_into_it(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.until(lambda: driver.app.source_file == C_FILE, "the source is shown")
        driver.app.set_focus(driver.app.main.query_one("#source"))
        view = driver.app.main.query_one("#source")
        view.cursor = 23
        await driver.press("enter")
        assert isinstance(driver.app.screen, CalleeScreen)
        assert "ip_demo_finish" in driver.text()
        await driver.press("enter")
        assert control.asked == [("probe", "ip_demo_finish:*")]
        await driver.press("enter", "i")
        assert control.asked[1:] == [("probe", "ip_demo_finish+*")]
        await driver.press("enter", "escape")
        assert len(control.asked) == 2
        driver.app.post_message(DisassemblyView.RunTo(5))
        await driver.until(lambda: isinstance(driver.app.screen, CalleeScreen), "the instruction's call too")
        await driver.press("escape")
        # the callee of line 20 is probed already: its next event is gone to
        view.cursor = 19
        await driver.press("enter")
        assert not isinstance(driver.app.screen, CalleeScreen)
        assert driver.app.instruction().source.line == 20


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("+", ("probe", f"{C_FILE}:9")),
        ("-", ("unprobe", f"{C_FILE}:9")),
        ("*", ("probe", "ip_demo_core:*")),
        ("_", ("unprobe", "ip_demo_core+*")),
    ],
)
async def test_keys_probe_the_line_or_the_function_under_the_cursor(debugger, capture, key, asked):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.until(lambda: driver.app.source_file == C_FILE, "the source is shown")
        view = driver.app.main.query_one("#source")
        driver.app.set_focus(view)
        view.cursor = 8
        await driver.press(key)
        assert control.asked == [asked]


async def test_an_indirect_call_leads_to_where_it_went_last(debugger, capture):
    """The call goes through rdi, in which these events have the packet: its address is a function's here."""
    capture.plan[5] = replace(capture.plan[5], call="*rdi", target=None)
    capture.writer.write_plan(capture.plan)
    addresses = [(skb_of(2), "ip_demo_other"), (skb_of(3), "ip_demo_output"), (skb_of(4), "after")]
    symbols = "".join(f"{address:016x} T {name}\n" for address, name in addresses)
    capture.writer.put_blob(blobs.KALLSYMS, pack_names(Kallsyms(symbols.encode())))
    capture.packet()
    capture.packet()
    async with debugger(capture.path, control=Control()) as driver:
        await driver.until(lambda: driver.app.source_file == C_FILE, "the source is shown")
        driver.app.look_into(of_line(driver.app.trace.plan, C_FILE, 24))
        await driver.until()
        assert "ip_demo_output" in driver.text()
        assert "ip_demo_other" not in driver.text()


async def test_the_trace_lists_row_is_expanded_to_lines(debugger, capture):
    """As one does with what a survey found."""
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.press("g", "*")
        assert control.asked == [("probe", "ip_demo_rcv:*")]


async def test_a_refusal_is_one_sentence_and_the_capture_goes_on(debugger, capture):
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        await driver.enter(":probe no_such:*")
        control.answers[0].set_exception(UsageError("-i no_such:*: this kernel has no function no_such"))
        await driver.until(lambda: "this kernel has no function no_such" in banner(driver), "it is told")
        before = len(driver.app.trace)
        capture.packet()
        await driver.until(lambda: len(driver.app.trace) > before, "events go on")


async def test_nothing_is_probed_where_nothing_is_captured(debugger, capture, recorded):
    async with debugger(recorded) as driver:
        await driver.press("g", "*")
        assert "this is a recorded trace" in banner(driver)
    control = Control()
    async with debugger(capture.path, control=control) as driver:
        control.stop()
        await driver.enter(":unprobe ip_demo_rcv+*")
        assert "the capture has ended" in banner(driver)
        assert control.asked == []


async def test_a_probe_that_was_removed_is_told_from_one_that_never_was(debugger, capture):
    capture.plan[11] = replace(
        capture.plan[11], probe=ProbeState.LEFT_OUT, refusal="removed while the capture ran"
    )
    capture.writer.write_plan(capture.plan)
    async with debugger(capture.path, control=Control()) as driver:
        await driver.until(lambda: driver.no == len(driver.app.trace), "events stay")
        assert driver.app.trace.hits()[11] == 1
