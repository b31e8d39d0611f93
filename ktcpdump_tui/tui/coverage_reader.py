"""Counts which lines were executed, for all packets and for one, in a thread with a reader of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.trace import lines
from ktcpdump_tui.tui.coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ktcpdump_tui.trace.jumps import Ways
    from ktcpdump_tui.trace.trace import Trace

    Array = np.ndarray[Any, np.dtype[Any]]

#: Seconds between two counts while events come in, and the part of the time that counting may take.
_PAUSE: Final = 0.5
_SHARE: Final = 0.05

#: Places in the list that are worked out for breakpoints: beyond, they fill the minimap anyway.
_PLACES: Final = 100_000


@dataclass(frozen=True, slots=True)
class CoverageOrder:
    """The ``packet`` to count for (0: none), the trace's length, the breakpoints' instructions.

    ``function``: the instructions of which jumps are wanted.
    """

    packet: int
    events: int
    breakpoints: frozenset[int] = frozenset()
    only_packet: int | None = None
    function: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Covered:
    """What was counted.

    ``hits``: executions of each instruction; ``marks``: of each line; ``lost``: whether any event was;
    ``stops``: the numbers of events at a breakpoint, ascending; ``took``: seconds of processor time.
    """

    hits: Array
    packet_hits: Array
    marks: Coverage
    lost: bool
    stops: Array
    jumps: Mapping[int, Ways]
    took: float

    @property
    def pause(self) -> float:
        """Seconds until it is worth while to count again because there are further events."""
        return max(_PAUSE, self.took / _SHARE)


class CoverageReader:
    """Made in the interface's thread, used in another: the trace is opened at the first order."""

    def __init__(self, open_trace: Callable[[], Trace]) -> None:
        self._open_trace = open_trace
        self._trace: Trace | None = None
        self._packet: tuple[object, ...] = ()
        self._packet_hits: Array = np.empty(0, "<u8")
        self._function: tuple[object, ...] = ()
        self._jumps: Mapping[int, Ways] = {}

    def read(self, order: CoverageOrder) -> Covered:
        """Count; UserError where the trace is damaged."""
        begun = time.thread_time()
        if self._trace is None:
            self._trace = self._open_trace()
        trace = self._trace
        if order.events > len(trace) or not trace.finished:
            trace.refresh()
        self._count_packet(trace, order)
        hits, lost = trace.hits(), trace.lost()
        marks = Coverage(trace.plan_lines, hits, self._packet_hits, lost=lost)
        stops = self._stops(trace, order)
        took = time.thread_time() - begun
        return Covered(hits, self._packet_hits, marks, lost, stops, self._jumps, took)

    def _count_packet(self, trace: Trace, order: CoverageOrder) -> None:
        """Count anew what is the packet's alone, where it is another one or has further events."""
        from ktcpdump_tui.trace.jumps import Jumps

        packet = order.packet
        span = trace.packet_span(packet) if packet else None
        known = (packet, span, trace.plan_lines)
        if self._packet != known:
            self._packet, self._function = known, ()
            self._packet_hits = lines.packet_hits(trace, packet) if packet else np.zeros(0, "<u8")
        if self._function != (*known, order.function):
            self._function = (*known, order.function)
            self._jumps = Jumps(trace).counts(order.function, packet) if order.function and packet else {}

    def _stops(self, trace: Trace, order: CoverageOrder) -> Array:
        """Return where the breakpoints were hit; of a long trace, the first event of each block with one."""
        insns = sorted(order.breakpoints)
        if not insns:
            return np.empty(0, "<i8")
        if len(trace) > _PLACES and order.only_packet is None:
            return trace.blocks_with(insns)
        chunks = trace.chunks(0, packet=order.only_packet, insns=insns)
        found = [numbers for numbers, _heads in chunks]
        return np.concatenate(found) if found else np.empty(0, "<i8")
