"""A trace restricted to some of its packets: EXPRESSION on what was recorded.

A packet is judged once, by its first event, as the kernel side judges it; what was cloned, copied or cut
from a selected packet is selected too. How many events are left is known from the blocks' tallies, so that
only the blocks that are looked at are unpacked.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

    #: Judges (bytes from the first header, ``ethernet`` or ``raw``, the whole packet's length in bytes).
    Predicate = Callable[[bytes, str, int | None], bool]


def select(trace: Trace, predicate: Predicate) -> Selected:
    """Return the part of ``trace`` whose packets ``predicate`` selects (``OfflineFilter(...).matches``)."""
    return Selected(trace, predicate)


class Selected:
    """The events of the selected packets, in order; positions count from 0, events keep their numbers.

    It changes only in ``refresh``, and is of the trace as it was refreshed last.
    """

    def __init__(self, trace: Trace, predicate: Predicate) -> None:
        self._trace = trace
        self._predicate = predicate
        self._decided: dict[int, bool] = {}
        self._waiting: dict[int, int | None] = {}  # packets without an event so far -> their parents
        self._last_row = 0
        self._oldest = trace.first_no
        self._packets: Array = np.empty(0, "<u4")
        self._firsts: list[int] = []  # first number of each block with selected events
        self._ends: list[int] = []  # selected events up to the end of that block
        self.refresh()

    def refresh(self) -> int:
        """Judge the packets that came since the last call; return the number of selected events."""
        ready: list[tuple[int, int | None, int]] = []
        for number, parent in list(self._waiting.items()):
            span = self._trace.packet_span(number)
            if span is not None:
                del self._waiting[number]
                ready.append((number, parent, span[0]))
        for row, number, parent, first_no in self._trace.packet_starts(self._last_row):
            self._last_row = row
            # What was committed after the trace was refreshed waits for the next time.
            if first_no is None or first_no > len(self._trace):
                self._waiting[number] = parent
            else:
                ready.append((number, parent, first_no))
        ready = [packet for packet in ready if packet[2] >= self._trace.first_no]
        chosen: list[tuple[int, int]] = []
        states = self._trace.states_at(np.array([first_no for _, _, first_no in ready], "<i8"))
        for (number, parent, first_no), state in zip(ready, states.tolist(), strict=True):
            self._decided[number] = bool(self._decided.get(parent or 0)) or self._judge(state)
            if self._decided[number]:
                chosen.append((number, first_no))
        self._packets = np.sort(np.concatenate((self._packets, np.array([n for n, _ in chosen], "<u4"))))
        self._count(min((first_no for _, first_no in chosen), default=None))
        return len(self)

    def _count(self, no: int | None) -> None:
        """Count the selected events per block, from the last block or that of event ``no`` on."""
        if self._trace.first_no != self._oldest:  # blocks were removed
            self._oldest = self._trace.first_no
            self._firsts, self._ends = [], []
        keep = max(0, len(self._firsts) - 1)
        if no is not None:
            keep = min(keep, max(0, bisect.bisect_right(self._firsts, no) - 1))
        start = self._firsts[keep] if keep < len(self._firsts) else self._oldest
        del self._firsts[keep:], self._ends[keep:]
        total = self._ends[-1] if self._ends else 0
        for first_no, count in self._trace.count_in_blocks(self._packets, start):
            total += count
            self._firsts.append(first_no)
            self._ends.append(total)

    @property
    def packets(self) -> Array:
        """The ids of the selected packets, ascending."""
        return self._packets

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __contains__(self, no: int) -> bool:
        packet = self._trace.heads(no, no)["packet"][0]
        return bool(self._decided.get(int(packet), False))

    def numbers(self, start: int, stop: int) -> Array:
        """Return the numbers of the selected events at positions ``start`` to ``stop - 1``."""
        parts = []
        stop = min(stop, len(self))
        while start < stop:
            at = bisect.bisect_right(self._ends, start)
            before = self._ends[at - 1] if at else 0
            numbers = self._in_block(at)[start - before : stop - before]
            if not len(numbers):
                break  # the block is gone (--max-size)
            parts.append(numbers)
            start += len(numbers)
        return np.concatenate(parts) if parts else np.empty(0, "<i8")

    def position(self, no: int) -> int:
        """Return the position of the first selected event at or after event ``no``; the length if none is."""
        at = bisect.bisect_right(self._firsts, no) - 1
        if at < 0:
            return 0
        before = self._ends[at - 1] if at else 0
        return before + int(np.searchsorted(self._in_block(at), no))

    def __iter__(self) -> Iterator[int]:
        for at in range(len(self._ends)):
            yield from self._in_block(at).tolist()

    def _in_block(self, at: int) -> Array:
        first_no = self._firsts[at]
        for numbers, heads in self._trace.chunks(first_no - 1):
            if int(numbers[0]) != first_no:
                break
            return numbers[np.isin(heads["packet"], self._packets)]
        return np.empty(0, "<i8")

    def _judge(self, number: int) -> bool:
        state = self._trace.state(number)
        if state is None:
            return self._predicate(b"", "ethernet", None)
        return self._predicate(state.packet, state.link, max(state.len, len(state.packet)))
