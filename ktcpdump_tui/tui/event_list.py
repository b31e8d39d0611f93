"""The rows of the trace list: events, and the gaps where some were lost. Nothing here knows the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace

    Array = np.ndarray[Any, np.dtype[Any]]

#: Events read at once around what is visible.
WINDOW: Final = 256


@dataclass(frozen=True, slots=True)
class Gap:
    """``lost`` events of ``cpu`` are missing before event ``no``."""

    no: int
    cpu: int
    lost: int


@dataclass(frozen=True, slots=True)
class Head:
    """What the list shows of an event.

    ``delta`` is ns since the event in the row before, ``len`` is skb->len in bytes.
    """

    no: int
    ts: int
    delta: int | None
    cpu: int
    packet: int
    skb: int
    insn: int
    len: int | None


class EventList:
    """Rows from 0: all events or those of one packet, with a row of its own for each gap.

    All of it costs the same for ten events and for ten million, but for listing one packet, which costs
    as much as the packet has events.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.only_packet: int | None = None
        self._first = 1
        self._last = 0
        self._numbers: Array | None = None
        self._gaps: Array = np.empty(0)
        self._gap_rows: Array = np.empty(0, "<i8")
        self._window: Array = np.empty(0)
        self._window_at = 0

    def refresh(self) -> None:
        """Look at the trace anew: it grew, or its oldest events were removed."""
        trace = self._trace
        self._first, self._last = trace.first_no, len(trace)
        losses = trace.losses()
        if self.only_packet is not None:
            numbers = packet_numbers(trace, self.only_packet)
            self._numbers = numbers
            if len(numbers):
                losses = losses[(losses["no"] >= numbers[0]) & (losses["no"] <= numbers[-1])]
            else:
                losses = losses[:0]
            before = np.searchsorted(numbers, losses["no"])
        else:
            self._numbers = None
            losses = losses[losses["no"] >= self._first]
            before = losses["no"].astype("<i8") - self._first
        self._gaps = losses
        self._gap_rows = before + np.arange(len(losses))
        self._window = self._window[:0]

    def show_only(self, packet: int | None) -> None:
        """List only this packet's events, or all (None)."""
        self.only_packet = packet
        self.refresh()

    def instruction(self, index: int) -> Instruction:
        """Return an instruction of the plan."""
        return self._trace.instruction(index)

    @property
    def start(self) -> int:
        """When the capture began: ns, CLOCK_BOOTTIME."""
        return self._trace.header.started

    @property
    def first(self) -> int:
        """Number of the first event there is; above 1 where the oldest were removed."""
        return self._first

    @property
    def events(self) -> int:
        """Number of events listed."""
        if self._numbers is not None:
            return len(self._numbers)
        return max(0, self._last - self._first + 1)

    def __len__(self) -> int:
        return self.events + len(self._gaps)

    def number(self, position: int) -> int:
        """Return the event number at ``position`` among the listed events, from 0."""
        if self._numbers is not None:
            return int(self._numbers[position])
        return self._first + position

    def position(self, no: int) -> int:
        """Return the position of event ``no``, or of the next listed one."""
        if self._numbers is not None:
            return int(np.searchsorted(self._numbers, no))
        return min(max(no - self._first, 0), self.events)

    def row_of(self, no: int) -> int:
        """Return the row of event ``no``, or of the next listed one."""
        position = self.position(no)
        return position + int(
            np.searchsorted(self._gap_rows - np.arange(len(self._gap_rows)), position, "right")
        )

    def neighbour(self, no: int, by: int) -> int | None:
        """Return the number of the event ``by`` listed events away, as far as there are any."""
        count = self.events
        if not count:
            return None
        position = self.position(no)
        listed = position < count and self.number(position) == no
        if not listed and by > 0:
            by -= 1
        return self.number(max(0, min(position + by, count - 1)))

    def at(self, row: int) -> Head | Gap:
        """Return what is in ``row``."""
        k = int(np.searchsorted(self._gap_rows, row, "right"))
        if k and self._gap_rows[k - 1] == row:
            gap = self._gaps[k - 1]
            return Gap(int(gap["no"]), int(gap["cpu"]), int(gap["lost"]))
        position = row - k
        head, delta = self._head(position)
        state = self._trace.state(int(head["state"]))
        return Head(
            self.number(position), int(head["ts"]), delta, int(head["cpu"]), int(head["packet"]),
            int(head["skb"]), int(head["insn"]), state.len if state else None,
        )  # fmt: skip

    def event_near(self, row: int) -> int | None:
        """Return the number of the event in ``row``; of the next one where the row is a gap."""
        if not len(self):
            return None
        entry = self.at(max(0, min(row, len(self) - 1)))
        return entry.no

    def _head(self, position: int) -> tuple[Any, int | None]:
        """Return an event's row and the ns since the one listed before it."""
        at = position - self._window_at
        if not (0 < at < len(self._window) or (position == 0 == at and len(self._window))):
            start = max(0, position - WINDOW // 2)
            stop = min(self.events, start + WINDOW)
            self._window_at = start
            self._window = self._read(start, stop)
            at = position - start
        head = self._window[at]
        return head, int(head["ts"]) - int(self._window[at - 1]["ts"]) if at else None

    def _read(self, start: int, stop: int) -> Array:
        if self._numbers is None:
            return self._trace.heads(self._first + start, self._first + stop - 1)
        numbers = self._numbers[start:stop]
        # A packet's events mostly follow one another: read them run by run.
        ends = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = np.split(numbers, ends)
        return np.concatenate([self._trace.heads(int(run[0]), int(run[-1])) for run in runs])


def packet_numbers(trace: Trace, packet: int) -> Array:
    """Return the numbers of a packet's events, ascending."""
    found = [numbers for numbers, _heads in trace.chunks(0, packet=packet)]
    return np.concatenate(found) if found else np.empty(0, "<i8")
