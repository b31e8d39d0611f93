"""The order of the trace list when it is grouped by packet: a heading for each packet, then its events."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.trace.known import Block
    from ktcpdump_tui.trace.trace import Trace

    Array = np.ndarray[Any, np.dtype[Any]]

#: Packets whose event numbers are kept.
_KEPT: Final = 64


class PacketGroups:
    """Where each packet's events are in the list, worked out from counts: no event is read for it.

    ``ids`` are the packets that have events, ascending. Positions count events, rows what is on the screen.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.closed: set[int] = set()
        self.ids: Array = np.empty(0, "<u4")
        self._settled: Array = np.empty(0, "<i8")  # events by id, of the blocks that no longer change
        self._blocks = 0
        self._first_no = 0
        self._ends: Array = np.empty(0, "<i8")
        self._row_starts: Array = np.empty(0, "<i8")
        self._rows = 0
        self._dropped: frozenset[int] = frozenset()
        self._numbers: OrderedDict[int, Array] = OrderedDict()

    def refresh(self) -> None:
        """Count anew what was added."""
        trace = self._trace
        if trace.first_no != self._first_no:
            self._first_no, self._blocks, self._settled = trace.first_no, 0, np.empty(0, "<i8")
        blocks = trace.block_packets()
        new = blocks[self._blocks : -1]
        self._settled = _added(self._settled, new)
        self._blocks += len(new)
        counts = _added(self._settled, blocks[-1:])
        counts[:1] = 0  # packet 0 is no packet
        self.ids = np.flatnonzero(counts)
        self._ends = np.cumsum(counts[self.ids])
        self._numbers.clear()
        self._dropped = frozenset(trace.drops()[:, 1].tolist())
        self.lay_out()

    def lay_out(self) -> None:
        """Work the rows out anew, for instance because a group was closed."""
        sizes = np.diff(self._ends, prepend=0)
        if self._dropped:
            sizes = sizes + np.isin(self.ids, list(self._dropped))
        if self.closed:
            sizes = np.where(np.isin(self.ids, list(self.closed)), 0, sizes)
        ends = np.cumsum(sizes + 1)
        self._rows = int(ends[-1]) if len(ends) else 0
        self._row_starts = ends - sizes - 1

    @property
    def events(self) -> int:
        """Events in all groups."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def number(self, position: int) -> int:
        """Return the number of the event at a position."""
        group, offset = self._at(position)
        return int(self.numbers(int(self.ids[group]))[offset])

    def read(self, start: int, stop: int) -> Array:
        """Return the numbers of the events at positions ``start`` to ``stop - 1``."""
        parts = []
        while start < stop:
            group, offset = self._at(start)
            numbers = self.numbers(int(self.ids[group]))[offset : offset + stop - start]
            parts.append(numbers)
            start += len(numbers)
        return np.concatenate(parts) if parts else np.empty(0, "<i8")

    def position(self, no: int) -> int:
        """Return the position of event ``no``; of the first one where its packet is not listed."""
        group = self._group_of(no)
        if group is None:
            return 0
        before = int(self._ends[group - 1]) if group else 0
        return before + int(np.searchsorted(self.numbers(int(self.ids[group])), no))

    def row_of(self, no: int) -> int:
        """Return the row of event ``no``; the heading's where the group is closed."""
        group = self._group_of(no)
        if group is None:
            return 0
        packet, row = int(self.ids[group]), int(self._row_starts[group])
        return row if packet in self.closed else row + 1 + int(np.searchsorted(self.numbers(packet), no))

    def place(self, row: int) -> tuple[int, int, int]:
        """Return what a row is: the packet, how many events it has, and which it is.

        -1 is the heading, the number of events what follows the last one.
        """
        group = int(np.searchsorted(self._row_starts, row, "right")) - 1
        count = int(self._ends[group]) - (int(self._ends[group - 1]) if group else 0)
        return int(self.ids[group]), count, row - int(self._row_starts[group]) - 1

    def dropped_rows(self) -> Array:
        """Return the rows of the headings of packets that were dropped."""
        return self._row_starts[np.isin(self.ids, list(self._dropped))]

    def first_position(self, packet: int) -> int:
        """Return the position of a packet's first event."""
        group = int(np.searchsorted(self.ids, packet))
        return int(self._ends[group - 1]) if group else 0

    def numbers(self, packet: int) -> Array:
        """Return the numbers of a packet's events, ascending."""
        kept = self._numbers.get(packet)
        if kept is None:
            found = [numbers for numbers, _heads in self._trace.chunks(0, packet=packet)]
            kept = np.concatenate(found) if found else np.empty(0, "<i8")
            self._numbers[packet] = kept
            if len(self._numbers) > _KEPT:
                self._numbers.popitem(last=False)
        else:
            self._numbers.move_to_end(packet)
        return kept

    def toggle(self, packet: int) -> None:
        """Close what is open, and the other way round."""
        self.closed ^= {packet}
        self.lay_out()

    def toggle_all(self) -> None:
        """Close all, or open all where all are closed."""
        everything = set(self.ids.tolist())
        self.closed = set() if everything <= self.closed else everything
        self.lay_out()

    def _at(self, position: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._ends, position, "right"))
        return group, position - (int(self._ends[group - 1]) if group else 0)

    def _group_of(self, no: int) -> int | None:
        if not self._trace.first_no <= no <= len(self._trace):
            return None
        packet = int(self._trace.heads(no, no)[0]["packet"])
        group = int(np.searchsorted(self.ids, packet))
        return group if group < len(self.ids) and self.ids[group] == packet else None


def _added(counts: Array, blocks: Sequence[Block]) -> Array:
    """Return a copy of ``counts`` (events by packet id) with those of more blocks added."""
    if not blocks:
        return counts.copy()
    ids = np.concatenate([block.packets for block in blocks])
    more = np.bincount(ids, np.concatenate([block.packet_counts for block in blocks])).astype("<i8")
    if len(more) < len(counts):
        more, counts = counts.copy(), more
    more[: len(counts)] += counts
    return more
