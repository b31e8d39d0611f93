"""Where a variable is at which addresses: .debug_loclists (DWARF 5 section 2.6.2), .debug_loc (DWARF 2-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.leb import read_uleb
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.dies import Unit
    from ktcpdump_tui.debuginfo.variables.entries import Die

#: ((first address, address after the last), expression); the range is None for an expression or a default.
Located = tuple[tuple[int, int] | None, bytes]

#: From the numbers of location list entries (DWARF 5 table 7.10) to those of range lists (table 7.30).
_KINDS: Final = {
    **{kind: kind for kind in range(5)},
    **{kind: kind - 1 for kind in (6, 7, 8)},
}


def locations_of(die: Die, attribute: int = dwarf.AT_LOCATION) -> list[Located]:
    """Return where the value is kept: one entry with range None for an expression, else the list's entries.

    Empty where the attribute is absent. Entries of no length are kept: at a function's first instruction they
    say where a parameter was before (DWARF 5 section 2.6.2 gives them no effect, gdb gives them this one).
    """
    block = die.block(attribute)
    if block is not None:
        return [(None, block)]
    offset = die.number(attribute)
    if offset is None:
        return []
    unit = die.unit.unit
    if unit.version < 5:
        return _pairs(unit, offset)
    if die.form(attribute) == dwarf.FORM_LOCLISTX:
        base = die.unit.entry(unit.first).number(dwarf.AT_LOCLISTS_BASE) or 0
        data = unit.reader.section(".debug_loclists")
        start = base + offset * unit.offset_size
        offset = base + int.from_bytes(data[start : start + unit.offset_size], "little")
    return _lists(unit, offset)


def _lists(unit: Unit, position: int) -> list[Located]:
    """Read a list of DWARF 5's form."""
    reader, size, base = unit.reader, unit.address_size, unit.base_address
    data = reader.section(".debug_loclists")
    found: list[Located] = []
    while True:
        kind = data[position]
        position += 1
        if kind == dwarf.LLE_GNU_VIEW_PAIR:
            _, position = read_uleb(data, position)
            _, position = read_uleb(data, position)
            continue
        span: tuple[int, int] | None = None
        same = _KINDS.get(kind)
        if same == dwarf.RLE_END_OF_LIST:
            return found
        if same == dwarf.RLE_OFFSET_PAIR:
            low, position = read_uleb(data, position)
            high, position = read_uleb(data, position)
            span = base + low, base + high
        elif same == dwarf.RLE_BASE_ADDRESS:
            base, position = int.from_bytes(data[position : position + size], "little"), position + size
            continue
        elif same == dwarf.RLE_BASE_ADDRESSX:
            index, position = read_uleb(data, position)
            base = reader.indexed_address(unit, index)
            continue
        elif same in (dwarf.RLE_START_END, dwarf.RLE_START_LENGTH):
            low, position = int.from_bytes(data[position : position + size], "little"), position + size
            if same == dwarf.RLE_START_END:
                high, position = int.from_bytes(data[position : position + size], "little"), position + size
            else:
                length, position = read_uleb(data, position)
                high = low + length
            span = low, high
        elif same in (dwarf.RLE_STARTX_ENDX, dwarf.RLE_STARTX_LENGTH):
            index, position = read_uleb(data, position)
            value, position = read_uleb(data, position)
            low = reader.indexed_address(unit, index)
            is_end = same == dwarf.RLE_STARTX_ENDX
            span = low, (reader.indexed_address(unit, value) if is_end else low + value)
        elif kind != dwarf.LLE_DEFAULT_LOCATION:
            raise BadDwarfError(f"location list entry of unknown kind {kind} in .debug_loclists")
        length, position = read_uleb(data, position)
        if span is None or span[1] >= span[0]:
            found.append((span, bytes(data[position : position + length])))
        position += length


def _pairs(unit: Unit, position: int) -> list[Located]:
    """Read a list of DWARF 2-4's form: pairs of offsets; (-1, X) selects base X, (0, 0) ends."""
    data, size, base = unit.reader.section(".debug_loc"), unit.address_size, unit.base_address
    largest = (1 << 8 * size) - 1
    found: list[Located] = []
    while position + 2 * size <= len(data):
        low = int.from_bytes(data[position : position + size], "little")
        high = int.from_bytes(data[position + size : position + 2 * size], "little")
        position += 2 * size
        if low == high == 0:
            return found
        if low == largest:
            base = high
            continue
        length = int.from_bytes(data[position : position + 2], "little")
        if high >= low:
            expression = bytes(data[position + 2 : position + 2 + length])
            found.append(((base + low & largest, base + high & largest), expression))
        position += 2 + length
    raise BadDwarfError("a location list ends beyond .debug_loc")
