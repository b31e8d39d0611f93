"""A lean reader of DWARF entries (DIEs; DWARF 2-5, section 7.5).

pyelftools builds an object per attribute; here all fixed-size attributes of an entry are unpacked by one
``struct`` call, and only what is asked for is turned into strings or references. On the kernel's units
that is ten times faster (tests/bench/bench_variables.py), and the guest of a lab has no time to spare.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.debuginfo.variables.constants import At, Form
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = memoryview

#: What an attribute's value looks like before it is interpreted by its form.
Raw = int | bytes


class Sections(Protocol):
    """Where the debug sections come from: relocated and uncompressed; empty where the file has none."""

    def __call__(self, name: str) -> memoryview:
        """Return the bytes of the section called ``name`` (``.debug_info`` ...)."""


class BadDwarfError(UserError):
    """The debug information contradicts itself or ends too early."""


def uleb(data: Buffer | bytes, position: int) -> tuple[int, int]:
    """Return (unsigned LEB128 at ``position``, position after it)."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return byte, position
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def sleb(data: Buffer | bytes, position: int) -> tuple[int, int]:
    """Return (signed LEB128 at ``position``, position after it)."""
    value = 0
    shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value - (1 << shift) if byte & 0x40 else value), position


def cstring(data: Buffer, position: int) -> bytes:
    """Return the NUL-terminated bytes at ``position`` of a section."""
    step = 48
    while True:
        chunk = bytes(data[position : position + step])
        end = chunk.find(0)
        if end >= 0:
            return chunk[:end]
        if position + step >= len(data):
            return chunk
        step *= 4


#: struct's letter of each form of a size that does not depend on the unit.
_FIXED: Final = {
    Form.DATA1: "B", Form.FLAG: "B", Form.REF1: "B", Form.STRX1: "B", Form.ADDRX1: "B",
    Form.DATA2: "H", Form.REF2: "H", Form.STRX2: "H", Form.ADDRX2: "H",
    Form.DATA4: "I", Form.REF4: "I", Form.STRX4: "I", Form.ADDRX4: "I", Form.REF_SUP4: "I",
    Form.DATA8: "Q", Form.REF8: "Q", Form.REF_SIG8: "Q", Form.REF_SUP8: "Q",
    Form.DATA16: "16s", Form.STRX3: "3s", Form.ADDRX3: "3s",
}  # fmt: skip

#: Forms of an offset's size: 4 bytes, 8 in 64-bit DWARF.
_OFFSETS: Final = frozenset(
    (Form.STRP, Form.SEC_OFFSET, Form.LINE_STRP, Form.STRP_SUP, Form.GNU_REF_ALT, Form.GNU_STRP_ALT)
)
_ULEBS: Final = frozenset(
    {Form.UDATA, Form.REF_UDATA, Form.STRX, Form.ADDRX, Form.LOCLISTX, Form.RNGLISTX}
    | {Form.GNU_ADDR_INDEX, Form.GNU_STR_INDEX}
)
_BLOCK_LENGTHS: Final = {
    Form.BLOCK1: struct.Struct("<B"),
    Form.BLOCK2: struct.Struct("<H"),
    Form.BLOCK4: struct.Struct("<I"),
}
_RELATIVE: Final = frozenset((Form.REF1, Form.REF2, Form.REF4, Form.REF8, Form.REF_UDATA))
BLOCKS: Final = frozenset((Form.BLOCK, Form.BLOCK1, Form.BLOCK2, Form.BLOCK4, Form.EXPRLOC))
_STRING_INDEXES: Final = frozenset(
    (Form.STRX, Form.STRX1, Form.STRX2, Form.STRX3, Form.STRX4, Form.GNU_STR_INDEX)
)
_ADDRESS_INDEXES: Final = frozenset(
    (Form.ADDRX, Form.ADDRX1, Form.ADDRX2, Form.ADDRX3, Form.ADDRX4, Form.GNU_ADDR_INDEX)
)


