"""Inline chains: which functions, inlined into which, an instruction belongs to (DWARF 5 section 3.3.8)."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.units import subprogram_at
from ktcpdump_tui.model import InlineFrame

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.dies import Entry, Unit
    from ktcpdump_tui.debuginfo.lines import LineIndex
    from ktcpdump_tui.debuginfo.ranges import Ranges
    from ktcpdump_tui.debuginfo.reader import DwarfReader
    from ktcpdump_tui.debuginfo.units import UnitIndex
    from ktcpdump_tui.model import SourceLine

#: Scopes that hold code of their own but are no functions.
_BLOCKS: Final = frozenset({dwarf.TAG_LEXICAL_BLOCK, dwarf.TAG_TRY_BLOCK, dwarf.TAG_CATCH_BLOCK})
#: Functions whose scopes are kept.
_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Call:
    """An inlined call: the function's name, where it was called, and the call it is itself part of.

    ``parent`` is an index in the list of calls, -1 for the function that exists in machine code.
    """

    function: str
    file: str
    line: int
    column: int
    parent: int


class FunctionScopes:
    """The inlined calls of one function, and for each of its addresses the innermost one."""

    def __init__(self, function: str, calls: list[Call], edges: list[int], owners: list[int]) -> None:
        self.function = function
        self.calls = calls
        self.edges = edges
        self.owners = owners

    def chain(self, address: int, line: SourceLine | None) -> tuple[InlineFrame, ...]:
        """Return the chain at ``address``, whose own source line is ``line``; innermost first."""
        file, number = (line.file, line.line) if line else ("", 0)
        frames = []
        for call in self.calls_at(address):
            frames.append(InlineFrame(call.function, file, number))
            file, number = call.file, call.line
        frames.append(InlineFrame(self.function, file, number))
        return tuple(frames)

    def calls_at(self, address: int) -> list[Call]:
        """Return the inlined calls ``address`` is in, innermost first."""
        row = bisect_right(self.edges, address) - 1
        index = self.owners[row] if row >= 0 else -1
        found = []
        while index >= 0:
            found.append(self.calls[index])
            index = self.calls[index].parent
        return found


class InlineIndex:
    """Look-ups of inline chains. Raises as DwarfReader does on damaged data."""

    def __init__(self, reader: DwarfReader, units: UnitIndex, lines: LineIndex) -> None:
        self._reader = reader
        self._units = units
        self._lines = lines
        self._functions: OrderedDict[int, FunctionScopes] = OrderedDict()

    def chain(self, address: int, line: SourceLine | None) -> tuple[InlineFrame, ...]:
        """Return the chain at ``address``, empty where no unit describes a function there."""
        scopes = self.scopes_at(address)
        return scopes.chain(address, line) if scopes else ()

    def scopes_at(self, address: int) -> FunctionScopes | None:
        """Return the scopes of the function with machine code at ``address``."""
        unit = self._units.at(address)
        offset = subprogram_at(unit, address) if unit else None
        if unit is None or offset is None:
            return None
        scopes = self._functions.get(offset)
        if scopes is None:
            scopes = self._functions[offset] = self._read(unit, unit.entry(offset))
            if len(self._functions) > _KEPT:
                self._functions.popitem(last=False)
        else:
            self._functions.move_to_end(offset)
        return scopes

    def _read(self, unit: Unit, function: Entry) -> FunctionScopes:
        calls: list[Call] = []
        # Every scope with code: (ranges, index of its call, number of the enclosing scope).
        scopes: list[tuple[Ranges, int, int]] = [(unit.ranges_of(function), -1, -1)]
        table = self._lines.table(unit)
        pending = [(function, 0)]
        while pending:
            entry, scope = pending.pop()
            inner: list[tuple[Entry, int]] = []
            for child in unit.children(entry):
                if child.tag == dwarf.TAG_INLINED_SUBROUTINE:
                    file = table.path(child.number(dwarf.AT_CALL_FILE) or 0) if table else ""
                    calls.append(
                        Call(
                            self._reader.function_name(unit, child),
                            file,
                            child.number(dwarf.AT_CALL_LINE) or 0,
                            child.number(dwarf.AT_CALL_COLUMN) or 0,
                            scopes[scope][1],
                        )
                    )
                    call = len(calls) - 1
                elif child.tag in _BLOCKS:
                    call = scopes[scope][1]
                else:
                    continue
                ranges = unit.ranges_of(child)
                if ranges:
                    scopes.append((ranges, call, scope))
                    inner.append((child, len(scopes) - 1))
                elif child.tag in _BLOCKS:
                    inner.append((child, scope))
            pending.extend(reversed(inner))
        edges, owners = _paint(scopes)
        return FunctionScopes(self._reader.function_name(unit, function), calls, edges, owners)


def _paint(scopes: list[tuple[Ranges, int, int]]) -> tuple[list[int], list[int]]:
    """Return (addresses where the innermost call changes, that call's index from there on).

    A scope counts only where the one around it does too, and the first of several that overlap wins.
    """
    edges = distinct(
        np.array([edge for ranges, _, _ in scopes for pair in ranges for edge in pair], np.uint64)
    )
    owner = np.full(len(edges), -1, np.intp)
    for number, (ranges, _, parent) in enumerate(scopes):
        for low, high in ranges:
            first, last = np.searchsorted(edges, np.array([low, high], np.uint64))
            part = owner[first:last]
            part[part == parent] = number
    return edges.tolist(), [scopes[number][1] if number >= 0 else -1 for number in owner.tolist()]
