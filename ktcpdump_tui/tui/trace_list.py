"""The list of events. A timer asks the trace how many there are; only visible rows are read and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.tui.columns import ColumnChoice, Placed, place
from ktcpdump_tui.tui.event_list import Drop, EventList, Gap, Group
from ktcpdump_tui.tui.line_view import LineView, Part
from ktcpdump_tui.tui.rows import INDENT, RowPainter, Texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.style import Style
    from textual import events

    from ktcpdump_tui.model import Instruction


class TraceList(LineView):
    """The rows of an ``EventList``."""

    HELP: ClassVar[str] = (
        "The events, oldest first. Where some were lost a line says how many, and on which CPU; where a"
        " packet was dropped, why. Drag the end of a heading to resize a column; a click shows all columns."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", "Event before", show=False),
        Binding("down", "step(1)", "Event after", show=False),
        Binding("pageup", "step_page(-1)", "A page up", show=False),
        Binding("pagedown", "step_page(1)", "A page down", show=False),
        Binding("home", "edge(False)", "First event", show=False),
        Binding("end", "edge(True)", "Last event; follow a live capture", show=False),
    ]

    class Moved(Message):
        """The user moved to event ``no``; ``follow`` where it is the newest and asked for as such."""

        def __init__(self, no: int, *, follow: bool = False) -> None:
            super().__init__()
            self.no = no
            self.follow = follow

    class Toggled(Message):
        """The user wants the events of ``packet`` folded away, or back."""

        def __init__(self, packet: int) -> None:
            super().__init__()
            self.packet = packet

    class ScrolledUp(Message):
        """The user scrolled upwards: following has to stop."""

    def __init__(self, rows: EventList, texts: Texts, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows = rows
        self.texts = texts
        self.choice = ColumnChoice()
        self.marked: set[int] = set()
        self.best: dict[str, int] = {}
        self.current = 0
        self.breakpoints: frozenset[int] = frozenset()
        self._columns: tuple[Placed, ...] | None = None
        self._first = 1
        self._settled: tuple[int, int | None, tuple[Placed, ...]] | None = None

    def grow(self) -> None:
        """Show that the trace grew, or lost its oldest events, without moving what is on the screen."""
        removed = self.rows.first - self._first
        self._first = self.rows.first
        self.set_lines(len(self.rows))
        self._columns = None
        if removed:
            self.scroll_to(
                y=max(0, self.scroll_offset.y - removed), animate=False, immediate=True, force=True
            )
        # Ten times a second: what was added behind the visible rows does not change them.
        top = self.scroll_offset.y
        settled = (top, self.rows.settled(top, top + self.page_lines), self.columns)
        if removed or settled[1] is None or settled != self._settled:
            self.refresh()
        self._settled = settled

    def update(self, current: int, *, follow: bool) -> None:
        """Show that ``current`` is the event looked at."""
        rows, before, top = len(self.rows), self.cursor, self.scroll_offset.y
        grown = rows != self.line_count
        self.current, self._first = current, self.rows.first
        self.set_lines(rows)
        self._columns = None
        if rows and current:
            self.cursor = self.rows.row_of(current)
            if follow:
                end = max(0, rows - self.page_lines)
                self.scroll_to(y=end, animate=False, immediate=True, force=True)
            else:
                self.show_line(self.cursor, margin=1)
        if grown or self.scroll_offset.y != top:
            self.refresh()
        else:
            self.refresh_only({before, self.cursor})

    @property
    def columns(self) -> tuple[Placed, ...]:
        """The columns for the width there is."""
        if self._columns is None:
            last = self.rows.number(self.rows.events - 1) if self.rows.events else 0
            best = self.best | {"no": max(4, len(str(last)))}
            if self.rows.nested and "function" in best:
                best["function"] += 4 * len(INDENT)
            self._columns = place(self.choice, self.size.width, best)
        return self._columns

    def show_columns(self) -> None:
        """Lay the columns out anew, after another choice."""
        self._columns = None
        self.refresh()

    def measure(self, plan: Sequence[Instruction]) -> None:
        """Learn from the plan how wide functions and lines are."""
        self.best = {
            "function": max((len(i.ksym) for i in plan), default=14),
            "line": max((len(i.addr2line) for i in plan), default=14),
        }
        self._columns = None

    def on_resize(self) -> None:
        """Lay the columns out anew, and keep the current event visible."""
        self._columns = None
        if len(self.rows) and self.current:
            self.show_line(self.rows.row_of(self.current), margin=1)

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one row."""
        palette, entry = self.palette, self.rows.at(y)
        painter = RowPainter(
            palette, self.columns, self.rows.start, self.rows.instruction, self.texts, self.rows.nested
        )
        under = palette["text"]
        if isinstance(entry, Gap):
            return painter.gap(entry, self.size.width), under
        if isinstance(entry, Drop):
            return painter.drop(entry, self.rows.packet(entry.packet)), under
        if isinstance(entry, Group):
            if not entry.open and y == self.cursor:
                under = palette["current"]
            return painter.group(entry, self.rows.packet(entry.packet)), under
        here = entry.no == self.current
        if here:
            under = palette["current"]
        broken, marked = entry.insn in self.breakpoints, entry.no in self.marked
        return painter.event(entry, here=here, broken=broken, marked=marked), under

    def row_text(self, y: int) -> str:
        """Return what a row shows."""
        return "".join(text for text, _ in self.parts(y)[0]) if y < len(self.rows) else ""

    def copied(self) -> str:
        """Return the current event's instruction and line."""
        if not self.current or not len(self.rows):
            return ""
        head = self.rows.head(self.rows.position(self.current))
        instruction = self.rows.instruction(head.insn)
        return f"{instruction.ksym} {instruction.addr2line}"

    def action_step(self, by: int) -> None:
        """Go to a neighbouring event."""
        no = self.rows.neighbour(self.current, by)
        if no is not None:
            self.post_message(self.Moved(no))

    def action_step_page(self, pages: int) -> None:
        """Go on by as many events as are visible."""
        self.action_step(pages * max(1, self.page_lines - 1))

    def action_edge(self, last: bool) -> None:
        """Go to the first or the last event."""
        if self.rows.events:
            self.post_message(self.Moved(self.rows.number(self.rows.events - 1 if last else 0), follow=last))

    def on_click(self, event: events.Click) -> None:
        """Go to the clicked event; fold the clicked packet's events away, or back."""
        row = event.y + self.scroll_offset.y
        if row < len(self.rows) and isinstance(entry := self.rows.at(row), Group):
            self.post_message(self.Toggled(entry.packet))
        elif row < len(self.rows) and (no := self.rows.event_near(row)) is not None:
            self.post_message(self.Moved(no))

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        """Say that the user wants to see what was before."""
        self.post_message(self.ScrolledUp())
