"""The four states of each source line, told from the plan, the hits and the losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.model import LineState, ProbeState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

Line = tuple[str, int]


def line_states(plan: Sequence[Instruction], hits: Array, lost: bool) -> dict[Line, LineState]:
    """Return the state of each (file, line) of the plan.

    ``hits`` counts executions per instruction. A line none of whose instructions could be probed is
    NOT_PROBED. A probed line without a hit is NOT_EXECUTED only where nothing was ``lost``: any of the lost
    events could have been its, whatever was seen before and after the gap, so it is UNKNOWN then.
    """
    unseen = LineState.UNKNOWN if lost else LineState.NOT_EXECUTED
    states: dict[Line, LineState] = {}
    for insn in plan:
        if insn.source is None or insn.source.line == 0:
            continue
        line = (insn.source.file, insn.source.line)
        known = states.get(line, LineState.NOT_PROBED)
        if insn.index < len(hits) and hits[insn.index]:
            known = LineState.EXECUTED
        elif insn.probe is ProbeState.ATTACHED and known is LineState.NOT_PROBED:
            known = unseen
        states[line] = known
    return states


def line_hits(plan: Sequence[Instruction], hits: Array) -> dict[Line, int]:
    """Return how often each (file, line) was executed: the most of any of its instructions.

    The instructions of one line run one after another, so their sum would count one execution several times.
    """
    counts: dict[Line, int] = {}
    for insn in plan:
        if insn.source is None or insn.source.line == 0:
            continue
        line = (insn.source.file, insn.source.line)
        here = int(hits[insn.index]) if insn.index < len(hits) else 0
        counts[line] = max(counts.get(line, 0), here)
    return counts


def packet_hits(trace: Trace, packet: int) -> Array:
    """Return how often each instruction of the plan was executed for ``packet`` (u64)."""
    hits = np.zeros(len(trace.plan), "<u8")
    for _, heads in trace.chunks(0, packet=packet):
        insns = heads["insn"][heads["insn"] < len(hits)]
        hits += np.bincount(insns, minlength=len(hits)).astype("<u8")
    return hits
