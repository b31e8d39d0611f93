"""Abbreviations: what the entries of .debug_info consist of (DWARF 5 section 7.5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.dies import Unit

#: Bytes of each form whose size is always the same; the rest depends on the unit or on the data.
SIZES: Final = {
    dwarf.FORM_DATA1: 1, dwarf.FORM_REF1: 1, dwarf.FORM_FLAG: 1, dwarf.FORM_STRX1: 1, dwarf.FORM_ADDRX1: 1,
    dwarf.FORM_DATA2: 2, dwarf.FORM_REF2: 2, dwarf.FORM_STRX2: 2, dwarf.FORM_ADDRX2: 2,
    dwarf.FORM_STRX3: 3, dwarf.FORM_ADDRX3: 3,
    dwarf.FORM_DATA4: 4, dwarf.FORM_REF4: 4, dwarf.FORM_STRX4: 4, dwarf.FORM_ADDRX4: 4,
    dwarf.FORM_REF_SUP4: 4,
    dwarf.FORM_DATA8: 8, dwarf.FORM_REF8: 8, dwarf.FORM_REF_SIG8: 8, dwarf.FORM_REF_SUP8: 8,
    dwarf.FORM_DATA16: 16, dwarf.FORM_FLAG_PRESENT: 0, dwarf.FORM_IMPLICIT_CONST: 0,
}  # fmt: skip
#: Forms as large as an offset of the unit's format (4 bytes, 8 in 64-bit DWARF).
OFFSETS: Final = frozenset({
    dwarf.FORM_STRP, dwarf.FORM_LINE_STRP, dwarf.FORM_SEC_OFFSET, dwarf.FORM_STRP_SUP,
    dwarf.FORM_GNU_REF_ALT, dwarf.FORM_GNU_STRP_ALT,
})  # fmt: skip
ULEBS: Final = frozenset({
    dwarf.FORM_UDATA, dwarf.FORM_REF_UDATA, dwarf.FORM_STRX, dwarf.FORM_ADDRX, dwarf.FORM_LOCLISTX,
    dwarf.FORM_RNGLISTX,
})  # fmt: skip

#: (attribute, form, value of an implicit constant)
Specification = tuple[int, int, int]


class Abbreviation:
    """What entries with one code consist of (DWARF 5 section 7.5.3).

    ``size`` is the bytes of the attributes, -1 where the data decides; ``sibling`` the position of
    DW_AT_sibling among them (a DW_FORM_ref4), -1 where it has none at a fixed place.
    """

    __slots__ = ("has_children", "has_code", "sibling", "size", "specifications", "tag")

    def __init__(self, tag: int, has_children: bool, specifications: list[Specification], unit: Unit) -> None:
        self.tag = tag
        self.has_children = has_children
        self.specifications = specifications
        self.size, self.sibling, self.has_code = 0, -1, False
        for name, form, _ in specifications:
            if name == dwarf.AT_SIBLING and form == dwarf.FORM_REF4 and self.size >= 0:
                self.sibling = self.size
            elif name in (dwarf.AT_LOW_PC, dwarf.AT_RANGES):
                self.has_code = True
            if self.size >= 0:
                size = unit.size_of(form)
                self.size = self.size + size if size >= 0 else -1


class Abbreviations(dict[int, Abbreviation]):
    """A unit's table of abbreviations, decoded as far as it was asked for."""

    def __init__(self, data: memoryview, position: int, unit: Unit) -> None:
        super().__init__()
        self._data, self._position, self._unit = data, position, unit

    def __missing__(self, wanted: int) -> Abbreviation:
        data, position = self._data, self._position
        while True:
            code, position = read_uleb(data, position)
            if not code:
                raise ValueError(f"no abbreviation {wanted} in the unit at {self._unit.offset:#x}")
            tag, position = read_uleb(data, position)
            has_children = bool(data[position])
            position += 1
            specifications = []
            while True:
                name, form = data[position], data[position + 1]
                if name < 0x80 and form < 0x80:
                    position += 2
                else:
                    name, position = read_uleb(data, position)
                    form, position = read_uleb(data, position)
                constant = 0
                if form == dwarf.FORM_IMPLICIT_CONST:
                    constant, position = read_sleb(data, position)
                if not name and not form:
                    break
                specifications.append((name, form, constant))
            self[code] = abbreviation = Abbreviation(tag, has_children, specifications, self._unit)
            self._position = position
            if code == wanted:
                return abbreviation
