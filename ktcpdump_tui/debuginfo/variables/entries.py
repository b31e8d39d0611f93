"""Whole entries (DIEs) of .debug_info, quickly (DWARF 5 section 7.5).

``debuginfo.dies`` steps over what lines and inlines do not need. Variables and types need nearly every entry:
here all fixed-size attributes of one are unpacked by a single ``struct`` call, and only what is asked for is
turned into strings or references. That is ten times faster than pyelftools on the kernel's units
(tests/bench/bench_variables.py), and the guest of a lab has no time to spare.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb
from ktcpdump_tui.debuginfo.ranges import read_ranges
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.abbreviations import Abbreviation
    from ktcpdump_tui.debuginfo.dies import Unit
    from ktcpdump_tui.debuginfo.ranges import Ranges
    from ktcpdump_tui.debuginfo.reader import DwarfReader

#: What an attribute's value looks like before it is interpreted by its form.
Raw = int | bytes

#: struct's letter for integers of a fixed size in bytes; others are taken as bytes.
_LETTERS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}

_ULEBS: Final = frozenset(
    {dwarf.FORM_UDATA, dwarf.FORM_REF_UDATA, dwarf.FORM_STRX, dwarf.FORM_ADDRX}
    | {dwarf.FORM_LOCLISTX, dwarf.FORM_RNGLISTX}
)
_BLOCK_LENGTHS: Final = {dwarf.FORM_BLOCK1: 1, dwarf.FORM_BLOCK2: 2, dwarf.FORM_BLOCK4: 4}
_RELATIVE: Final = frozenset(
    {dwarf.FORM_REF1, dwarf.FORM_REF2, dwarf.FORM_REF4, dwarf.FORM_REF8, dwarf.FORM_REF_UDATA}
)
_SUPPLEMENTARY: Final = frozenset({dwarf.FORM_GNU_REF_ALT, dwarf.FORM_REF_SUP4, dwarf.FORM_REF_SUP8})
BLOCKS: Final = frozenset({dwarf.FORM_BLOCK, dwarf.FORM_EXPRLOC, *_BLOCK_LENGTHS})
STRING_INDEXES: Final = frozenset(
    {dwarf.FORM_STRX, dwarf.FORM_STRX1, dwarf.FORM_STRX2, dwarf.FORM_STRX3, dwarf.FORM_STRX4}
)
_ADDRESS_INDEXES: Final = frozenset(
    {dwarf.FORM_ADDRX, dwarf.FORM_ADDRX1, dwarf.FORM_ADDRX2, dwarf.FORM_ADDRX3, dwarf.FORM_ADDRX4}
)
_OF_MEMBER: Final = (dwarf.AT_NAME, dwarf.AT_TYPE, dwarf.AT_DATA_MEMBER_LOCATION)
_BITFIELD: Final = frozenset({dwarf.AT_BIT_SIZE, dwarf.AT_BIT_OFFSET, dwarf.AT_DATA_BIT_OFFSET})
_CONSTANTS: Final = frozenset({dwarf.FORM_DATA1, dwarf.FORM_DATA2, dwarf.FORM_DATA4, dwarf.FORM_UDATA})
#: Forms without bytes in the entry: the value is in the abbreviation.
_EMPTY: Final = frozenset({dwarf.FORM_IMPLICIT_CONST, dwarf.FORM_FLAG_PRESENT})


class Layout:
    """One abbreviation prepared for unpacking; ``index`` says where an attribute's value is."""

    __slots__ = ("children", "constants", "forms", "index", "parts", "plain", "sibling", "tag", "whole")

    def __init__(self, abbreviation: Abbreviation, unit: Unit) -> None:
        self.tag = abbreviation.tag
        self.children = abbreviation.has_children
        self.index: dict[int, int] = {}
        self.forms: list[int] = []
        self.constants: dict[int, int] = {}
        parts: list[struct.Struct | int] = []
        letters = ""
        for attribute, form, constant in abbreviation.specifications:
            if form in _EMPTY:
                self.constants[attribute] = constant if form == dwarf.FORM_IMPLICIT_CONST else 1
                continue
            self.index[attribute] = len(self.forms)
            self.forms.append(form)
            size = unit.size_of(form)
            if size > 0:
                letters += _LETTERS.get(size) or f"{size}s"
                continue
            if letters:
                parts.append(struct.Struct("<" + letters))
                letters = ""
            parts.append(form)
        if letters or not parts:
            parts.append(struct.Struct("<" + letters))
        #: the one struct that unpacks everything, where there is no form of variable size
        self.whole = parts[0] if len(parts) == 1 and isinstance(parts[0], struct.Struct) else None
        self.parts = tuple(parts)
        self.sibling = self.index.get(dwarf.AT_SIBLING, -1)
        self.plain = self._plain_member()

    def _plain_member(self) -> tuple[int, int, int] | None:
        """Return where name, type and offset in bytes are, if this is what nearly every member is like.

        That is: no bitfield, its name in .debug_str, its type in the same unit, its offset a number.
        """
        places = [self.index.get(attribute) for attribute in _OF_MEMBER]
        if self.tag != dwarf.TAG_MEMBER or None in places or not _BITFIELD.isdisjoint(self.index):
            return None
        name, kind, offset = (place or 0 for place in places)
        usual = (
            self.forms[name] == dwarf.FORM_STRP
            and self.forms[kind] == dwarf.FORM_REF4
            and self.forms[offset] in _CONSTANTS
            and _BITFIELD.isdisjoint(self.constants)
        )
        return (name, kind, offset) if usual else None


