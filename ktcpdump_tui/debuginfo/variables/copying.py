"""Types of one table into another, as far as they can be reached over a number of pointers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.variables.type_table import TypeTable
from ktcpdump_tui.debuginfo.variables.types import QUALIFIERS, Kind, Type

if TYPE_CHECKING:
    from collections.abc import Iterable


def copied(roots: Iterable[Type], pointers: int) -> TypeTable:
    """Return a table with ``roots``, and structures behind at most ``pointers`` pointers, complete."""
    copier = _Copier(pointers)
    for root in roots:
        copier.add(root, 0)
    copier.work()
    return TypeTable(copier.records)


class _Copier:
    def __init__(self, pointers: int) -> None:
        self.records: list[list[object]] = [[Kind.VOID, "", 0, 0, None]]
        self._pointers = pointers
        self._numbers: dict[int, int] = {}
        self._levels: dict[int, int] = {}
        self._pending: deque[tuple[Type, int]] = deque()
        self._kept: list[Type] = []  # ids of objects are only good while these live

    def add(self, kind: Type, level: int) -> int:
        """Return the number of ``kind`` in the new table."""
        if kind.kind is Kind.VOID:
            return 0
        key = id(kind)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.records)
            self._kept.append(kind)
            self.records.append([kind.kind, kind.name, kind.size, 0, None])
        elif level >= self._levels[number]:
            return number
        self._levels[number] = level
        record = self.records[number]
        if kind.is_structure:
            if level <= self._pointers and kind.complete:
                self._pending.append((kind, level))
        elif kind.kind is Kind.BASE:
            record[4] = kind.encoding
        elif kind.kind is Kind.ENUM:
            record[4] = [list(pair) for pair in kind.enumerators]
            record[3] = self.add(kind.target, level)
        elif kind.kind is Kind.ARRAY:
            record[3:5] = [self.add(kind.target, level), kind.count]
        elif kind.kind is Kind.POINTER:
            record[3] = self.add(kind.target, level + 1)
        elif kind.kind is Kind.TYPEDEF or kind.kind in QUALIFIERS:
            record[3] = self.add(kind.target, level)
        elif kind.kind is Kind.FUNCTION:
            parameters = kind.parameters
            record[3] = self.add(kind.target, level + 1)
            if parameters is not None:
                record[4] = [-1 if one is None else self.add(one, level + 1) for one in parameters]
        return number

    def work(self) -> None:
        """Complete the structures that are near enough, the nearest first."""
        while self._pending:
            kind, level = self._pending.popleft()
            number = self._numbers[id(kind)]
            if level > self._levels[number]:
                continue
            self.records[number][4] = [
                [member.name, self.add(member.type, level), member.offset, member.bits]
                for member in kind.members
            ]