class Abbreviation:
    """One row of .debug_abbrev, prepared for unpacking. ``index`` says where an attribute's value is."""

    __slots__ = ("children", "constants", "forms", "index", "parts", "sibling", "tag", "whole")

    def __init__(self, tag: int, children: bool, rows: list[tuple[int, int, int]], fixed: dict[int, str]):
        self.tag = tag
        self.children = children
        self.index: dict[int, int] = {}
        self.forms: list[int] = []
        self.constants: dict[int, int] = {}
        parts: list[struct.Struct | int] = []
        letters = ""
        for attribute, form, constant in rows:
            if form == Form.IMPLICIT_CONST or form == Form.FLAG_PRESENT:
                self.constants[attribute] = constant if form == Form.IMPLICIT_CONST else 1
                continue
            self.index[attribute] = len(self.forms)
            self.forms.append(form)
            letter = fixed.get(form)
            if letter is not None:
                letters += letter
                continue
            if letters:
                parts.append(struct.Struct("<" + letters))
                letters = ""
            parts.append(form)
        if letters or not parts:
            parts.append(struct.Struct("<" + letters))
        #: the one struct that unpacks everything, where there is no variable-size form
        self.whole = parts[0] if len(parts) == 1 and isinstance(parts[0], struct.Struct) else None
        self.parts = tuple(parts)
        self.sibling = self.index.get(At.SIBLING, -1)


class Die:
    """One entry. ``offset`` is its place in .debug_info, ``next`` that of what follows its attributes."""

    __slots__ = ("abbreviation", "next", "offset", "tag", "unit", "values")

    def __init__(
        self, unit: Unit, offset: int, abbreviation: Abbreviation, values: tuple[Raw, ...], after: int
    ) -> None:
        self.unit = unit
        self.offset = offset
        self.abbreviation = abbreviation
        self.tag = abbreviation.tag
        self.values = values
        self.next = after

    def __contains__(self, attribute: int) -> bool:
        return attribute in self.abbreviation.index or attribute in self.abbreviation.constants

    def raw(self, attribute: int) -> Raw | None:
        """Return the value as it is stored, None where the entry has no such attribute."""
        index = self.abbreviation.index.get(attribute)
        if index is not None:
            return self.values[index]
        return self.abbreviation.constants.get(attribute)

    def form(self, attribute: int) -> int | None:
        """Return the attribute's form; DW_FORM_implicit_const and flag_present read as data."""
        index = self.abbreviation.index.get(attribute)
        if index is not None:
            return self.abbreviation.forms[index]
        return Form.SDATA if attribute in self.abbreviation.constants else None

    def number(self, attribute: int) -> int | None:
        """Return a constant, flag or offset; None where absent or not a number (an expression)."""
        value = self.raw(attribute)
        return value if isinstance(value, int) else None

    def block(self, attribute: int) -> bytes | None:
        """Return an expression's or block's bytes, None for other forms."""
        value = self.raw(attribute)
        return value if isinstance(value, bytes) and self.form(attribute) in BLOCKS else None

    def text(self, attribute: int = At.NAME) -> str | None:
        """Return a string attribute (default: the name)."""
        value = self.raw(attribute)
        if value is None:
            return None
        return self.unit.info.string(self.unit, self.form(attribute) or 0, value)

    def reference(self, attribute: int) -> int | None:
        """Return the .debug_info offset an attribute refers to; None where absent or in another file."""
        value = self.raw(attribute)
        if not isinstance(value, int):
            return None
        form = self.form(attribute)
        if form in _RELATIVE:
            return self.unit.offset + value
        return value if form == Form.REF_ADDR else None

    def refer(self, attribute: int) -> Die | None:
        """Return the entry an attribute refers to."""
        offset = self.reference(attribute)
        return None if offset is None else self.unit.info.die(offset)

    def address(self, attribute: int) -> int | None:
        """Return an address attribute, through .debug_addr where it is an index."""
        value = self.raw(attribute)
        form = self.form(attribute)
        if form == Form.ADDR and isinstance(value, int):
            return value
        if form in _ADDRESS_INDEXES and value is not None:
            return self.unit.indexed_address(_as_index(value))
        return None

    def children(self) -> Iterator[Die]:
        """Yield the entries directly below this one."""
        if not self.abbreviation.children:
            return
        unit = self.unit
        position = self.next
        while True:
            die = unit.parse(position)
            if die is None:
                return
            yield die
            position = unit.after(die)


def _as_index(value: Raw) -> int:
    return value if isinstance(value, int) else int.from_bytes(value, "little")


