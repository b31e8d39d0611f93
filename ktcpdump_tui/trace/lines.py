"""The four states of each source line, told from the plan, the hits and the losses."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.model import LineState, ProbeState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

Line = tuple[str, int]

#: The states by the numbers that ``PlanLines.states`` gives them.
STATES: Final = (LineState.NOT_PROBED, LineState.NOT_EXECUTED, LineState.UNKNOWN, LineState.EXECUTED)


class PlanLines:
    """The source lines of a plan, and what of it their hits and states depend on.

    While events pour in they are counted twice a second: what does not change is worked out once, so that a
    count is a few calls of numpy, however many instructions there are. ``lines`` are (file, line) in the
    order of their first instruction; all arrays have an element for each of them.
    """

    def __init__(self, plan: Sequence[Instruction]) -> None:
        self.plan = plan
        places: dict[Line, int] = {}
        insns: list[int] = []
        of_line: list[int] = []
        probed: set[int] = set()
        for insn in plan:
            if insn.source is None or insn.source.line == 0:
                continue
            place = places.setdefault((insn.source.file, insn.source.line), len(places))
            insns.append(insn.index)
            of_line.append(place)
            if insn.probe is ProbeState.ATTACHED:
                probed.add(place)
        self.lines: tuple[Line, ...] = tuple(places)
        self._probed = np.zeros(len(places), bool)
        self._probed[list(probed)] = True
        # The instructions line by line, and where each line's begin.
        lines = np.array(of_line, "<i8")
        order = np.argsort(lines, kind="stable")
        self._insns: Array = np.array(insns, "<i8")[order]
        self._end = max(insns, default=-1) + 1
        self._starts: Array = lines[order].searchsorted(np.arange(len(places)))

    @functools.cached_property
    def places(self) -> dict[str, dict[int, int]]:
        """Where in the arrays a line is: {file: {line: place}}."""
        found: dict[str, dict[int, int]] = {}
        for place, (file, line) in enumerate(self.lines):
            found.setdefault(file, {})[line] = place
        return found

    def counts(self, hits: Array) -> Array:
        """Return how often each line was executed (u64): the most of any of its instructions.

        ``hits`` counts executions per instruction. Those of one line run one after another: their sum would
        count one execution several times.
        """
        if not self.lines:
            return np.zeros(0, "<u8")
        known = np.zeros(self._end, "<u8")
        known[: len(hits)] = hits[: self._end]
        return np.maximum.reduceat(known[self._insns], self._starts)

    def states(self, counts: Array, lost: bool) -> Array:
        """Return the state of each line (u1, in ``STATES``), of which ``counts`` tells how often it ran.

        A line none of whose instructions could be probed is NOT_PROBED. A probed line without a hit is
        NOT_EXECUTED only where nothing was ``lost``: any of the lost events could have been its, whatever was
        seen before and after the gap, so it is UNKNOWN then.
        """
        unseen = STATES.index(LineState.UNKNOWN if lost else LineState.NOT_EXECUTED)
        states = np.where(self._probed, unseen, STATES.index(LineState.NOT_PROBED)).astype("u1")
        states[counts > 0] = STATES.index(LineState.EXECUTED)
        return states

    def line_hits(self, hits: Array) -> dict[Line, int]:
        """Return ``counts`` by line."""
        return dict(zip(self.lines, self.counts(hits).tolist(), strict=True))

    def line_states(self, hits: Array, lost: bool) -> dict[Line, LineState]:
        """Return ``states`` by line."""
        states = self.states(self.counts(hits), lost).tolist()
        return {line: STATES[state] for line, state in zip(self.lines, states, strict=True)}


def packet_hits(trace: Trace, packet: int) -> Array:
    """Return how often each instruction of the plan was executed for ``packet`` (u64)."""
    hits = np.zeros(len(trace.plan), "<u8")
    for _, heads in trace.chunks(0, packet=packet):
        insns = heads["insn"][heads["insn"] < len(hits)]
        hits += np.bincount(insns, minlength=len(hits)).astype("<u8")
    return hits