class Die:
    """One entry. ``offset`` is its place in .debug_info, ``next`` that of what follows its attributes."""

    __slots__ = ("layout", "next", "offset", "tag", "unit", "values")

    def __init__(
        self, unit: UnitEntries, offset: int, layout: Layout, values: tuple[Raw, ...], after: int
    ) -> None:
        self.unit = unit
        self.offset = offset
        self.layout = layout
        self.tag = layout.tag
        self.values = values
        self.next = after

    def __contains__(self, attribute: int) -> bool:
        return attribute in self.layout.index or attribute in self.layout.constants

    def raw(self, attribute: int) -> Raw | None:
        """Return the value as it is stored, None where the entry has no such attribute."""
        index = self.layout.index.get(attribute)
        if index is not None:
            return self.values[index]
        return self.layout.constants.get(attribute)

    def form(self, attribute: int) -> int | None:
        """Return the attribute's form; DW_FORM_implicit_const and flag_present read as data."""
        index = self.layout.index.get(attribute)
        if index is not None:
            return self.layout.forms[index]
        return dwarf.FORM_SDATA if attribute in self.layout.constants else None

    def number(self, attribute: int) -> int | None:
        """Return a constant, flag or offset; None where absent or not a number (an expression)."""
        value = self.raw(attribute)
        return value if isinstance(value, int) else None

    def block(self, attribute: int) -> bytes | None:
        """Return an expression's or block's bytes, None for other forms."""
        value = self.raw(attribute)
        return value if isinstance(value, bytes) and self.form(attribute) in BLOCKS else None

    def text(self, attribute: int = dwarf.AT_NAME) -> str | None:
        """Return a string attribute (default: the name)."""
        value = self.raw(attribute)
        return None if value is None else self.unit.string(self.form(attribute) or 0, value)

    def reference(self, attribute: int) -> int | None:
        """Return the .debug_info offset an attribute refers to; None where absent or in another file."""
        index = self.layout.index.get(attribute)
        if index is None:
            return None
        value = self.values[index]
        form = self.layout.forms[index]
        if isinstance(value, int):
            if form in _RELATIVE:
                return self.unit.offset + value
            if form == dwarf.FORM_REF_ADDR:
                return value
        return None

    def refer(self, attribute: int) -> Die | None:
        """Return the entry an attribute refers to, in this file or its supplementary one (dwz)."""
        offset = self.reference(attribute)
        if offset is not None:
            return self.unit.die(offset)
        value = self.raw(attribute)
        if self.form(attribute) in _SUPPLEMENTARY and isinstance(value, int):
            return self.unit.entries.supplementary.die(value)
        return None

    def address(self, attribute: int) -> int | None:
        """Return an address attribute, through .debug_addr where it is an index."""
        value = self.raw(attribute)
        form = self.form(attribute)
        if form == dwarf.FORM_ADDR and isinstance(value, int):
            return value
        if form in _ADDRESS_INDEXES and value is not None:
            return self.unit.indexed_address(_as_index(value))
        return None

    def ranges(self) -> Ranges:
        """Return the addresses [low, high) covered: DW_AT_ranges, or DW_AT_low_pc with DW_AT_high_pc."""
        offset = self.number(dwarf.AT_RANGES)
        unit = self.unit.unit
        if offset is not None:
            if self.form(dwarf.AT_RANGES) == dwarf.FORM_RNGLISTX:
                offset = unit.reader.indexed_range_list(unit, offset)
            return read_ranges(unit, offset)
        low = self.address(dwarf.AT_LOW_PC)
        if low is None:
            return ()
        high = self.address(dwarf.AT_HIGH_PC)
        if high is None:
            high = low + (self.number(dwarf.AT_HIGH_PC) or 1)
        return ((low, high),) if high > low else ()

    def children(self) -> Iterator[Die]:
        """Yield the entries directly below this one."""
        if not self.layout.children:
            return
        unit = self.unit
        position = self.next
        while True:
            die = unit.parse(position)
            if die is None:
                return
            yield die
            position = unit.after(die)


