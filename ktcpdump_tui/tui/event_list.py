"""The rows of the trace list: events, gaps where some were lost, drops. Nothing here knows the screen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.trace.depth import Depths
from ktcpdump_tui.trace.layout import FOUND_BY
from ktcpdump_tui.tui.packet_groups import PacketGroups

if TYPE_CHECKING:
    from ktcpdump_tui.model import Instruction, Packet
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
class Drop:
    """``packet``, whose last event is ``no``, was dropped after it."""

    no: int
    packet: int


@dataclass(frozen=True, slots=True)
class Group:
    """The events of ``packet`` follow, the first being ``no``; ``events`` of them, hidden unless ``open``."""

    no: int
    packet: int
    events: int
    open: bool


@dataclass(frozen=True, slots=True)
class Head:
    """What the list shows of an event.

    ``delta`` is ns since the event in the row before, ``len`` is skb->len in bytes, ``depth`` the number of
    traced frames around its own (0 unless EventList.nested).
    """

    no: int
    ts: int
    delta: int | None
    cpu: int
    packet: int
    skb: int
    insn: int
    len: int | None
    pid: int = 0
    comm: str = ""
    dev: str = ""
    netns: int | None = None
    found_by: str = ""
    depth: int = 0


class EventList:
    """Rows from 0: all events, one packet's, or selected ones; each gap and each drop has a row of its own.

    All of it costs the same for ten events and for ten million, but for listing one packet, which costs
    as much as the packet has events. ``nested`` has the depth of each event's frame worked out.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.only_packet: int | None = None
        self.nested = False
        self.groups: PacketGroups | None = None
        self._selected: Array | None = None
        self._depths = Depths(trace)
        self._first = 1
        self._last = 0
        self._numbers: Array | None = None
        self._gaps: Array = np.empty(0)
        self._drops: Array = np.empty((0, 2), "<i8")
        self._extra_rows: Array = np.empty(0, "<i8")
        self._extras: Array = np.empty(0, "<i8")  # below the number of drops: one of these; else a gap
        self._window: Array = np.empty(0)
        self._window_depths: Array = np.empty(0, "<i8")
        self._window_at = 0

    def refresh(self) -> None:
        """Look at the trace anew: it grew, or its oldest events were removed."""
        trace = self._trace
        self._first, self._last = trace.first_no, len(trace)
        losses, drops = trace.losses(), trace.drops()
        numbers = self._listed()
        self._numbers = numbers
        if numbers is not None:
            drops = drops[np.isin(drops[:, 0], numbers)]
            if len(numbers):
                losses = losses[(losses["no"] >= numbers[0]) & (losses["no"] <= numbers[-1])]
            else:
                losses, drops = losses[:0], drops[:0]
            before = np.searchsorted(numbers, losses["no"])
            after = np.searchsorted(numbers, drops[:, 0] + 1)
        else:
            losses = losses[losses["no"] >= self._first]
            drops = drops[(drops[:, 0] >= self._first) & (drops[:, 0] <= self._last)]
            before = losses["no"].astype("<i8") - self._first
            after = drops[:, 0] + 1 - self._first
        self._gaps, self._drops = losses, drops
        places = np.concatenate((after, before))
        self._extras = np.argsort(places, kind="stable")
        self._extra_rows = places[self._extras] + np.arange(len(places))
        if self.groups is not None:
            self.groups.refresh()
        self._window = self._window[:0]

    def show_only(self, packet: int | None) -> None:
        """List only this packet's events, or all (None)."""
        self.only_packet = packet
        self.refresh()

    def show_selected(self, numbers: Array | None) -> None:
        """List only the events with these ascending numbers (of a post-filter), or all (None)."""
        self._selected = numbers
        self.refresh()

    def _listed(self) -> Array | None:
        """Return the numbers of the events to list, ascending; None for all."""
        if self.only_packet is None and self._selected is None:
            return None
        if self._selected is None:
            assert self.only_packet is not None
            return packet_numbers(self._trace, self.only_packet)
        # The filter's reader may be ahead of this one, or have more of what --max-size removed.
        low, high = np.searchsorted(self._selected, (self._first, self._last + 1))
        numbers = self._selected[low:high]
        if self.only_packet is not None:
            packet = packet_numbers(self._trace, self.only_packet)
            numbers = np.intersect1d(numbers, packet, assume_unique=True)
        return numbers

    def group(self, wanted: bool) -> None:
        """List packet after packet, each under a heading, or the events in their order."""
        self.groups = PacketGroups(self._trace) if wanted else None
        self.refresh()

    def nest(self, wanted: bool) -> None:
        """Have the depth of each event's frame worked out, or not."""
        self.nested = wanted
        self._window = self._window[:0]

    @property
    def _grouped(self) -> PacketGroups | None:
        """The groups, where all packets are listed."""
        return self.groups if self._numbers is None else None

    def instruction(self, index: int) -> Instruction:
        """Return an instruction of the plan."""
        return self._trace.instruction(index)

    def packet(self, number: int) -> Packet | None:
        """Return what is known of a packet."""
        try:
            return self._trace.packet(number)
        except KeyError:
            return None

    @property
    def start(self) -> int:
        """When the capture began: ns, CLOCK_BOOTTIME."""
        return self._trace.header.started

    @property
    def first(self) -> int:
        """Number of the first event there is; above 1 where the oldest were removed."""
        return self._first

    @property
    def last(self) -> int:
        """Number of the last event there is."""
        return self._last

    @property
    def events(self) -> int:
        """Number of events listed."""
        if (groups := self._grouped) is not None:
            return groups.events
        if self._numbers is not None:
            return len(self._numbers)
        return max(0, self._last - self._first + 1)

    def __len__(self) -> int:
        if (groups := self._grouped) is not None:
            return len(groups)
        return self.events + len(self._extra_rows)

    def number(self, position: int) -> int:
        """Return the event number at ``position`` among the listed events, from 0."""
        if (groups := self._grouped) is not None:
            return groups.number(position)
        if self._numbers is not None:
            return int(self._numbers[position])
        return self._first + position

    def position(self, no: int) -> int:
        """Return the position of event ``no``, or of the next listed one."""
        if (groups := self._grouped) is not None:
            return groups.position(no)
        if self._numbers is not None:
            return int(np.searchsorted(self._numbers, no))
        return min(max(no - self._first, 0), self.events)

    def row_of(self, no: int) -> int:
        """Return the row of event ``no``, or of the next listed one."""
        if (groups := self._grouped) is not None:
            return groups.row_of(no)
        position = self.position(no)
        if not len(self._extra_rows):
            return position
        # An extra row's place is the position it comes before: its row less the extra rows above it.
        places = self._extra_rows - np.arange(len(self._extra_rows))
        return position + int(np.searchsorted(places, position, "right"))

    def rows_of(self, numbers: Array) -> Array:
        """Return the rows of listed events, ascending; of nothing where packets are grouped."""
        if self._grouped is not None:
            return np.empty(0, "<i8")
        if self._numbers is not None:
            positions = np.searchsorted(self._numbers, numbers)
        else:
            positions = numbers.astype("<i8") - self._first
        places = self._extra_rows - np.arange(len(self._extra_rows))
        return positions + np.searchsorted(places, positions, "right")

    def loss_rows(self) -> Array:
        """Return the rows that tell of losses, ascending."""
        if self._grouped is not None:
            return np.empty(0, "<i8")
        return self._extra_rows[self._extras >= len(self._drops)]

    def drop_rows(self) -> Array:
        """Return the rows that tell of drops, ascending; the headings of dropped packets in groups."""
        if (groups := self._grouped) is not None:
            return groups.dropped_rows()
        return self._extra_rows[self._extras < len(self._drops)]

    def settled(self, start: int, stop: int) -> int | None:
        """Tell whether the rows from ``start`` to before ``stop`` are events: they do not change any more.

        Returns the number of the first one, None where a row is no event, or is not there yet.
        """
        low, high = np.searchsorted(self._extra_rows, (start, stop))
        if self._grouped is not None or low != high or stop > len(self):
            return None
        return self.number(start - int(low))

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

    def at(self, row: int) -> Head | Gap | Drop | Group:
        """Return what is in ``row``."""
        if (groups := self._grouped) is not None:
            return self._grouped_at(groups, row)
        k = int(np.searchsorted(self._extra_rows, row, "right"))
        if k and self._extra_rows[k - 1] == row:
            extra = int(self._extras[k - 1])
            if extra < len(self._drops):
                return Drop(int(self._drops[extra, 0]), int(self._drops[extra, 1]))
            gap = self._gaps[extra - len(self._drops)]
            return Gap(int(gap["no"]), int(gap["cpu"]), int(gap["lost"]))
        return self.head(row - k)

    def head(self, position: int) -> Head:
        """Return the event at ``position`` among the listed ones, from 0."""
        head, delta, depth = self._head(position)
        state = self._trace.state(int(head["state"]))
        found = int(head["found_by"])
        return Head(
            self.number(position), int(head["ts"]), delta, int(head["cpu"]), int(head["packet"]),
            int(head["skb"]), int(head["insn"]), state.len if state else None, int(head["pid"]),
            bytes(head["comm"]).decode("utf-8", "replace"), (state.dev or "") if state else "",
            (state.netns or None) if state else None,
            FOUND_BY[found] if found < len(FOUND_BY) else "", depth,
        )  # fmt: skip

    def _grouped_at(self, groups: PacketGroups, row: int) -> Head | Drop | Group:
        packet, events, place = groups.place(row)
        if place < 0:
            return Group(int(groups.numbers(packet)[0]), packet, events, packet not in groups.closed)
        if place >= events:
            return Drop(int(groups.numbers(packet)[-1]), packet)
        head = self.head(groups.first_position(packet) + place)
        return head if place else replace(head, delta=None)

    def event_near(self, row: int) -> int | None:
        """Return the number of the event in ``row``; of the next one where the row is a gap."""
        if not len(self):
            return None
        entry = self.at(max(0, min(row, len(self) - 1)))
        return entry.no

    def _head(self, position: int) -> tuple[Any, int | None, int]:
        """Return an event's row, the ns since the one listed before it, and its depth."""
        at = position - self._window_at
        if not (0 < at < len(self._window) or (position == 0 == at and len(self._window))):
            start = max(0, position - WINDOW // 2)
            stop = min(self.events, start + WINDOW)
            self._window_at = start
            self._window = self._read(start, stop)
            self._window_depths = self._window[:0]
            at = position - start
        if self.nested and not len(self._window_depths):
            first = self._window_at
            numbers = np.array([self.number(first + n) for n in range(len(self._window))], "<i8")
            self._window_depths = self._depths.of(numbers, self._window)
        head = self._window[at]
        delta = int(head["ts"]) - int(self._window[at - 1]["ts"]) if at else None
        return head, delta, int(self._window_depths[at]) if self.nested else 0

    def _read(self, start: int, stop: int) -> Array:
        if (groups := self._grouped) is not None:
            numbers = groups.read(start, stop)
        elif self._numbers is None:
            return self._trace.heads(self._first + start, self._first + stop - 1)
        else:
            numbers = self._numbers[start:stop]
        # A packet's events mostly follow one another: read them run by run.
        ends = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = np.split(numbers, ends)
        return np.concatenate([self._trace.heads(int(run[0]), int(run[-1])) for run in runs])


def packet_numbers(trace: Trace, packet: int) -> Array:
    """Return the numbers of a packet's events, ascending."""
    found = [numbers for numbers, _heads in trace.chunks(0, packet=packet)]
    return np.concatenate(found) if found else np.empty(0, "<i8")
