"""The list of events. A timer asks the trace how many there are; only visible rows are read and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from ktcpdump_tui.tui.event_list import EventList, Gap, Head
from ktcpdump_tui.tui.line_view import LineView, Part, clip, clip_left, clip_offset, palette_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.style import Style
    from textual import events


def duration(ns: int) -> str:
    """Return a time difference in at most eight characters."""
    sign, value = ("-" if ns < 0 else "+"), abs(ns)
    if value < 1000:
        return f"{sign}{value}ns"
    for unit, size in (("us", 10**3), ("ms", 10**6), ("s", 10**9)):
        if value < 1000 * size or unit == "s":
            number = value / size
            return f"{sign}{number:.{3 if number < 10 else 2 if number < 100 else 1}f}{unit}"
    return ""


class Columns:
    """Which columns a width has room for, and how wide they are."""

    def __init__(self, width: int, digits: int) -> None:
        self.number = max(4, digits)
        self.time = 13 if width >= 110 else 0
        self.skb = 17 if width >= 140 else 0
        fixed = 3 + self.number + 1 + self.time + 9 + 4 + 5 + self.skb + 6
        rest = max(20, width - fixed - 1)
        self.inline = min(28, rest // 5) if rest >= 90 else 0
        rest -= self.inline + (1 if self.inline else 0)
        self.symbol = min(44, max(14, rest * 46 // 100))
        self.file = rest - self.symbol - 1

    def header(self) -> str:
        """Return the names of the columns, each above its own."""
        time = f"{'seconds':>{self.time - 1}} " if self.time else ""
        skb = f"{'skb':<{self.skb}}" if self.skb else ""
        inline = f" {'inlined':<{self.inline}}" if self.inline else ""
        return (
            f"   {'no':>{self.number}} {time}{'delta':>8} {'cpu':>3} {'pkt':>4} {skb}{'len':>5} "
            f"{'function':<{self.symbol}} {'line':<{self.file}}{inline}"
        )


class TraceList(LineView):
    """The rows of an ``EventList``."""

    HELP: ClassVar[str] = (
        "The events, oldest first. Where some were lost a line says how many, and on which CPU."
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

    class ScrolledUp(Message):
        """The user scrolled upwards: following has to stop."""

    def __init__(self, rows: EventList, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.rows = rows
        self.current = 0
        self.breakpoints: frozenset[int] = frozenset()
        self._columns: Columns | None = None
        self._first = 1

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
        self.refresh()

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
    def columns(self) -> Columns:
        """The columns for the width there is."""
        if self._columns is None:
            last = self.rows.number(self.rows.events - 1) if self.rows.events else 0
            self._columns = Columns(self.size.width, len(str(last)))
        return self._columns

    def on_resize(self) -> None:
        """Lay the columns out anew, and keep the current event visible."""
        self._columns = None
        if len(self.rows) and self.current:
            self.show_line(self.rows.row_of(self.current), margin=1)

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one row."""
        palette, entry = self.palette, self.rows.at(y)
        if isinstance(entry, Gap):
            plural = "" if entry.lost == 1 else "s"
            text = f" {entry.lost:,} event{plural} lost on CPU {entry.cpu} "
            width = self.size.width
            return [(text.center(width, "—"), palette["lost"])], palette["text"]
        under = palette["text"]
        if entry.no == self.current:
            under = palette["current"]
        return self._event(entry), under

    def _event(self, head: Head) -> list[Part]:
        palette, columns = self.palette, self.columns
        instruction = self.rows.instruction(head.insn)
        here = head.no == self.current
        delta = duration(head.delta) if head.delta is not None else ""
        parts: list[Part] = [
            ("▶" if here else " ", palette["marker"]),
            ("●" if head.insn in self.breakpoints else " ", palette["breakpoint"]),
            (f" {head.no:>{columns.number}} ", palette["number"]),
        ]
        if columns.time:
            parts.append((f"{(head.ts - self.rows.start) / 1e9:>{columns.time - 1}.6f} ", palette["dim"]))
        parts += [
            (f"{delta:>8} ", palette["dim"]),
            (f"{head.cpu:>3} ", palette["dim"]),
            (f"{head.packet or '?':>4} ", palette.packet(head.packet)),
        ]
        if columns.skb:
            parts.append((f"{head.skb:016x} ", palette["dim"]))
        parts.append((f"{'' if head.len is None else head.len:>5} ", palette["number"]))
        parts += [
            (clip_offset(instruction.ksym, columns.symbol) + " ", palette["symbol"]),
            (clip_left(instruction.addr2line, columns.file), palette["file"]),
        ]
        if columns.inline and len(instruction.inlined_by) > 1:
            parts.append((" " + clip(instruction.inlined_by[0].function, columns.inline), palette["inline"]))
        return parts

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
        """Go to the clicked event."""
        row = event.y + self.scroll_offset.y
        if row < len(self.rows) and (no := self.rows.event_near(row)) is not None:
            self.post_message(self.Moved(no))

    def on_mouse_scroll_up(self, _event: events.MouseScrollUp) -> None:
        """Say that the user wants to see what was before."""
        self.post_message(self.ScrolledUp())


class TraceHeader(Widget):
    """The names of the columns, in line with the list below."""

    DEFAULT_CSS = "TraceHeader { height: 1; text-wrap: nowrap; text-overflow: clip; }"

    def __init__(self, table: TraceList, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._table = table

    def render(self) -> Text:
        """Draw them."""
        return Text(self._table.columns.header(), palette_of(self)["text"], no_wrap=True, overflow="crop")
