"""Counts which lines were executed, for all packets and for one, in a thread with a reader of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.lean import dataclass
from ktcpdump_tui.trace import lines
from ktcpdump_tui.tui.coverage import LineMark, coverage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ktcpdump_tui.trace.jumps import Ways
    from ktcpdump_tui.trace.trace import Trace

    Array = np.ndarray[Any, np.dtype[Any]]

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

    ``hits``: executions of each instruction; ``marks``: of each line, {file: {line: mark}}; ``lost``: whether
    any event was; ``stops``: the numbers of events at a breakpoint, ascending.
    """

    hits: Array
    packet_hits: Array
    marks: Mapping[str, Mapping[int, LineMark]]
    lost: bool
    stops: Array
    jumps: Mapping[int, Ways]


class CoverageReader:
    """Made in the interface's thread, used in another: the trace is opened at the first order."""

    def __init__(self, open_trace: Callable[[], Trace]) -> None:
        self._open_trace = open_trace
        self._trace: Trace | None = None
        self._packet: tuple[int, int] = (-1, -1)
        self._packet_hits: Array = np.empty(0, "<u8")

    def read(self, order: CoverageOrder) -> Covered:
        """Count; UserError where the trace is damaged."""
        if self._trace is None:
            self._trace = self._open_trace()
        trace = self._trace
        if order.events > len(trace) or not trace.finished:
            trace.refresh()
        span = trace.packet_span(order.packet) if order.packet else None
        known = (order.packet, span[1] if span else 0)
        if self._packet != known or len(self._packet_hits) != len(trace.plan):
            self._packet = known
            self._packet_hits = lines.packet_hits(trace, order.packet) if order.packet else np.zeros(0, "<u8")
        packet = order.packet or None
        from ktcpdump_tui.trace.jumps import Jumps

        jumps = Jumps(trace).counts(order.function, packet) if order.function and packet else {}
        hits = trace.hits()
        of_packet = lines.line_hits(trace.plan, self._packet_hits)
        marks = coverage(lines.line_hits(trace.plan, hits), trace.line_states(), of_packet)
        return Covered(hits, self._packet_hits, marks, trace.lost(), self._stops(trace, order), jumps)

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