class UnitEntries:
    """The entries of one unit; ``unit`` is its header. Positions are offsets in .debug_info."""

    def __init__(self, entries: Entries, unit: Unit) -> None:
        self.entries = entries
        self.unit = unit
        self.offset = unit.offset
        self.end = unit.end
        self._data = entries.data
        self._layouts: dict[int, Layout] = {}

    def die(self, offset: int) -> Die:
        """Return the entry at ``offset`` of .debug_info, which is nearly always in this unit."""
        return self.entry(offset) if self.offset <= offset < self.end else self.entries.die(offset)

    def entry(self, offset: int) -> Die:
        """Return the entry at ``offset``, which is in this unit."""
        die = self.parse(offset)
        if die is None:
            raise BadDwarfError(f"no entry at {offset:#x} of .debug_info")
        return die

    def parse(self, position: int) -> Die | None:
        """Return the entry at ``position``, None for the mark that ends a list of children."""
        if not self.offset <= position < self.end:
            raise BadDwarfError(f"{position:#x} of .debug_info is outside of its unit")
        data = self._data
        code = data[position]
        after = position + 1
        if code >= 0x80:
            code, after = read_uleb(data, position)
        if not code:
            return None
        layout = self._layouts.get(code)
        if layout is None:
            layout = self._layouts[code] = Layout(self.unit.abbreviations[code], self.unit)
        whole = layout.whole
        if whole is not None:
            return Die(self, position, layout, whole.unpack_from(data, after), after + whole.size)
        return self._parse_parts(position, layout, after)

    def after(self, die: Die) -> int:
        """Return where the entry after ``die`` and all below it is."""
        if not die.layout.children:
            return die.next
        if die.layout.sibling >= 0:
            value = die.values[die.layout.sibling]
            target = self.offset + value if isinstance(value, int) else 0
            if target > die.offset:
                return target
        depth = 1
        position = die.next
        while depth:
            child = self.parse(position)
            if child is None:
                depth -= 1
                position = position + 1
            elif child.layout.sibling >= 0:
                position = self.after(child)
            else:
                position = child.next
                depth += child.layout.children
        return position

    def indexed_address(self, index: int) -> int:
        """Return an entry of .debug_addr."""
        return self.unit.reader.indexed_address(self.unit, index)

    def string(self, form: int, value: Raw) -> str | None:
        """Return the string that a value of a string form stands for; None for other forms."""
        reader = self.unit.reader
        if form == dwarf.FORM_STRP and isinstance(value, int):
            return self.entries.string(value)
        if form == dwarf.FORM_STRING and isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if form in STRING_INDEXES:
            return reader.indexed_string(self.unit, _as_index(value))
        if form == dwarf.FORM_LINE_STRP and isinstance(value, int):
            return reader.string(".debug_line_str", value)
        if form in (dwarf.FORM_GNU_STRP_ALT, dwarf.FORM_STRP_SUP) and isinstance(value, int):
            return reader.alternative.string(".debug_str", value)
        return None

    def _parse_parts(self, position: int, layout: Layout, after: int) -> Die:
        data = self._data
        values: list[Raw] = []
        for part in layout.parts:
            if isinstance(part, struct.Struct):
                values.extend(part.unpack_from(data, after))
                after += part.size
            else:
                value, after = self._variable(part, after)
                values.append(value)
        if after > self.end:
            raise BadDwarfError(f"the entry at {position:#x} of .debug_info ends beyond its unit")
        return Die(self, position, layout, tuple(values), after)

    def _variable(self, form: int, position: int) -> tuple[Raw, int]:
        """Return (value, position after it) of a form whose size the data decides."""
        data = self._data
        if form in (dwarf.FORM_EXPRLOC, dwarf.FORM_BLOCK):
            size, position = read_uleb(data, position)
        elif form in _ULEBS:
            return read_uleb(data, position)
        elif form == dwarf.FORM_SDATA:
            return read_sleb(data, position)
        elif form == dwarf.FORM_STRING:
            value = _terminated(data, position)
            return value, position + len(value) + 1
        elif form in _BLOCK_LENGTHS:
            after = position + _BLOCK_LENGTHS[form]
            size = int.from_bytes(data[position:after], "little")
            position = after
        else:
            raise BadDwarfError(f"form {form:#x} at {position:#x} of .debug_info")
        return bytes(data[position : position + size]), position + size