class Unit:
    """One unit of .debug_info. ``offset``, ``end`` and ``top`` (its first entry) are section offsets."""

    def __init__(self, info: DebugEntries, offset: int) -> None:
        self.info = info
        self.offset = offset
        data = info.data
        try:
            (length,) = _U4.unpack_from(data, offset)
            position = offset + 4
            self.offset_size = 4
            if length == 0xFFFFFFFF:
                (length,) = _U8.unpack_from(data, position)
                position += 8
                self.offset_size = 8
            self.end = position + length
            (self.version,) = _U2.unpack_from(data, position)
            position += 2
            self.kind = 1
            offset_of = _U4 if self.offset_size == 4 else _U8
            if self.version >= 5:
                self.kind, self.address_size = data[position], data[position + 1]
                (self._abbrev_offset,) = offset_of.unpack_from(data, position + 2)
                position += 2 + self.offset_size
                # DWARF 5 section 7.5.1: skeleton/split units carry an id, type units a signature and offset.
                position += {4: 8, 5: 8, 2: 8 + self.offset_size, 6: 8 + self.offset_size}.get(self.kind, 0)
            else:
                (self._abbrev_offset,) = offset_of.unpack_from(data, position)
                self.address_size = data[position + self.offset_size]
                position += self.offset_size + 1
        except (struct.error, IndexError) as error:
            raise BadDwarfError(f"the debug information is damaged: no unit header at {offset:#x}") from error
        if not 2 <= self.version <= 5 or self.end > len(data):
            raise BadDwarfError(
                f"the debug information at {offset:#x} is damaged or not DWARF 2-5 (version {self.version})"
            )
        self.top = position
        self._abbreviations: dict[int, Abbreviation] | None = None
        self._root: Die | None = None

    @property
    def root(self) -> Die:
        """The unit's first entry (DW_TAG_compile_unit)."""
        if self._root is None:
            root = self.parse(self.top)
            if root is None:
                raise BadDwarfError(f"the unit at {self.offset:#x} is empty")
            self._root = root
        return self._root

    @property
    def base_address(self) -> int:
        """The unit's DW_AT_low_pc: the base of its range and location lists (0 where absent)."""
        return self.root.address(At.LOW_PC) or 0

    def parse(self, position: int) -> Die | None:
        """Return the entry at ``position``, None for the mark that ends a list of children."""
        data = self.info.data
        try:
            code = data[position]
            after = position + 1
            if code >= 0x80:
                code, after = uleb(data, position)
            if not code:
                return None
            table = self._abbreviations
            if table is None:
                table = self._abbreviations = self.info.abbreviations(self)
            abbreviation = table[code]
            whole = abbreviation.whole
            if whole is not None:
                return Die(self, position, abbreviation, whole.unpack_from(data, after), after + whole.size)
            return self._parse_parts(position, abbreviation, after)
        except (IndexError, KeyError, struct.error) as error:
            raise BadDwarfError(
                f"the debug information is damaged at {position:#x} of .debug_info"
            ) from error

    def after(self, die: Die) -> int:
        """Return where the entry after ``die`` and all below it is."""
        if not die.abbreviation.children:
            return die.next
        if die.abbreviation.sibling >= 0:
            value = die.values[die.abbreviation.sibling]
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
                continue
            if child.abbreviation.sibling >= 0:
                position = self.after(child)
            else:
                position = child.next
                depth += child.abbreviation.children
        return position

    def indexed_address(self, index: int) -> int:
        """Return entry ``index`` of .debug_addr (DW_AT_addr_base)."""
        base = self.root.number(At.ADDR_BASE)
        start = (8 if base is None else base) + index * self.address_size
        data = self.info.sections(".debug_addr")
        if start + self.address_size > len(data):
            raise BadDwarfError(f"the debug information is damaged: no entry {index} in .debug_addr")
        return int.from_bytes(data[start : start + self.address_size], "little")

    def _parse_parts(self, position: int, abbreviation: Abbreviation, after: int) -> Die:
        data = self.info.data
        values: list[Raw] = []
        for part in abbreviation.parts:
            if isinstance(part, struct.Struct):
                values.extend(part.unpack_from(data, after))
                after += part.size
            else:
                value, after = self._variable(part, after)
                values.append(value)
        if after > self.end:
            raise BadDwarfError(f"the entry at {position:#x} of .debug_info ends beyond its unit")
        return Die(self, position, abbreviation, tuple(values), after)

    def _variable(self, form: int, position: int) -> tuple[Raw, int]:
        """Return (value, position after it) of a form whose size is not fixed."""
        data = self.info.data
        if form == Form.EXPRLOC or form == Form.BLOCK:
            size, position = uleb(data, position)
        elif form in _ULEBS:
            return uleb(data, position)
        elif form == Form.SDATA:
            return sleb(data, position)
        elif form == Form.STRING:
            value = cstring(data, position)
            return value, position + len(value) + 1
        elif form in _BLOCK_LENGTHS:
            length = _BLOCK_LENGTHS[form]
            (size,) = length.unpack_from(data, position)
            position += length.size
        else:
            raise BadDwarfError(f"unknown DWARF form {form:#x} at {position:#x} of .debug_info")
        return bytes(data[position : position + size]), position + size


