"""The table on stdout, in the columns of the original ktcpdump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.headless.output import Values
    from ktcpdump_tui.model import Event

#: Widths of no, skb, skb->len, pc and ksym: each is followed by a blank, and a wider value moves the rest.
_WIDTHS: Final = (4, 18, 10, 18, 16)
_TITLES: Final = ("no", "skb", "skb->len", "pc", "ksym")
#: Narrowest column of a watch expression.
_WATCH_WIDTH: Final = 10


class Table:
    """Turns events into lines; ``watches`` are expressions, each with a column of its own."""

    def __init__(self, watches: Sequence[str] = (), values: Values | None = None) -> None:
        self._watches = tuple(watches)
        self._values = values
        self._widths = _WIDTHS + tuple(max(len(watch), _WATCH_WIDTH) for watch in self._watches)

    def head(self) -> str:
        """Return the line above the columns."""
        return self._line((*_TITLES, *self._watches, "addr2line"))

    def row(self, event: Event) -> str:
        """Return an event's line, after one that says what was lost before it."""
        instruction = event.instruction
        cells = (
            str(event.no),
            f"{event.skb:x}",
            "-" if event.len is None else str(event.len),
            f"{instruction.address:x}",
            instruction.ksym,
            *self._watched(event),
            instruction.addr2line,
        )
        line = self._line(cells)
        if instruction.call and instruction.flow in (Flow.CALL, Flow.JUMP):
            line += f" // CALL {self._values.call(event) if self._values else instruction.call}"
        if event.lost_before:
            events = "event was" if event.lost_before == 1 else "events were"
            line = f"-- {event.lost_before} {events} lost on CPU {event.cpu} --\n{line}"
        return line

    def _watched(self, event: Event) -> list[str]:
        if self._values is None:
            return []
        if self._watches:
            self._values.passes(event)
        return [self._values.watch(event, watch).text for watch in self._watches]

    def _line(self, cells: Sequence[str]) -> str:
        fixed = [f"{cell:<{width}}" for cell, width in zip(cells, self._widths, strict=False)]
        return " ".join([*fixed, cells[-1]])
