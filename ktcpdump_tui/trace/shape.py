"""What stepping needs to know of each instruction of the plan, as arrays that are indexed by instruction.

A *row* is a run of adjacent instructions with the same position and inline chain. Function ids join the parts
of one function that share its frame: ``f`` and ``f.cold``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.model import Flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array

#: gcc moves unlikely code of f to f.cold (f.cold.N before gcc 9): the same frame, reached by a jump.
_COLD: Final = re.compile(r"\.cold(\.\d+)?$")

#: Indirect calls land at an endbr64 (Intel CET); probes go behind it, so the function is entered there.
_ENDBR64_BYTES: Final = 4

#: Line id of an instruction the compiler gave no line (line 0).
NO_LINE: Final = 0


class PlanShape:
    """Arrays over the plan's instructions; one entry more at the end stands for those outside the plan.

    ``function``: id of the function. ``entry``: the function is entered there. ``returns``: it is left there.
    ``start``: first of a row. ``begins``: first of a row that is a statement (is_stmt), where step may stop;
    without line information each instruction is a statement. ``depth``: inlined functions around it.
    ``path[:, k]``: id of the inline instance at depth k (0: the real function), -1 below its depth.
    ``line[:, k]``: id of the line that is being executed at depth k, NO_LINE where there is none.
    ``inner_path``, ``inner_line``: those of the innermost depth. ``aside``: first of a row that is no
    statement.
    ``line_file``, ``line_number``: by line id; files are numbers.
    """

    def __init__(self, plan: Sequence[Instruction]) -> None:
        count = len(plan) + 1
        self.function: Array = np.full(count, -1, "<i4")
        self.entry: Array = np.zeros(count, "?")
        self.returns: Array = np.zeros(count, "?")
        self.start: Array = np.ones(count, "?")
        self.begins: Array = np.ones(count, "?")
        self.depth: Array = np.zeros(count, "<i4")
        deepest = max((len(insn.inlined_by) for insn in plan), default=1)
        self.path: Array = np.full((count, max(deepest, 1)), -1, "<i4")
        self.line: Array = np.zeros((count, max(deepest, 1)), "<i4")
        self._paths: dict[tuple[object, ...], int] = {}
        self._lines: dict[tuple[str, int], int] = {}
        functions: dict[tuple[str | None, str], int] = {}
        for insn in plan:
            name = (insn.module, _COLD.sub("", insn.symbol))
            self.function[insn.index] = functions.setdefault(name, len(functions))
            self.returns[insn.index] = insn.flow is Flow.RETURN
            self._place(insn)
        self.path[-1, 0] = -2
        self.line[-1, 0] = self._line(("?", 0))
        self._neighbours(plan)
        every = np.arange(count)
        self.inner_path: Array = self.path[every, self.depth]
        self.inner_line: Array = self.line[every, self.depth]
        self.aside: Array = self.start & ~self.begins & (self.inner_line != NO_LINE)
        names = [("", 0), *self._lines]
        files = {name[0]: number for number, name in enumerate(names)}
        self.line_file: Array = np.array([files[name[0]] for name in names])
        self.line_number: Array = np.array([name[1] for name in names])

    def function_of(self, insn: int) -> int:
        """Return the function id of one instruction."""
        return int(self.function[self.known(insn)])

    def known(self, insn: int) -> int:
        """Return the index to use for an instruction, which is the last one for those outside the plan."""
        return min(insn, len(self.function) - 1)

    def known_all(self, insns: Array) -> Array:
        """Return the indices to use for instructions, as ``known`` does."""
        return np.minimum(insns, len(self.function) - 1)

    def _place(self, insn: Instruction) -> None:
        chain = [(frame.function, frame.file, frame.line) for frame in reversed(insn.inlined_by)]
        if not chain:
            chain = [
                (insn.symbol, insn.source.file if insn.source else "", insn.source.line if insn.source else 0)
            ]
        self.depth[insn.index] = len(chain) - 1
        path: tuple[object, ...] = (insn.module, _COLD.sub("", insn.symbol))
        for depth, (function, file, line) in enumerate(chain):
            if depth:
                path = (*path, function)
            self.path[insn.index, depth] = self._paths.setdefault(path, len(self._paths))
            if depth == len(chain) - 1 and insn.source is not None:
                file, line = insn.source.file, insn.source.line
            if insn.source is None:
                self.line[insn.index, depth] = self._line((f"*{insn.symbol}", insn.offset))
            elif line:
                self.line[insn.index, depth] = self._line((file, line))
            path = (*path, file, line)

    def _line(self, line: tuple[str, int]) -> int:
        return self._lines.setdefault(line, len(self._lines) + 1)

    def _neighbours(self, plan: Sequence[Instruction]) -> None:
        lowest: dict[str, int] = {}
        before: Instruction | None = None
        for insn in sorted(plan, key=lambda insn: insn.address):
            source = insn.source
            if before is not None and before.symbol == insn.symbol and before.inlined_by == insn.inlined_by:
                # Without the bytes (a trace made of JSON) the instruction known before it is the neighbour.
                adjacent = not before.code or before.address + len(before.code) == insn.address
                self.start[insn.index] = not adjacent or before.source != source or source is None
            statement = source is None or (source.is_stmt and source.line != 0)
            self.begins[insn.index] = self.start[insn.index] and statement
            before = insn
            first = lowest.setdefault(insn.symbol, insn.offset)
            at_entry = insn.offset == 0 or (insn.offset == _ENDBR64_BYTES and first in (0, _ENDBR64_BYTES))
            if at_entry and not _COLD.search(insn.symbol):
                self.entry[insn.index] = insn.offset == 0 or self._after_endbr64(plan, insn)

    def _after_endbr64(self, plan: Sequence[Instruction], insn: Instruction) -> bool:
        before = plan[insn.index - 1] if insn.index else None
        if before is None or before.symbol != insn.symbol or before.offset != 0:
            return True  # the plan has nothing before it
        return before.text.startswith("endbr64") or before.code == b"\xf3\x0f\x1e\xfa"
