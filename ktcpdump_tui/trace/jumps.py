"""Whether conditional jumps were taken: by the next event of the same frame, else by the flags.

``Jumps(trace).at(no)`` is for the instruction that is being looked at; ``Jumps(trace).counts(...)`` is for a
function's listing: how often each of its jumps went either way. Both are for the disassembly on the screen
and for whoever prints events. None and absence mean "cannot be told", never "not taken".
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

#: Blocks of events that are searched for the next one of a frame: it follows within a few events, or never.
_BLOCKS: Final = 4


class Ways(NamedTuple):
    """How often a conditional jump was taken, and how often execution went on behind it."""

    taken: int
    not_taken: int


class Jumps:
    """The conditional jumps of a trace. Used by the thread that opened it."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def at(self, no: int) -> bool | None:
        """Tell whether the jump that event ``no`` is about to execute was taken.

        None where the instruction is no conditional jump, or neither the registers nor the frame's next event
        tell. IndexError where there is no such event.
        """
        event = self._trace.event(no)
        if event.instruction.flow is not Flow.BRANCH:
            return None
        known = taken_by_flags(event)
        return self._by_next(event) if known is None else known

    def counts(self, instructions: Iterable[int], packet: int | None = None) -> dict[int, Ways]:
        """Return the ways of each conditional jump among ``instructions`` (indices in the plan).

        ``instructions`` are all of one function, so that the event after a jump is among them; ``packet``
        restricts the count to one packet. A jump is counted where its frame's next event is at one of its two
        ends. Reads all blocks with events of these instructions: a few ms for each.
        """
        plan = self._trace.plan
        insns = [index for index in instructions if 0 <= index < len(plan)]
        ends = {
            index: (plan[index].target, plan[index].address + len(plan[index].code))
            for index in insns
            if plan[index].flow is Flow.BRANCH and plan[index].code
        }
        found = {index: [0, 0] for index in ends}
        if not ends:
            return {}
        addresses = np.zeros(max(insns) + 1, "<u8")
        addresses[insns] = [plan[index].address for index in insns]
        branches = np.zeros(max(insns) + 1, "?")
        branches[list(ends)] = True
        waiting: dict[tuple[int, int], int] = {}  # the last event of each frame of the blocks before
        for _, heads in self._trace.chunks(self._trace.first_no - 1, packet=packet, insns=insns):
            for jump, to, times in self._pairs(heads, addresses, branches, waiting):
                target, behind = ends[jump]
                if to == target:
                    found[jump][0] += times
                elif to == behind:
                    found[jump][1] += times
        return {index: Ways(*both) for index, both in found.items() if any(both)}

    @staticmethod
    def _pairs(
        heads: Array, addresses: Array, branches: Array, waiting: dict[tuple[int, int], int]
    ) -> list[tuple[int, int, int]]:
        """Return (jump, address of the frame's next event, how often) of a block."""
        order = np.lexsort((np.arange(len(heads)), heads["cfa"], heads["packet"]))
        insns, cfas, packets = (heads[name][order] for name in ("insn", "cfa", "packet"))
        same = (cfas[1:] == cfas[:-1]) & (packets[1:] == packets[:-1])
        jumps = np.flatnonzero(same & branches[insns[:-1]])
        pairs, times = np.unique(
            np.stack((insns[jumps].astype("<u8"), addresses[insns[jumps + 1]])), axis=1, return_counts=True
        )
        rows = [(int(jump), int(to), int(n)) for jump, to, n in zip(*pairs, times, strict=True)]
        firsts = np.flatnonzero(np.append(True, ~same)) if len(order) else np.zeros(0, "<i8")
        lasts = np.append(firsts[1:], len(order)) - 1
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            frame = int(packets[first]), int(cfas[first])
            before = waiting.pop(frame, None)
            if before is not None:
                rows.append((before, int(addresses[insns[first]]), 1))
            if branches[insns[last]]:
                waiting[frame] = int(insns[last])
        return rows

    def _by_next(self, event: Event) -> bool | None:
        if event.cfa is None or not event.packet_id:
            return None
        instruction = event.instruction
        chunks = self._trace.chunks(event.no, packet=event.packet_id)
        for _, heads in itertools.islice(chunks, _BLOCKS):
            of_frame = np.flatnonzero(heads["cfa"] == event.cfa)
            if len(of_frame):
                to = self._trace.instruction(int(heads["insn"][of_frame[0]])).address
                if to == instruction.target:
                    return True
                return False if to == instruction.address + len(instruction.code) else None
        return None


def taken_by_flags(event: Event) -> bool | None:
    """Tell from an event's registers whether its conditional jump is taken; None where there are none."""
    if len(event.regs) != len(arch.REGISTERS) or not event.register("rflags") & arch.ALWAYS_SET:
        return None  # from a JSON stream without registers
    return arch.branch_taken(event.instruction.code, event.register("rflags"), event.register("rcx"))