class DebugEntries:
    """All of .debug_info: units by offset, abbreviations, strings, each when asked for."""

    def __init__(self, sections: Sections) -> None:
        self.sections = sections
        self.data = sections(".debug_info")
        self._units: dict[int, Unit] = {}
        self._starts: list[int] = [0]
        self._abbreviations: dict[tuple[int, int, int, int], dict[int, Abbreviation]] = {}

    def unit(self, offset: int) -> Unit:
        """Return the unit whose header is at ``offset``."""
        unit = self._units.get(offset)
        if unit is None:
            unit = self._units[offset] = Unit(self, offset)
        return unit

    def unit_at(self, offset: int) -> Unit:
        """Return the unit that contains ``offset``, walking the headers as far as needed."""
        starts = self._starts
        while starts[-1] <= offset and starts[-1] < len(self.data):
            starts.append(self.unit(starts[-1]).end)
        index = bisect_right(starts, offset) - 1
        if index < 0 or starts[index] >= len(self.data):
            raise BadDwarfError(f"the debug information is damaged: nothing at {offset:#x} of .debug_info")
        return self.unit(starts[index])

    def units(self) -> Iterator[Unit]:
        """Yield every unit."""
        offset = 0
        while offset < len(self.data):
            unit = self.unit(offset)
            yield unit
            offset = unit.end

    def die(self, offset: int) -> Die:
        """Return the entry at ``offset`` of .debug_info."""
        die = self.unit_at(offset).parse(offset)
        if die is None:
            raise BadDwarfError(f"the debug information is damaged: no entry at {offset:#x}")
        return die

    def abbreviations(self, unit: Unit) -> dict[int, Abbreviation]:
        """Return the abbreviation table of ``unit`` (.debug_abbrev)."""
        key = (unit._abbrev_offset, unit.offset_size, unit.address_size, unit.version)
        table = self._abbreviations.get(key)
        if table is None:
            table = self._abbreviations[key] = self._read_abbreviations(unit)
        return table

    def string(self, unit: Unit, form: int, value: Raw) -> str | None:
        """Return the string that a value of a string form stands for; None where it is in another file."""
        if isinstance(value, bytes) and form == Form.STRING:
            return value.decode("utf-8", "replace")
        if form == Form.STRP and isinstance(value, int):
            return cstring(self.sections(".debug_str"), value).decode("utf-8", "replace")
        if form == Form.LINE_STRP and isinstance(value, int):
            return cstring(self.sections(".debug_line_str"), value).decode("utf-8", "replace")
        if form in _STRING_INDEXES:
            base = unit.root.number(At.STR_OFFSETS_BASE)
            start = (2 * unit.offset_size if base is None else base) + _as_index(value) * unit.offset_size
            offsets = self.sections(".debug_str_offsets")
            offset = int.from_bytes(offsets[start : start + unit.offset_size], "little")
            return cstring(self.sections(".debug_str"), offset).decode("utf-8", "replace")
        return None

    def _read_abbreviations(self, unit: Unit) -> dict[int, Abbreviation]:
        fixed = dict(_FIXED)
        fixed.update(dict.fromkeys(_OFFSETS, "I" if unit.offset_size == 4 else "Q"))
        address = {4: "I", 8: "Q"}.get(unit.address_size, "Q")
        fixed[Form.ADDR] = address
        # DWARF 2 section 7.5.4: there a ref_addr had an address's size.
        fixed[Form.REF_ADDR] = address if unit.version == 2 else fixed[Form.STRP]
        data = self.sections(".debug_abbrev")
        position = unit._abbrev_offset
        table: dict[int, Abbreviation] = {}
        try:
            while True:
                code, position = uleb(data, position)
                if not code:
                    return table
                tag, position = uleb(data, position)
                children = bool(data[position])
                position += 1
                rows = []
                while True:
                    attribute, position = uleb(data, position)
                    form, position = uleb(data, position)
                    constant = 0
                    if form == Form.IMPLICIT_CONST:
                        constant, position = sleb(data, position)
                    if not attribute and not form:
                        break
                    rows.append((attribute, form, constant))
                table[code] = Abbreviation(tag, children, rows, fixed)
        except IndexError as error:
            raise BadDwarfError("the debug information is damaged: .debug_abbrev ends early") from error


_U2 = struct.Struct("<H")
_U4 = struct.Struct("<I")
_U8 = struct.Struct("<Q")
