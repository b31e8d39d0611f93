"""The panes, and a timer that asks the trace what is new; app.py adds what keys do."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from textual.containers import Horizontal, Vertical

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui.background import Background
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.base_app import BaseApp
from ktcpdump_tui.tui.coverage import NOTHING
from ktcpdump_tui.tui.coverage_reader import CoverageOrder, CoverageReader, Covered
from ktcpdump_tui.tui.empty import waiting_for
from ktcpdump_tui.tui.glyphs import driver_for
from ktcpdump_tui.tui.inspector import Inspector
from ktcpdump_tui.tui.line_texts import LineTexts
from ktcpdump_tui.tui.list_filter import ListFilter
from ktcpdump_tui.tui.minimap import Minimap
from ktcpdump_tui.tui.navigator import Navigator
from ktcpdump_tui.tui.palette import ANSI, DARK, THEMES, no_color
from ktcpdump_tui.tui.pane import Pane
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.presenter import Content, Order, Presenter, values_of
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.sources import Documents, no_line
from ktcpdump_tui.tui.splitter import Splitter
from ktcpdump_tui.tui.status_bar import StatusBar
from ktcpdump_tui.tui.status_source import StatusSource
from ktcpdump_tui.tui.trace_header import TraceHeader
from ktcpdump_tui.tui.trace_list import TraceList
from ktcpdump_tui.tui.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.postfilter import Predicate
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import CaptureControl, Log, SourceProvider
    from ktcpdump_tui.tui.source_view import Document
    from ktcpdump_tui.tui.value_fields import Values


class TraceApp(BaseApp):
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
        make_values: Callable[[Trace], Values | None] = values_of,
        open_trace: Callable[[], Trace] | None = None,
        control: CaptureControl | None = None,
        log: Log | None = None,
        watches: Sequence[str] = (),
        theme: str | None = None,
        make_judge: Callable[[str], Predicate] | None = None,
        filter_text: str = "",
    ) -> None:
        plain = no_color()
        # With colours of its own Textual would turn them into greys, which are colours to a terminal.
        super().__init__(driver_class=driver_for(), ansi_color=True if plain else None)
        for known in THEMES:
            self.register_theme(known)
        if plain:
            theme = ANSI
        self.theme = theme or (ANSI if self.console.color_system in (None, "standard") else DARK)
        self.trace = trace
        self.control = control
        self.stderr_log = log
        self.watches = list(watches)
        self.navigator = Navigator(trace, follow=control is not None)
        self.sources = sources
        self._documents = Documents(sources)
        reader = self.open_reader = open_trace or trace.reopen
        self.filter = ListFilter(self.navigator.rows, reader, make_judge)
        self.filter.apply(filter_text)
        self._presenter = Presenter(reader, make_values)
        self.open_trace, self.make_values = reader, make_values
        self._coverage, self._texts = CoverageReader(reader), LineTexts(sources)
        self._table = TraceList(self.navigator.rows, self._texts, id="trace")
        self._minimap = Minimap(self._table, id="minimap")
        self._marks, self._covered_until = NOTHING, 0.0
        self.shares = {"list": 40, "inspector": 40}
        self._measured: Sequence[Instruction] | None = None
        self._covered: tuple[object, ...] = ()
        self._stops: np.ndarray[Any, np.dtype[Any]] = np.empty(0, "<i8")
        self._status = StatusSource(trace, self.navigator, control, self.filter)
        self._error_shown: BaseException | None = None
        self._background: list[Background[Any, Any]] = []

    def compose(self) -> ComposeResult:
        """Make the panes."""
        with Horizontal(id="main"):
            with Vertical(id="left"):
                yield SourcePane(self._texts, id="source-pane")
                yield Splitter(vertical=False, id="split-list")
                with Pane(id="trace-pane"):
                    yield TraceHeader(self._table, id="trace-header")
                    with Horizontal(id="trace-body"):
                        yield self._table
                        yield self._minimap
            yield Splitter(vertical=True, id="split-inspector")
            yield Inspector(id="inspector")
        yield Verdict(id="verdict")
        yield Banner(status := StatusBar(id="status"), id="banner")
        yield Prompt(self.entered, self.typing, self.left, status, id="prompt")
        yield status

    def on_mount(self) -> None:
        """Start the threads and the timer."""
        self.decoding = Background(self, "inspector", self._presenter.present, self._decoded, self.fail)
        self.loading = Background(self, "source", self._documents.load, self._loaded, self.fail)
        self.covering = Background(self, "coverage", self._coverage.read, self._counted, self.fail)
        self.texting = Background(self, "lines", self._texts.load, self._texts_loaded, self.fail)
        self._background.append(self.filter.start(self, self.filtered, self.fail))
        self._background += [self.decoding, self.loading, self.covering, self.texting]
        self._tick(first=True)
        if not self.navigator.current and self.navigator.rows.events:
            self.go(self.navigator.rows.number(0))
        self.ticker.start()
        self.call_after_refresh(self.first_picture)

    def on_unmount(self) -> None:
        """End the threads."""
        self.painted.set()
        self.ticker.stop()
        for background in self._background:
            background.close()

    @abstractmethod
    async def entered(self, kind: str, text: str) -> None:
        """Do what was entered at the prompt ``kind``."""

    @abstractmethod
    def filtered(self) -> None:
        """Show what the filter found since."""

    @abstractmethod
    def typing(self, kind: str, text: str) -> None:
        """Look at what is being entered at the prompt ``kind``."""

    @abstractmethod
    def left(self, kind: str) -> None:
        """Look at a prompt that was left without Enter."""

    def line_text(self, file: str, line: int) -> str:
        """Return a source line's text, empty where it is not known yet."""
        return self._texts.line(file, line)

    @property
    def busy(self) -> bool:
        """Whether a thread owes the screen something."""
        return any(background.busy for background in self._background)

    @property
    def live(self) -> bool:
        """Whether a capture is going on."""
        return self.control is not None and self.control.state is not CaptureState.ENDED

    def _tick(self, *, first: bool = False) -> None:
        """Look what is new; everything the screen shows of a growing trace comes through here."""
        navigator = self.navigator
        if not self.shown:
            return
        try:
            changed = navigator.refresh() or first
            if changed:
                self.ticker.stir()
                self.filter.look()
            if self.trace.plan is not self._measured:
                self._measured = self.trace.plan
                self._table.measure(self._measured)
            if changed and navigator.follow and navigator.newest:
                self.go(navigator.newest, follow=True)
            elif changed:
                self._table.grow()
                self.main.query_one(TraceHeader).refresh()
            self._say_empty()
            self._order_coverage()
            if (wanted := self._texts.wanted()) and not self.texting.busy:
                self.texting.order(frozenset(wanted))
        except UserError as error:
            self.ticker.stop()
            self.fail(error)
        if self.control is not None:
            ended_by = self.control.error
            if ended_by is not None and ended_by is not self._error_shown:
                self._error_shown = ended_by
                self.fail(ended_by)
        self.show_status()

    def _say_empty(self) -> None:
        """Say in an empty list what is being waited for."""
        if self.navigator.rows.events:
            return
        if (said := waiting_for(self.trace, self.control, self.filter)) != self._table.empty:
            self._table.empty = said
            self._table.refresh()

    def go(self, no: int, *, level: int = 0, follow: bool = False) -> None:
        """Look at event ``no``, in a frame of its inline chain (0: the innermost)."""
        if no > len(self.trace):
            self._tick()  # who found the event has a reader that is ahead of this one
        try:
            self.navigator.go(no, level=level, follow=follow)
        except IndexError as error:
            self.notice(str(error))
            return
        self.gate.shut()
        self.show_list()
        self.show_source()
        self._order_coverage()
        self.ask_inspector()
        self.show_status()

    @property
    def table(self) -> TraceList:
        """The trace list."""
        return self._table

    def show_list(self) -> None:
        """Show where we are in the list."""
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
            pane.show_missing(*no_line(instruction, self.trace))
            return
        file, line, column = instruction.source.file, instruction.source.line, instruction.source.column
        if level:
            frame = instruction.inlined_by[level]
            file, line, column = frame.file, frame.line, 0
        self.show_file(file, line, column, inner=not level)

    def show_file(
        self, file: str, line: int, column: int = 0, *, inner: bool = True, browse: bool = False
    ) -> None:
        """Show a line of a file, as soon as the file was found; ``browse``: it is not the one executed."""
        pane = self.main.query_one(SourcePane)
        self._wanted = (file, line, column, inner, browse)
        found = self._documents.known(file)
        if found is None:
            pane.look_for(file)
            self.loading.order(file)
        elif isinstance(found, Missing):
            pane.show_missing(found.message, found.remedy, file)
        else:
            pane.show_document(found)
            if browse:
                pane.view.browse(line)
            else:
                pane.view.show_position(line, column, inner=inner)
        self._show_marks()

    def _loaded(self, file: str, _found: Document | Missing) -> None:
        if self.shown and self._wanted[0] == file:
            file, line, column, inner, browse = self._wanted
            self.show_file(file, line, column, inner=inner, browse=browse)

    def _order_coverage(self) -> None:
        """Have hits counted anew where they may be others: the trace grew, or another packet is looked at."""
        navigator, no = self.navigator, self.navigator.current
        there = self.trace.first_no <= no <= len(self.trace)
        packet = int(self.trace.heads(no, no)[0]["packet"]) if there else 0
        broken, only = navigator.breakpoints, navigator.rows.only_packet
        function = self._function()
        now = (len(self.trace), self.trace.finished, self.trace.plan, packet, broken, only, function)
        if self._covered == now or self.covering.busy:
            return
        if self._covered[3:] == now[3:] and time.monotonic() < self._covered_until:
            return
        self._covered = now
        self.covering.order(CoverageOrder(packet, len(self.trace), broken, only, function))

    def _function(self) -> tuple[int, ...]:
        """Return the instructions of which jumps are shown."""
        if not self.main.query_one(SourcePane).disassembly.display:
            return ()
        instruction = self.instruction()
        return tuple(i.index for i in self.navigator.function_of(instruction)) if instruction else ()

    def _counted(self, _order: CoverageOrder, covered: Covered) -> None:
        if not self.shown:
            return
        self._covered_until = time.monotonic() + covered.pause
        self._order_coverage()
        self._marks, self._stops = covered.marks, covered.stops
        pane = self.main.query_one(SourcePane)
        pane.disassembly.show_jumps(covered.jumps)
        pane.disassembly.show_hits(covered.hits, covered.packet_hits, unknown=covered.lost)
        self._show_marks()
        self.show_minimap()

    def show_minimap(self) -> None:
        """Show where in the list breakpoints, losses, drops and marks are."""
        rows, marked = self.navigator.rows, sorted(self._table.marked)
        stops = self._stops
        self._minimap.show(
            {
                "breakpoint": rows.rows_of(stops[stops >= rows.first]),
                "loss": rows.loss_rows(),
                "drop": rows.drop_rows(),
                "mark": np.sort(np.array([rows.row_of(no) for no in marked], "<i8")),
            }
        )

    def _texts_loaded(self, _files: frozenset[str], _loaded: frozenset[str]) -> None:
        if self.shown:
            self._table.refresh()
            self.main.query_one(SourcePane).disassembly.refresh()

    def _show_marks(self) -> None:
        view = self.main.query_one(SourcePane).view
        file = view.document.file
        view.show_marks(self._marks.of(file), self.navigator.breakpoint_lines(file))

    @property
    def source_file(self) -> str:
        """The file in the source pane, as the line table names it; empty where there is none."""
        return self.main.query_one(SourcePane).view.document.file

    def show_breakpoints(self) -> None:
        """Show changed breakpoints."""
        self._table.breakpoints = self.navigator.breakpoints
        self._table.refresh()
        self._show_marks()
        self._order_coverage()

    def ask_inspector(self) -> None:
        """Order the content of the inspector's visible sections."""
        inspector = self.main.query_one(Inspector)
        if not self.navigator.current or not inspector.display:
            return
        opened = {name: inspector.opened(name) for name in inspector.shown}
        self.decoding.order(Order(self.navigator.current, opened, tuple(self.watches), inspector.per_line))

    def _decoded(self, _order: Order, content: Content) -> None:
        if not self.shown:
            return
        inspector = self.main.query_one(Inspector)
        for name, fields in content.sections.items():
            inspector.show(name, fields)
        self.main.query_one(SourcePane).disassembly.show_taken(content.insn, content.taken)
        since = f", * since {content.previous:,}" if content.previous is not None else ""
        inspector.note(f"event {content.no:,}{since}")

    def show_status(self) -> None:
        """Show how far everything is."""
        self.main.query_one(StatusBar).show(self._status.status(self.stderr_log))