class Entries:
    """All of .debug_info through a DwarfReader."""

    def __init__(self, reader: DwarfReader) -> None:
        self.reader = reader
        self.data = reader.section(".debug_info")
        self._strings = reader.section(".debug_str")
        self._units: dict[int, UnitEntries] = {}
        self._known: dict[int, str] = {}
        self._supplementary: Entries | None = None

    @property
    def supplementary(self) -> Entries:
        """The entries of the supplementary file (dwz). Raises ValueError where there is none."""
        if self._supplementary is None:
            self._supplementary = Entries(self.reader.alternative)
        return self._supplementary

    def unit(self, offset: int) -> UnitEntries:
        """Return the unit whose header is at ``offset``."""
        found = self._units.get(offset)
        if found is None:
            found = self._units[offset] = UnitEntries(self, self.reader.unit(offset))
        return found

    def die(self, offset: int) -> Die:
        """Return the entry at ``offset`` of .debug_info."""
        return self.unit(self.reader.unit_holding(offset)).entry(offset)

    def string(self, offset: int) -> str:
        """Return the string at ``offset`` of .debug_str."""
        known = self._known.get(offset)
        if known is None:
            known = self._known[offset] = _terminated(self._strings, offset).decode("utf-8", "replace")
        return known


def _as_index(value: Raw) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _terminated(data: memoryview, position: int) -> bytes:
    """Return the NUL-terminated bytes at ``position``."""
    step = 48
    while True:
        chunk = bytes(data[position : position + step])
        end = chunk.find(0)
        if end >= 0:
            return chunk[:end]
        if position + step >= len(data):
            raise BadDwarfError("a string without an end")
        step *= 4
