"""Reading .debug_info (DWARF 5 section 7.5) where only a few attributes of many entries are wanted.

pyelftools decodes every attribute of every entry it passes and keeps it; finding one function in
net/core/dev.c that way costs a tenth of a second. Here entries that are not wanted are stepped over by their
size or their DW_AT_sibling.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.abbreviations import OFFSETS, SIZES, ULEBS, Abbreviation, Abbreviations
from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb
from ktcpdump_tui.debuginfo.ranges import read_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.ranges import Ranges
    from ktcpdump_tui.debuginfo.reader import DwarfReader

_BLOCK_LENGTHS: Final = {dwarf.FORM_BLOCK1: 1, dwarf.FORM_BLOCK2: 2, dwarf.FORM_BLOCK4: 4}
_UNIT_REFERENCES: Final = frozenset({
    dwarf.FORM_REF1, dwarf.FORM_REF2, dwarf.FORM_REF4, dwarf.FORM_REF8, dwarf.FORM_REF_UDATA,
})  # fmt: skip
_STRX: Final = frozenset({
    dwarf.FORM_STRX, dwarf.FORM_STRX1, dwarf.FORM_STRX2, dwarf.FORM_STRX3, dwarf.FORM_STRX4,
})  # fmt: skip
_ADDRX: Final = frozenset({
    dwarf.FORM_ADDRX, dwarf.FORM_ADDRX1, dwarf.FORM_ADDRX2, dwarf.FORM_ADDRX3, dwarf.FORM_ADDRX4,
})  # fmt: skip
_NAMESPACES: Final = frozenset({dwarf.TAG_NAMESPACE, dwarf.TAG_STRUCTURE_TYPE, dwarf.TAG_CLASS_TYPE})


class Entry:
    """A debugging information entry: its tag, and the wanted ones of its attributes by number.

    References are offsets in .debug_info; those into the supplementary file are ~offset (negative).
    """

    __slots__ = ("attributes", "end", "has_children", "offset", "tag")

    def __init__(
        self, offset: int, tag: int, has_children: bool, attributes: dict[int, int | str], end: int
    ) -> None:
        self.offset = offset
        self.tag = tag
        self.has_children = has_children
        self.attributes = attributes
        self.end = end

    def number(self, name: int) -> int | None:
        """Return a numeric attribute, None where the entry does not have it."""
        value = self.attributes.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: int) -> str | None:
        """Return a string attribute, None where the entry does not have it."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else None


