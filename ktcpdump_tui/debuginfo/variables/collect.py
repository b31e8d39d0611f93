"""Types from DWARF entries into a table, as far as the variables of a plan can need them.

Structures that are contained are always complete. Those behind pointers are complete up to a number of
pointers; further away only their names and sizes are kept, since the memory there is not captured either.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.leb import read_uleb
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.types import QUALIFIERS, Kind

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.variables.entries import Die
    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable

_STRUCTURES: Final = {
    dwarf.TAG_STRUCTURE_TYPE: Kind.STRUCT,
    dwarf.TAG_CLASS_TYPE: Kind.STRUCT,
    dwarf.TAG_UNION_TYPE: Kind.UNION,
}
_LINKS: Final = {
    dwarf.TAG_TYPEDEF: Kind.TYPEDEF,
    dwarf.TAG_CONST_TYPE: Kind.CONST,
    dwarf.TAG_VOLATILE_TYPE: Kind.VOLATILE,
    dwarf.TAG_RESTRICT_TYPE: Kind.RESTRICT,
    dwarf.TAG_ATOMIC_TYPE: Kind.ATOMIC,
}
_POINTERS: Final = frozenset(
    (dwarf.TAG_POINTER_TYPE, dwarf.TAG_REFERENCE_TYPE, dwarf.TAG_RVALUE_REFERENCE_TYPE)
)

#: Types nested deeper than this without a structure in between do not occur in C.
_MOST_NESTED: Final = 100


class TypeCollector:
    """Puts types of one or several files into ``table``; the same type of two units is put there once."""

    def __init__(self, table: TypeTable, pointers: int) -> None:
        self.table = table
        self._pointers = pointers
        self._numbers: dict[tuple[int, int], int] = {}
        self._same: dict[tuple[object, ...], int] = {}
        self._levels: dict[int, int] = {}
        self._pending: deque[tuple[Die, int, int]] = deque()
        for number, record in enumerate(table.records):
            if record[0] in (Kind.STRUCT, Kind.UNION, Kind.ENUM) and record[1]:
                self._same.setdefault((record[0], record[1], record[2]), number)

    def of(self, die: Die, level: int = 0) -> int:
        """Return the number of the type that DW_AT_type of ``die`` refers to (0: void)."""
        target = die.refer(dwarf.AT_TYPE)
        if target is None:
            # DW_FORM_ref_sig8 and the like lead to where we do not look; no attribute means void
            return self._add_plain([Kind.UNKNOWN, "?", 0, 0, None]) if dwarf.AT_TYPE in die else 0
        number = self.add(target, level, 0)
        self._work()
        return number

    def add(self, die: Die, level: int, nested: int) -> int:
        """Return the number of the type ``die``; ``level`` is the number of pointers on the way to it."""
        key = (id(die.unit.entries), die.offset)
        number = self._numbers.get(key)
        if number is not None:
            # Reached over fewer pointers than before: what is behind it may now be near enough.
            if level >= self._levels.get(number, level):
                return number
        elif nested > _MOST_NESTED:
            raise BadDwarfError(f"the debug information is damaged: endless type at {die.offset:#x}")
        tag = die.tag
        if tag in _STRUCTURES:
            return self._structure(die, key, level)
        if tag == dwarf.TAG_BASE_TYPE:
            number = self._base(die)
        elif tag == dwarf.TAG_ENUMERATION_TYPE:
            number = self._enumeration(die, level, nested)
        elif tag in _POINTERS:
            target = self._target(die, level + 1, nested)
            number = self._add_plain([Kind.POINTER, "", die.number(dwarf.AT_BYTE_SIZE) or 8, target, None])
        elif tag in _LINKS:
            kind = _LINKS[tag]
            name = (die.text() or "") if kind is Kind.TYPEDEF else ""
            number = self._add_plain([kind, name, 0, self._target(die, level, nested), None])
        elif tag == dwarf.TAG_ARRAY_TYPE:
            number = self._array(die, level, nested)
        elif tag == dwarf.TAG_SUBROUTINE_TYPE:
            number = self._function(die, level, nested)
        else:
            number = self._add_plain(
                [Kind.UNKNOWN, die.text() or "?", die.number(dwarf.AT_BYTE_SIZE) or 0, 0, None]
            )
        self._numbers[key] = number
        self._levels[number] = min(level, self._levels.get(number, level))
        return number

    def _target(self, die: Die, level: int, nested: int) -> int:
        offset = die.reference(dwarf.AT_TYPE)
        if offset is not None:
            number = self._numbers.get((id(die.unit.entries), offset))
            if number is not None and level >= self._levels[number]:
                return number
        target = die.refer(dwarf.AT_TYPE)
        if target is None:
            return self._add_plain([Kind.UNKNOWN, "?", 0, 0, None]) if dwarf.AT_TYPE in die else 0
        return self.add(target, level, nested + 1)

    def _add_plain(self, record: list[object]) -> int:
        """Return the number of a record that has no members, adding it unless there is the same already."""
        detail = record[4]
        key = (*record[:4], tuple(detail) if isinstance(detail, list) else detail)
        number = self._same.get(key)
        if number is None:
            number = self._same[key] = len(self.table.records)
            self.table.records.append(record)
        return number

    def _base(self, die: Die) -> int:
        size = die.number(dwarf.AT_BYTE_SIZE) or 0
        return self._add_plain([Kind.BASE, die.text() or "?", size, 0, die.number(dwarf.AT_ENCODING) or 0])

    def _structure(self, die: Die, key: tuple[int, int], level: int) -> int:
        kind = _STRUCTURES[die.tag]
        name = die.text() or ""
        size = die.number(dwarf.AT_BYTE_SIZE) or 0
        declared = dwarf.AT_DECLARATION in die
        number = self._numbers.get(key)
        if number is None:
            same = (kind, name, size) if name else None
            number = self._same.get(same) if same else None
            if number is None:
                number = len(self.table.records)
                self.table.records.append([kind, name, size, 0, None])
                if same:
                    self._same[same] = number
            self._numbers[key] = number
        known = self._levels.get(number)
        if known is None or level < known:
            self._levels[number] = level
            if not declared and level <= self._pointers:
                self._pending.append((die, number, level))
        return number

    def _work(self) -> None:
        while self._pending:
            die, number, level = self._pending.popleft()
            if level > self._levels[number]:
                continue
            self.table.records[number][4] = self._members(die, level)

    def _members(self, die: Die, level: int) -> list[list[object]]:
        """Return the rows of a structure's members. Half of the time of a table is spent here."""
        rows: list[list[object]] = []
        unit = die.unit
        entries, start, string = id(unit.entries), unit.offset, unit.entries.string
        numbers, levels = self._numbers, self._levels
        for child in die.children():
            plain = child.layout.plain
            if plain is not None:
                name, kind, offset = plain
                values: tuple[Any, ...] = child.values
                number = numbers.get((entries, start + values[kind]))
                if number is None or level < levels[number]:
                    number = self._target(child, level, 0)
                rows.append([string(values[name]), number, values[offset] * 8, 0])
            elif child.tag == dwarf.TAG_MEMBER:
                rows.append(self._member(child, level))
        return rows

    def _member(self, die: Die, level: int) -> list[object]:
        kind = self._target(die, level, 0)
        offset = (die.number(dwarf.AT_DATA_MEMBER_LOCATION) or 0) * 8
        block = die.block(dwarf.AT_DATA_MEMBER_LOCATION)
        if block is not None:
            offset = _plus_uconst(block) * 8
        bits = die.number(dwarf.AT_BIT_SIZE) or 0
        if bits:
            offset += die.number(dwarf.AT_DATA_BIT_OFFSET) or 0
            if dwarf.AT_BIT_OFFSET in die:
                # DWARF 2-3: counted from the most significant bit of a storage unit of DW_AT_byte_size.
                storage = die.number(dwarf.AT_BYTE_SIZE) or self._size(kind)
                offset += storage * 8 - (die.number(dwarf.AT_BIT_OFFSET) or 0) - bits
        return [die.text() or "", kind, offset, bits]

    def _enumeration(self, die: Die, level: int, nested: int) -> int:
        name = die.text() or ""
        size = die.number(dwarf.AT_BYTE_SIZE) or 4
        if name:
            known = self._same.get((Kind.ENUM, name, size))
            if known is not None:
                return known
        underlying = self._target(die, level, nested) if dwarf.AT_TYPE in die else 0
        values: list[list[object]] = []
        for child in die.children():
            if child.tag == dwarf.TAG_ENUMERATOR:
                values.append([child.text() or "", child.number(dwarf.AT_CONST_VALUE) or 0])
        number = len(self.table.records)
        self.table.records.append([Kind.ENUM, name, size, underlying, values])
        if name:
            self._same[(Kind.ENUM, name, size)] = number
        return number

    def _array(self, die: Die, level: int, nested: int) -> int:
        number = self._target(die, level, nested)
        counts = [_count(child) for child in die.children() if child.tag == dwarf.TAG_SUBRANGE_TYPE]
        for count in reversed(counts or [None]):
            size = (count or 0) * self._size(number)
            number = self._add_plain([Kind.ARRAY, "", size, number, count])
        return number

    def _size(self, number: int) -> int:
        """Return sizeof; from the records, since a Type made now would stay incomplete."""
        record = self.table.records[number]
        while record[0] == Kind.TYPEDEF or record[0] in QUALIFIERS:
            record = self.table.records[record[3]]
        size: int = record[2]
        return size

    def _function(self, die: Die, level: int, nested: int) -> int:
        returned = self._target(die, level + 1, nested)
        parameters: list[int] = []
        for child in die.children():
            if child.tag == dwarf.TAG_FORMAL_PARAMETER:
                parameters.append(self._target(child, level + 1, nested))
            elif child.tag == dwarf.TAG_UNSPECIFIED_PARAMETERS:
                parameters.append(-1)
        prototyped = parameters or dwarf.AT_PROTOTYPED in die
        return self._add_plain([Kind.FUNCTION, "", 0, returned, parameters if prototyped else None])


def _count(die: Die) -> int | None:
    """Return a dimension's number of elements; None where it is not a constant."""
    count = die.number(dwarf.AT_COUNT)
    if count is not None and die.block(dwarf.AT_COUNT) is None:
        return count
    if die.reference(dwarf.AT_UPPER_BOUND) is not None:  # a variable-length array
        return None
    upper = die.number(dwarf.AT_UPPER_BOUND)
    if upper is None or upper >= (1 << 31):
        # gcc writes -1 for `type name[0]`
        return None if upper is None else 0
    return upper + 1


def _plus_uconst(block: bytes) -> int:
    """Return N of the one expression DWARF 2 uses for a member's place: DW_OP_plus_uconst N."""
    if len(block) >= 2 and block[0] == 0x23:
        return read_uleb(block, 1)[0]
    return 0
