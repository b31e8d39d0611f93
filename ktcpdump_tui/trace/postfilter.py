"""The events of a trace that a post-filter selects: found block by block, and shown while more are found.

A packet is judged once, by EXPRESSION, at its first event, as the kernel side judges it; what was cloned,
copied or cut from a selected packet is selected too.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.trace.pcap import packet_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.criteria import Criteria
    from ktcpdump_tui.trace.trace import Trace

    #: Judges (bytes from the first header, ``ethernet`` or ``raw``, the whole packet's length in bytes).
    Predicate = Callable[[bytes, str, int | None], bool]

_UNKNOWN: Final = 0
_YES: Final = 1
_NO: Final = 2


class PostFilter:
    """The numbers of the selected events, ascending, as far as ``scan`` has come.

    ``judge`` is EXPRESSION (``OfflineFilter(...).matches``), needed where the criteria have one. Positions
    count from 0. Used by one thread at a time, as the trace is; the arrays it returns never change.
    """

    def __init__(self, trace: Trace, criteria: Criteria, judge: Predicate | None = None) -> None:
        self.criteria = criteria
        self._trace = trace
        self._judge = judge if criteria.expression else None
        self._plan: object = None
        self._insns: Array | None = None
        self._parents: dict[int, int] = {}
        self._last_row = 0
        self._parents_to = 0  # events there were when parents were read
        self._verdicts: Array = np.zeros(1024, "u1")  # by packet
        self._before: Array = np.zeros(1024, "<u8")  # by packet: its state at its last event
        self._found: Array = np.empty(1024, "<i8")
        self._count = 0
        self._gone = 0  # numbers at the front that --max-size removed
        self._dropped: Array = np.zeros(1024, "?")  # by packet
        self._drops = 0
        self._within = PostFilter(trace, replace(criteria, drop=False), judge) if criteria.drop else None
        self.scanned = trace.first_no - 1

    # ---- finding

    @property
    def complete(self) -> bool:
        """Whether all events were looked at that were there at the trace's last refresh."""
        return self.scanned >= len(self._trace)

    def scan(self, seconds: float | None = None, enough: int | None = None) -> bool:
        """Look at more events: all, or until the time is over or ``enough`` are selected.

        Returns ``complete``. What was removed meanwhile is forgotten. It looks at whole blocks of events.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        self._forget_removed()
        if self._within is not None:
            return self._scan_drops(self._within)
        self._read_plan()
        if self.criteria.dropped:
            self._read_drops()
        if self._judge is not None:
            self._read_parents()
        for numbers, heads in self._unscanned():
            wanted = self._select(heads)
            self._append(numbers[wanted])
            self.scanned = int(numbers[-1])
            if deadline is not None and time.monotonic() >= deadline:
                break
            if enough is not None and len(self) >= enough:
                break
        else:
            self.scanned = len(self._trace)
        return self.complete

    def _unscanned(self) -> Iterator[tuple[Array, Array]]:
        """Go through the blocks that are left, but for those without a wanted instruction or packet."""
        carries = self._judge is not None or self.criteria.changed
        if not carries and self._insns is not None:
            insns = np.flatnonzero(self._insns).tolist()
            return self._trace.chunks(self.scanned, insns=insns)
        if not carries and len(self.criteria.packets) == 1:
            return self._trace.chunks(self.scanned, packet=next(iter(self.criteria.packets)))
        return self._trace.chunks(self.scanned)

    def _select(self, heads: Array) -> Array:
        criteria = self.criteria
        wanted = np.ones(len(heads), "?")
        if self._judge is not None:
            self._judge_packets(heads)
            wanted &= self._verdicts[heads["packet"]] == _YES
        if criteria.changed:
            wanted &= self._changed(heads)
        if self._insns is not None:
            # What is not in the plan (a damaged trace) has no name to be selected by.
            wanted &= self._insns[np.minimum(heads["insn"], len(self._insns) - 1)]
        if criteria.packets:
            wanted &= np.isin(heads["packet"], sorted(criteria.packets))
        if criteria.cpus:
            wanted &= np.isin(heads["cpu"], sorted(criteria.cpus))
        if criteria.dropped:
            wanted &= self._dropped[np.minimum(heads["packet"], len(self._dropped) - 1)]
        if criteria.netns and wanted.any():
            at = np.flatnonzero(wanted)
            states, which = np.unique(heads["state"][at], return_inverse=True)
            wanted[at] = np.isin(self._trace.netns_of(states), sorted(criteria.netns))[which]
        return wanted

    def _judge_packets(self, heads: Array) -> None:
        assert self._judge is not None
        packets, firsts = np.unique(heads["packet"], return_index=True)
        self._verdicts = _longer(self._verdicts, int(packets[-1]) + 1)
        unknown = self._verdicts[packets] == _UNKNOWN
        # In the order of their first events: a parent is judged before what was made of it.
        fresh = sorted(zip(firsts[unknown].tolist(), packets[unknown].tolist(), strict=True))
        for first, packet in fresh:
            yes = self._parent_selected(packet) or self._judge_state(int(heads["state"][first]))
            self._verdicts[packet] = _YES if yes else _NO

    def _read_parents(self) -> None:
        if self._parents_to != len(self._trace):
            self._parents_to = len(self._trace)
            for row, packet, parent in self._trace.parents(self._last_row):
                self._parents[packet], self._last_row = parent, row

    def _parent_selected(self, packet: int) -> bool:
        parent = self._parents.get(packet, 0)
        return parent < len(self._verdicts) and int(self._verdicts[parent]) == _YES

    def _judge_state(self, number: int) -> bool:
        assert self._judge is not None
        known = self._trace.packet_bytes(number)
        if known is None:
            return self._judge(b"", "ethernet", None)
        packet, link, length = known
        return self._judge(packet, link, packet_length(packet, link, length))

    def _changed(self, heads: Array) -> Array:
        """Tell which events have another state than their packet's event before; a first event has none."""
        order = np.argsort(heads["packet"], kind="stable")
        packets, states = heads["packet"][order], heads["state"][order]
        self._before = _longer(self._before, int(packets[-1]) + 1)
        first = np.concatenate(([True], packets[1:] != packets[:-1]))
        last = np.concatenate((first[1:], [True]))
        before = np.concatenate(([0], states[:-1]))
        before[first] = self._before[packets[first]]
        self._before[packets[last]] = states[last]
        changed = np.empty(len(heads), "?")
        changed[order] = (before != 0) & (states != before)
        return changed

    def _scan_drops(self, within: PostFilter) -> bool:
        """Select the last events of dropped packets: the trace knows them without looking at events."""
        numbers = self._trace.drops()[:, 0]
        numbers = distinct(numbers[(numbers >= self._trace.first_no) & (numbers <= len(self._trace))])
        if within.criteria:
            within.scan()
            numbers = numbers[np.isin(numbers, within.numbers(0, len(within)))]
        self._start_anew()
        self._append(numbers)
        self.scanned = len(self._trace)
        return True

    def _read_drops(self) -> None:
        """Take what was dropped since; events looked at before that are looked at anew."""
        packets = self._trace.drops()[:, 1]
        if len(packets) == self._drops:
            return
        self._drops = len(packets)
        known = self._dropped
        self._dropped = np.zeros(int(packets.max()) + 2, "?")  # the last: packets above the highest
        self._dropped[packets] = True
        new = packets[~known[np.minimum(packets, len(known) - 1)]]
        spans = (self._trace.packet_span(packet) for packet in new.tolist()) if self.scanned else ()
        if any(span is not None and span[0] <= self.scanned for span in spans):
            self._start_anew()
            self._before[:] = 0
            self.scanned = self._trace.first_no - 1

    def _read_plan(self) -> None:
        if self._plan is not self._trace.plan:
            self._plan = self._trace.plan
            chosen = self.criteria.instructions(self._trace.plan)
            if chosen is not None:
                self._insns = np.zeros(len(self._trace.plan) + 1, "?")
                self._insns[sorted(chosen)] = True

    def _append(self, numbers: Array) -> None:
        needed = self._count + len(numbers)
        if needed > len(self._found):
            self._found = _longer(self._found, needed)
        self._found[self._count : needed] = numbers
        self._count = needed

    def _start_anew(self) -> None:
        # Another array: who was given the numbers so far goes on using them.
        self._found = np.empty(1024, "<i8")
        self._count = self._gone = 0

    def _forget_removed(self) -> None:
        first_no = self._trace.first_no
        self._gone = int(np.searchsorted(self._found[: self._count], first_no))
        self.scanned = max(self.scanned, first_no - 1)

    # ---- what was found

    def __len__(self) -> int:
        return self._count - self._gone

    def __contains__(self, no: int) -> bool:
        at = self.position(no)
        return at < len(self) and int(self.numbers(at, at + 1)[0]) == no

    def numbers(self, start: int, stop: int) -> Array:
        """Return the numbers of the known selected events at positions ``start`` to ``stop - 1``."""
        return self._found[self._gone + max(start, 0) : self._gone + min(stop, len(self))]

    def position(self, no: int) -> int:
        """Return the position of the first selected event at or after event ``no``; the length if none is."""
        return int(np.searchsorted(self._found[self._gone : self._count], no))


def _longer(values: Array, size: int) -> Array:
    if size <= len(values):
        return values
    longer = np.zeros(max(size, 2 * len(values)), values.dtype)
    longer[: len(values)] = values
    return longer
