"""Going to a place in a trace: a time, a drop, a loss, the next packet. All return event numbers or None."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.trace.trace import Trace


def at_time(trace: Trace, ts: int) -> int | None:
    """Return the first event at or after ``ts`` (ns of CLOCK_BOOTTIME); None where all were before."""
    for first_no, _count, _t_first, t_last in trace.blocks():
        if t_last >= ts:
            heads = trace.heads(first_no, first_no + _count - 1)
            return first_no + int(np.argmax(heads["ts"] >= ts))
    return None


def next_loss(trace: Trace, no: int, reverse: bool = False) -> int | None:
    """Return the next event before which events are missing (``reverse``: the last one before ``no``)."""
    numbers = trace.losses()["no"]
    at = int(np.searchsorted(numbers, no, side="left" if reverse else "right"))
    at = at - 1 if reverse else at
    return int(numbers[at]) if 0 <= at < len(numbers) else None


def next_drop(trace: Trace, no: int, reverse: bool = False) -> int | None:
    """Return the last event of the packet that is dropped next after event ``no`` (``reverse``: before)."""
    return trace.drop_after(no, reverse)


def next_packet(trace: Trace, no: int, reverse: bool = False) -> int | None:
    """Return the first event of the packet that starts next after event ``no``'s (``reverse``: before)."""
    packet = int(trace.heads(no, no)["packet"][0])
    span = trace.packet_span(packet)
    return trace.packet_start_after(span[0] if span else no, reverse)


def same_line(trace: Trace, no: int, reverse: bool = False, packet: int | None = None) -> int | None:
    """Return the next event (``reverse``: the last before) at the source line of event ``no``.

    Where the line is not known, the same instruction.
    """
    insn = trace.instruction(int(trace.heads(no, no)["insn"][0]))
    wanted = [insn.index]
    if insn.source is not None:
        line = (insn.source.file, insn.source.line)
        wanted = [i.index for i in trace.plan if i.source and (i.source.file, i.source.line) == line]
    for numbers, _ in itertools.islice(trace.chunks(no, reverse, packet=packet, insns=wanted), 1):
        return int(numbers[-1 if reverse else 0])
    return None
