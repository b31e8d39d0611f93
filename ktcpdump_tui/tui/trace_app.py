"""The panes, and a timer that asks the trace what is new; app.py adds what keys do."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.containers import Horizontal, Vertical

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.stepping import Stop
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.values import TraceValues
from ktcpdump_tui.tui.background import Background
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.coverage import coverage
from ktcpdump_tui.tui.inspector import Inspector
from ktcpdump_tui.tui.navigator import Navigator
from ktcpdump_tui.tui.palette import ANSI, DARK, THEMES
from ktcpdump_tui.tui.pane import Pane
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.presenter import Content, Order, Presenter
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.source_view import Document
from ktcpdump_tui.tui.sources import Documents
from ktcpdump_tui.tui.status_bar import Status, StatusBar
from ktcpdump_tui.tui.stepper import StepOrder, TraceStepper
from ktcpdump_tui.tui.trace_list import TraceHeader, TraceList

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.screen import Screen

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.tui.coverage import LineMark
    from ktcpdump_tui.tui.ports import CaptureControl, Log, SourceProvider
    from ktcpdump_tui.tui.value_fields import Values

#: Seconds between looks at the trace, and between looks at the hits of all lines.
TICK = 0.1
COVERAGE_TICK = 0.5

#: Narrower or lower terminals show the list or the inspector, not both.
LARGE = (100, 28)


class TraceApp(App[int]):
    """Shows a trace, live (with ``control``) or recorded.

    ``sources`` finds source text; ``make_values`` is called with a reader of its own, in the inspector's
    thread, and gives what is known of variables and types (None: nothing). ``open_trace`` opens a further
    reader of the trace. ``watches`` are expressions to begin with. The return value is the exit status.
    """

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "ktcpdump-tui"
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        trace: Trace,
        sources: SourceProvider,
        *,
        make_values: Callable[[Trace], Values | None] = TraceValues.of,
        open_trace: Callable[[], Trace] | None = None,
        control: CaptureControl | None = None,
        log: Log | None = None,
        watches: Sequence[str] = (),
        theme: str | None = None,
    ) -> None:
        super().__init__()
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme or (ANSI if self.console.color_system in (None, "standard") else DARK)
        self.trace = trace
        self.control = control
        self.stderr_log = log
        self.watches = list(watches)
        self.navigator = Navigator(trace, follow=control is not None)
        self._documents = Documents(sources)
        reader = open_trace or (lambda: Trace.open(trace.path))
        self._presenter = Presenter(reader, make_values)
        self._stepper = TraceStepper(reader)
        self._table = TraceList(self.navigator.rows, id="trace")
        self._marks: Mapping[str, Mapping[int, LineMark]] = {}
        self._covered_at = 0.0
        self._covered = (-1, False)
        self._rate_from: tuple[float, int] = (time.monotonic(), len(trace))
        self._rate: float | None = None
        self._error_shown: BaseException | None = None
        self._background: list[Background[Any, Any]] = []

    def compose(self) -> ComposeResult:
        """Make the panes."""
        with Horizontal(id="main"):
            with Vertical(id="left"):
                yield SourcePane(id="source-pane")
                with Pane(id="trace-pane"):
                    yield TraceHeader(self._table, id="trace-header")
                    yield self._table
            yield Inspector(id="inspector")
        yield Banner(id="banner")
        yield Prompt(self.entered, id="prompt")
        yield StatusBar(id="status")

    def on_mount(self) -> None:
        """Start the threads and the timer."""
        self.decoding = Background(self, "inspector", self._presenter.present, self._decoded, self.fail)
        self.loading = Background(self, "source", self._documents.load, self._loaded, self.fail)
        self.stepping = Background(
            self, "stepping", self._stepper.step, self._stepped, self.fail, newest=False
        )
        self._background += [self.decoding, self.loading, self.stepping]
        self._table.focus()
        self._tick(first=True)
        if not self.navigator.current and self.navigator.rows.events:
            self.go(self.navigator.rows.number(0))
        self._timer = self.set_interval(TICK, self._tick)

    def on_unmount(self) -> None:
        """End the threads."""
        for background in self._background:
            background.close()

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout for the size."""
        large = event.size.width >= LARGE[0] and event.size.height >= LARGE[1]
        self.main.set_class(large, "large")
        self.main.set_class(not large, "compact")

    async def entered(self, kind: str, text: str) -> None:
        """Do what was entered at the prompt ``kind``."""
        raise NotImplementedError

    @property
    def main(self) -> Screen[Any]:
        """The screen with the panes, also while another one (help, log) is above it."""
        return self.screen_stack[0]

    @property
    def shown(self) -> bool:
        """Whether the panes are there: they are not while the application ends, and timers still call."""
        return bool(self.screen_stack) and bool(self.main.query("#status"))

    @property
    def live(self) -> bool:
        """Whether a capture is going on."""
        return self.control is not None and self.control.state is not CaptureState.ENDED

    def _tick(self, *, first: bool = False) -> None:
        """Look what is new; everything the screen shows of a growing trace comes through here."""
        navigator = self.navigator
        if not self.shown:
            return
        if self.trace.finished and not first and self.control is None:
            self._timer.stop()
        try:
            changed = navigator.refresh() or first
            if changed and navigator.follow and navigator.newest:
                self.go(navigator.newest, follow=True)
            elif changed:
                self._table.grow()
                self.main.query_one(TraceHeader).refresh()
            stale = self._covered != (len(self.trace), self.trace.finished)
            if stale and time.monotonic() - self._covered_at > COVERAGE_TICK:
                self._show_coverage()
        except UserError as error:
            self._timer.stop()
            self.fail(error)
        if self.control is not None:
            ended_by = self.control.error
            if ended_by is not None and ended_by is not self._error_shown:
                self._error_shown = ended_by
                self.fail(ended_by)
        self.show_status()

    def go(self, no: int, *, level: int = 0, follow: bool = False) -> None:
        """Look at event ``no``, in a frame of its inline chain (0: the innermost)."""
        try:
            self.navigator.go(no, level=level, follow=follow)
        except IndexError as error:
            self.main.query_one(Banner).show_notice(str(error))
            return
        self._show_list()
        self.show_source()
        self.ask_inspector()
        self.show_status()

    def _show_list(self) -> None:
        self._table.update(self.navigator.current, follow=self.navigator.follow)
        self.main.query_one(TraceHeader).refresh()

    def instruction(self) -> Instruction | None:
        """Return the instruction executed at the current event, None before the first."""
        no = self.navigator.current
        if not self.trace.first_no <= no <= len(self.trace):
            return None
        return self.trace.instruction(int(self.trace.heads(no, no)[0]["insn"]))

    def show_source(self) -> None:
        """Show the current event's line, in the frame chosen."""
        instruction = self.instruction()
        if instruction is None:
            return
        pane, level = self.main.query_one(SourcePane), self.navigator.level
        pane.show_instruction(instruction, level, self.navigator.function_of(instruction))
        if instruction.source is None:
            pane.show_missing(*self._no_line(instruction))
            return
        file, line, column = instruction.source.file, instruction.source.line, instruction.source.column
        if level:
            frame = instruction.inlined_by[level]
            file, line, column = frame.file, frame.line, 0
        self.show_file(file, line, column, inner=not level)

    def _no_line(self, instruction: Instruction) -> tuple[str, str]:
        if any(other.source for other in self.trace.plan):
            return f"no source line is known for {instruction.ksym}", ""
        return (
            f"no source lines: the trace was captured without debug symbols of {self.trace.header.release}",
            "capture again with -d VMLINUX, or install the kernel's debug symbols",
        )

    def show_file(self, file: str, line: int, column: int = 0, *, inner: bool = True) -> None:
        """Show a line of a file, as soon as the file was found."""
        pane = self.main.query_one(SourcePane)
        self._wanted = (file, line, column, inner)
        found = self._documents.known(file)
        if found is None:
            pane.show_document(
                Document(file, file, (f"looking for {file} …",), (((f"looking for {file} …", "dim"),),))
            )
            pane.view.show_position(0)
            self.loading.order(file)
        elif isinstance(found, Missing):
            pane.show_missing(found.message, found.remedy)
        else:
            pane.show_document(found)
            pane.view.show_position(line, column, inner=inner)
        self._show_marks()

    def _loaded(self, file: str, _found: Document | Missing) -> None:
        if self.shown and self._wanted[0] == file:
            self.show_file(*self._wanted[:3], inner=self._wanted[3])

    def _show_coverage(self) -> None:
        self._covered_at = time.monotonic()
        self._covered = (len(self.trace), self.trace.finished)
        hits = self.trace.hits()
        self._marks = coverage(self.trace.line_hits(), self.trace.line_states())
        self.main.query_one(SourcePane).disassembly.show_hits(hits, unknown=self.trace.lost())
        self._show_marks()

    def _show_marks(self) -> None:
        view = self.main.query_one(SourcePane).view
        file = view.document.file
        view.show_marks(self._marks.get(file, {}), self.navigator.breakpoint_lines(file))

    @property
    def source_file(self) -> str:
        """The file in the source pane, as the line table names it; empty where there is none."""
        return self.main.query_one(SourcePane).view.document.file

    def show_breakpoints(self) -> None:
        """Show changed breakpoints."""
        self._table.breakpoints = frozenset(self.navigator.breakpoints)
        self._table.refresh()
        self._show_marks()

    def ask_inspector(self) -> None:
        """Order the content of the inspector's visible sections."""
        inspector = self.main.query_one(Inspector)
        if not self.navigator.current or not inspector.display:
            return
        opened = {name: inspector.opened(name) for name in inspector.shown}
        self.decoding.order(Order(self.navigator.current, opened, tuple(self.watches)))

    def _decoded(self, _order: Order, content: Content) -> None:
        if not self.shown:
            return
        inspector = self.main.query_one(Inspector)
        for name, fields in content.sections.items():
            inspector.show(name, fields)
        since = f", * since {content.previous:,}" if content.previous is not None else ""
        inspector.note(f"event {content.no:,}{since}")

    def step(self, command: str) -> None:
        """Order a step; several may wait in turn."""
        if command.endswith("continue") and not self.navigator.breakpoints:
            self.main.query_one(Banner).show_notice("no breakpoint is set: b sets one on the source line")
            return
        direction = "earlier" if command.startswith("reverse-") else "later"
        self._order_step(command, frozenset(self.navigator.breakpoints), f"{command}: no {direction} event")

    def run_to(
        self, found: frozenset[int], failure: str, *, forward: bool = True, wrap: bool = False
    ) -> None:
        """Go to the next event, or the one before, at one of these instructions."""
        self._order_step("continue" if forward else "reverse-continue", found, failure, wrap=wrap)

    def _order_step(self, command: str, found: frozenset[int], failure: str, *, wrap: bool = False) -> None:
        start = None if self.stepping.busy else Stop(self.navigator.current, self.navigator.level)
        packet = self.navigator.rows.only_packet
        self.stepping.order(StepOrder(command, start, packet, found, failure, wrap))

    def _stepped(self, order: StepOrder, stop: Stop | None) -> None:
        if not self.shown:
            return
        if stop is None:
            self.main.query_one(Banner).show_notice(order.failure)
        else:
            self.go(stop.no, level=stop.up)

    def fail(self, error: BaseException) -> None:
        """Show an error that happened elsewhere; one of our own making goes to the log in full."""
        if not self.shown:
            return
        if not isinstance(error, UserError | IndexError):
            traceback.print_exception(error)
            self.main.query_one(Banner).show_error(
                f"internal error: {type(error).__name__}: {error} (l shows the log)"
            )
        else:
            self.main.query_one(Banner).show_error(str(error))

    def show_status(self) -> None:
        """Show how far everything is."""
        navigator, trace, now = self.navigator, self.trace, time.monotonic()
        since, events = self._rate_from
        if now - since >= 1:
            self._rate = (len(trace) - events) / (now - since)
            self._rate_from = (now, len(trace))
        self.main.query_one(StatusBar).show(
            Status(
                mode=self._mode(),
                position=navigator.current,
                events=len(trace),
                packets=len(trace.packets()),
                rate=self._rate if self.live else None,
                lost=self._lost(),
                new=navigator.unseen if self.control is not None else 0,
                only_packet=navigator.rows.only_packet,
                log_lines=self.stderr_log.count if self.stderr_log else 0,
                release=trace.header.release,
                expression=trace.header.expression,
            )
        )

    def _mode(self) -> str:
        if self.control is None:
            return "replay"
        state = self.control.state
        if state is CaptureState.RUNNING and not self.navigator.follow:
            return "paused"
        return str(state)

    def _lost(self) -> dict[str, int]:
        """Return the losses by cause: from the summary, else what is known so far."""
        if self.trace.summary is not None:
            return {cause: number for cause, number in self.trace.summary.lost.items() if number}
        counted = {
            name.removeprefix("lost").lstrip(": "): number
            for name, number in self.trace.counts().items()
            if name.startswith("lost") and number
        }
        if counted:
            return counted
        gaps = int(self.trace.losses()["lost"].sum())
        return {"gaps": gaps} if gaps else {}
