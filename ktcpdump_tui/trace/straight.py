"""What surely runs behind an event although it has no probe of its own.

Where a function is probed by its lines (``:*``) an event is the first instruction of a line; the branch that
ends the line and the call in it follow, up to the next probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.model import Flow, ProbeState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace


class StraightCode:
    """The instructions of a trace's plan, by address."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._at: dict[int, Instruction] = {}
        self._known = -1

    def run(self, first: Instruction) -> Iterator[Instruction]:
        """Yield ``first`` and what runs next without a probe, up to where control may go elsewhere."""
        if self._known != len(self._trace.plan):  # probes may have been added meanwhile
            self._known = len(self._trace.plan)
            self._at = {each.address: each for each in self._trace.plan}
        insn: Instruction | None = first
        while insn is not None:
            yield insn
            if insn.flow not in (Flow.NEXT, Flow.CALL):
                return
            insn = self._at.get(insn.address + len(insn.code))
            if insn is not None and insn.probe is ProbeState.ATTACHED:
                return