class Unit:
    """One unit of .debug_info. Offsets are of the section; ``data`` are the unit's own bytes."""

    def __init__(self, reader: DwarfReader, offset: int) -> None:
        self.reader = reader
        self.offset = offset
        section = reader.section(".debug_info")
        (length,) = struct.unpack_from("<I", section, offset)
        self.offset_size = 4
        position = offset + 4
        if length == 0xFFFFFFFF:
            (length,) = struct.unpack_from("<Q", section, position)
            self.offset_size, position = 8, position + 8
        self.end = position + length
        if self.end > len(section):
            raise ValueError(f"the unit at {offset:#x} ends beyond .debug_info")
        (self.version,) = struct.unpack_from("<H", section, position)
        if not 2 <= self.version <= 5:
            raise ValueError(f"the unit at {offset:#x} has DWARF version {self.version}")
        position += 2
        self.type = 1
        if self.version >= 5:
            self.type, self.address_size = section[position], section[position + 1]
            position += 2
        abbreviations = int.from_bytes(section[position : position + self.offset_size], "little")
        position += self.offset_size
        if self.version < 5:
            self.address_size = section[position]
            position += 1
        elif self.type in (dwarf.UT_SKELETON, dwarf.UT_SPLIT_COMPILE):
            position += 8
        elif self.type in (dwarf.UT_TYPE, dwarf.UT_SPLIT_TYPE):
            position += 8 + self.offset_size
        if self.address_size not in (4, 8):
            raise ValueError(f"the unit at {offset:#x} has addresses of {self.address_size} bytes")
        self.first = position
        self._section = section
        self.abbreviations = Abbreviations(reader.section(".debug_abbrev"), abbreviations, self)

    @cached_property
    def data(self) -> bytes:
        """The unit's bytes, from its header on."""
        return bytes(self._section[self.offset : self.end])

    @cached_property
    def top(self) -> Entry:
        """The unit's first entry. Its DW_AT_str_offsets_base and the like serve all others."""
        return self._entry(self.first, bytes(self._section[self.first : min(self.first + 4096, self.end)]))

    @property
    def name(self) -> str:
        """DW_AT_name: the path given to the compiler."""
        return self.top.text(dwarf.AT_NAME) or ""

    @property
    def is_split(self) -> bool:
        """Whether the entries are in a .dwo file instead."""
        return bool({dwarf.AT_DWO_NAME, dwarf.AT_GNU_DWO_NAME} & self.top.attributes.keys())

    @property
    def is_assembler(self) -> bool:
        """Whether the unit is assembler code, of which there are lines and no more."""
        return self.top.number(dwarf.AT_LANGUAGE) == dwarf.LANG_MIPS_ASSEMBLER

    @cached_property
    def ranges(self) -> Ranges:
        """The addresses [low, high) of the unit's code."""
        return self.ranges_of(self.top)

    @cached_property
    def base_address(self) -> int:
        """What range and location lists are relative to (DWARF 5 section 3.1.1, item 1)."""
        return self.top.number(dwarf.AT_LOW_PC) or 0

    @cached_property
    def subprograms(self) -> list[tuple[int, int, int]]:
        """(low, high, offset of the entry) of each stretch of machine code of each subprogram, by address."""
        found = [
            (low, high, offset)
            for offset in self._subprogram_offsets()
            for low, high in self.ranges_of(self.entry(offset))
        ]
        return sorted(found)

    def size_of(self, form: int) -> int:
        """Return the bytes of a value of ``form``, -1 where the data decides."""
        size = SIZES.get(form, -1)
        if size >= 0:
            return size
        if form in OFFSETS:
            return self.offset_size
        if form == dwarf.FORM_ADDR:
            return self.address_size
        if form == dwarf.FORM_REF_ADDR:
            return self.address_size if self.version == 2 else self.offset_size
        return -1

    def entry(self, offset: int) -> Entry:
        """Decode the entry at ``offset`` of .debug_info, which must be in this unit."""
        if not self.first <= offset < self.end:
            raise ValueError(f"entry {offset:#x} is outside of its unit")
        return self._entry(offset, None)

    def children(self, entry: Entry) -> Iterator[Entry]:
        """Decode the children of ``entry`` one after the other."""
        if not entry.has_children:
            return
        position = entry.end
        while position < self.end and self.data[position - self.offset]:
            child = self._entry(position, None)
            yield child
            position = self._after(child)

    def ranges_of(self, entry: Entry) -> Ranges:
        """Return the addresses [low, high) of an entry's code; empty where it has none."""
        attributes = entry.attributes
        low, high = attributes.get(dwarf.AT_LOW_PC), attributes.get(dwarf.AT_HIGH_PC)
        if isinstance(low, int) and isinstance(high, int):
            return ((low, high),) if high > low else ()
        at = attributes.get(dwarf.AT_RANGES)
        return read_ranges(self, at) if isinstance(at, int) else ()

    def _after(self, entry: Entry) -> int:
        """Return where the entry after ``entry`` and its children begins."""
        if not entry.has_children:
            return entry.end
        sibling = entry.attributes.get(dwarf.AT_SIBLING)
        if isinstance(sibling, int) and sibling > entry.offset:
            return sibling
        return self._skip_children(entry.end - self.offset) + self.offset

    def _skip_children(self, position: int) -> int:
        """Return the position (in ``data``) after the list of children at ``position``, however deep."""
        data, table = self.data, self.abbreviations
        depth = 1
        while depth:
            code = data[position]
            position += 1
            if not code:
                depth -= 1
                continue
            if code >= 0x80:
                code, position = read_uleb(data, position - 1)
            abbreviation = table[code]
            if abbreviation.has_children and abbreviation.sibling >= 0:
                following = self._sibling(position + abbreviation.sibling)
                if following > position:
                    position = following
                    continue
            depth += abbreviation.has_children
            position = self._skip_attributes(abbreviation, position)
        return position

    def _sibling(self, position: int) -> int:
        data = self.data
        return data[position] | data[position + 1] << 8 | data[position + 2] << 16 | data[position + 3] << 24

    def _skip_attributes(self, abbreviation: Abbreviation, position: int) -> int:
        if abbreviation.size >= 0:
            return position + abbreviation.size
        for _, form, _ in abbreviation.specifications:
            position = self._skip(form, self.data, position)
        return position

    def _subprogram_offsets(self) -> list[int]:
        """Return the entries of all subprograms with machine code: the unit's children, and in namespaces."""
        found: list[int] = []
        data, table, origin = self.data, self.abbreviations, self.offset
        if not self.top.has_children:
            return found
        position, end, depth = self.top.end - origin, len(data), 1
        while depth and position < end:
            start = position
            code = data[position]
            position += 1
            if not code:
                depth -= 1
                continue
            if code >= 0x80:
                code, position = read_uleb(data, position - 1)
            abbreviation = table[code]
            if abbreviation.tag == dwarf.TAG_SUBPROGRAM and abbreviation.has_code:
                found.append(start + origin)
            if not abbreviation.has_children:
                position = self._skip_attributes(abbreviation, position)
            elif abbreviation.tag in _NAMESPACES:
                position = self._skip_attributes(abbreviation, position)
                depth += 1
            elif abbreviation.sibling >= 0 and self._sibling(position + abbreviation.sibling) > start:
                position = self._sibling(position + abbreviation.sibling)
            else:
                position = self._skip_children(self._skip_attributes(abbreviation, position))
        return found

    def _entry(self, offset: int, window: bytes | None) -> Entry:
        """Decode an entry from the unit's bytes, or from a ``window`` of them that begins with it."""
        data = self.data if window is None else window
        shift = self.offset if window is None else offset
        code, position = read_uleb(data, offset - shift)
        abbreviation = self.abbreviations[code]
        attributes: dict[int, int | str] = {}
        forms: list[tuple[int, int, int]] = []
        for name, form, constant in abbreviation.specifications:
            if name not in _WANTED:
                size = self.size_of(form)
                position = position + size if size >= 0 else self._skip(form, data, position)
                continue
            value, form, position = self._read(form, constant, data, position)
            attributes[name] = value
            if form in _STRX or form in _ADDRX or form == dwarf.FORM_RNGLISTX or name == dwarf.AT_HIGH_PC:
                forms.append((name, form, value if isinstance(value, int) else 0))
        end = position + shift
        entry = Entry(offset, abbreviation.tag, abbreviation.has_children, attributes, end)
        if offset == self.first:
            self.__dict__["top"] = entry  # the indirect forms below look up bases in it
        for name, form, value in forms:
            self._resolve(attributes, name, form, value)
        return entry

    def _resolve(self, attributes: dict[int, int | str], name: int, form: int, value: int) -> None:
        """Replace an index by what it stands for, and DW_AT_high_pc's length by an address."""
        if form in _STRX:
            attributes[name] = self.reader.indexed_string(self, value)
        elif form in _ADDRX:
            attributes[name] = self.reader.indexed_address(self, value)
        elif form == dwarf.FORM_RNGLISTX:
            attributes[name] = self.reader.indexed_range_list(self, value)
        elif form != dwarf.FORM_ADDR:
            low = attributes.get(dwarf.AT_LOW_PC)
            attributes[name] = value + low if isinstance(low, int) else 0

    def _read(self, form: int, constant: int, data: bytes, position: int) -> tuple[int | str, int, int]:
        """Return (value, form, next position); strings of the sections are fetched, indices are not yet."""
        if form == dwarf.FORM_INDIRECT:
            form, position = read_uleb(data, position)
            if form == dwarf.FORM_INDIRECT:
                raise ValueError("DW_FORM_indirect of DW_FORM_indirect")
        size = self.size_of(form)
        if size > 0:
            end = position + size
            if end > len(data):
                raise IndexError("an attribute ends beyond its unit")
            value = int.from_bytes(data[position:end], "little")
            if form in _UNIT_REFERENCES:
                return value + self.offset, form, end
            if form == dwarf.FORM_STRP:
                return self.reader.string(".debug_str", value), form, end
            if form == dwarf.FORM_LINE_STRP:
                return self.reader.string(".debug_line_str", value), form, end
            if form in (dwarf.FORM_GNU_STRP_ALT, dwarf.FORM_STRP_SUP):
                return self.reader.alternative.string(".debug_str", value), form, end
            if form in (dwarf.FORM_GNU_REF_ALT, dwarf.FORM_REF_SUP4, dwarf.FORM_REF_SUP8):
                return ~value, form, end
            return value, form, end
        if form == dwarf.FORM_IMPLICIT_CONST:
            return constant, form, position
        if form == dwarf.FORM_SDATA:
            value, position = read_sleb(data, position)
            return value, form, position
        if form in ULEBS:
            value, position = read_uleb(data, position)
            return value + self.offset if form == dwarf.FORM_REF_UDATA else value, form, position
        if form == dwarf.FORM_STRING:
            end = data.index(b"\0", position)
            return data[position:end].decode("utf-8", "replace"), form, end + 1
        return 1, form, self._skip(form, data, position)

    def _skip(self, form: int, data: bytes, position: int) -> int:
        size = self.size_of(form)
        if size >= 0:
            return position + size
        if form in ULEBS or form == dwarf.FORM_SDATA:
            while data[position] >= 0x80:
                position += 1
            return position + 1
        if form in (dwarf.FORM_EXPRLOC, dwarf.FORM_BLOCK):
            length, position = read_uleb(data, position)
            return position + length
        if form in _BLOCK_LENGTHS:
            end = position + _BLOCK_LENGTHS[form]
            return end + int.from_bytes(data[position:end], "little")
        if form == dwarf.FORM_STRING:
            return data.index(b"\0", position) + 1
        if form == dwarf.FORM_INDIRECT:
            form, position = read_uleb(data, position)
            if form != dwarf.FORM_INDIRECT:
                return self._skip(form, data, position)
        raise ValueError(f"unknown form {form:#x} in the unit at {self.offset:#x}")


_WANTED: Final = frozenset({
    dwarf.AT_SIBLING, dwarf.AT_NAME, dwarf.AT_STMT_LIST, dwarf.AT_LOW_PC, dwarf.AT_HIGH_PC, dwarf.AT_COMP_DIR,
    dwarf.AT_ABSTRACT_ORIGIN, dwarf.AT_SPECIFICATION, dwarf.AT_RANGES, dwarf.AT_CALL_COLUMN,
    dwarf.AT_CALL_FILE, dwarf.AT_CALL_LINE, dwarf.AT_STR_OFFSETS_BASE, dwarf.AT_ADDR_BASE,
    dwarf.AT_RNGLISTS_BASE, dwarf.AT_DWO_NAME, dwarf.AT_GNU_DWO_NAME, dwarf.AT_LANGUAGE,
})  # fmt: skip
