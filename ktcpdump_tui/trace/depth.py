"""How deep in the call graph each event is, told from where its frame lies on the stack."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

_STACK_SHIFT: Final = np.uint64(arch.STACK_SIZE.bit_length() - 1)

#: The word below the CFA is the return address: it lies on the stack even for the outermost frame.
_WORD: Final = np.uint64(8)

#: Blocks with events of a packet that are looked at before the first event asked for.
_LOOK_BACK: Final = 4


class Depths:
    """Counts the traced frames around each event's own; 0 is the outermost that is traced.

    A callee's CFA is lower than its caller's, so the frames that are open are those whose CFA is above all
    that came after them. A frame ends where its return is seen, or an event comes from an outer one; a
    function of which only the entry is probed therefore seems open until then. Another stack (a task's, a
    CPU's for interrupts) begins at 0 again, and so does an event without a CFA.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._plan: Sequence[Instruction] = ()
        self._returns: Array = np.zeros(1, "?")

    def of(self, numbers: Array, heads: Array) -> Array:
        """Return the depth of each of these events (i64), which are ascending for each packet."""
        if self._trace.plan is not self._plan:
            self._plan = self._trace.plan
            self._returns = np.array([i.flow is Flow.RETURN for i in self._plan] + [False], "?")
        depths = np.zeros(len(heads), "<i8")
        order = np.argsort(heads["packet"], kind="stable")
        borders = np.flatnonzero(np.diff(heads["packet"][order])) + 1
        for at in np.split(order, borders) if len(order) else ():
            open_frames: dict[int, list[int]] = {}
            packet, first = int(heads["packet"][at[0]]), int(numbers[at[0]])
            chunks = self._trace.chunks(first, reverse=True, packet=packet)
            for _numbers, before in reversed(list(itertools.islice(chunks, _LOOK_BACK))):
                self._walk(before, open_frames)
            depths[at] = self._walk(heads[at], open_frames)
        return depths

    def _walk(self, heads: Array, open_frames: dict[int, list[int]]) -> Array:
        """Follow a packet's events; ``open_frames``: the CFAs on each stack, outermost first."""
        cfa = heads["cfa"]
        left = self._returns[np.minimum(heads["insn"], len(self._returns) - 1)]
        begins = np.ones(len(cfa), "?")
        begins[1:] = (cfa[1:] != cfa[:-1]) | left[:-1]
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(cfa)) - 1
        stacks = ((cfa[starts] - _WORD) >> _STACK_SHIFT).tolist()
        found = []
        for stack, frame, returned in zip(stacks, cfa[starts].tolist(), left[ends].tolist(), strict=True):
            if not frame:
                found.append(0)
                continue
            frames = open_frames.setdefault(stack, [])
            while frames and frames[-1] < frame:
                frames.pop()
            if not frames or frames[-1] != frame:
                frames.append(frame)
            found.append(len(frames) - 1)
            if returned:
                frames.pop()
        return np.repeat(np.array(found, "<i8"), ends - starts + 1)
