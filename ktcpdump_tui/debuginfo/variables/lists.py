"""Range lists and location lists (DWARF 5 sections 2.17.3, 2.6.2, 7.25, 7.29; DWARF 2-4: 2.17.3, 7.7.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.variables.constants import At, Form
from ktcpdump_tui.debuginfo.variables.dies import BadDwarfError, uleb

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.variables.dies import Die, Unit

#: (first address, address after the last)
Range = tuple[int, int]

#: (first address, address after the last, expression); the range is None for a default location.
Located = tuple[Range | None, bytes]

# DW_LLE_* (table 7.10). DW_RLE_* (table 7.30) has the same meanings at other numbers: no default location.
_END: Final = 0
_BASE_ADDRESSX: Final = 1
_STARTX_ENDX: Final = 2
_STARTX_LENGTH: Final = 3
_OFFSET_PAIR: Final = 4
_DEFAULT_LOCATION: Final = 5
_BASE_ADDRESS: Final = 6
_START_END: Final = 7
_START_LENGTH: Final = 8
#: GCC's -gvariable-location-views=incompat5: two view numbers that a stop at an instruction does not need.
_GNU_VIEW_PAIR: Final = 9

_LLE_OF_RLE: Final = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: _BASE_ADDRESS, 6: _START_END, 7: _START_LENGTH}


def ranges_of(die: Die) -> list[Range]:
    """Return the address ranges an entry covers: DW_AT_ranges, or DW_AT_low_pc with DW_AT_high_pc."""
    offset = die.number(At.RANGES)
    if offset is not None:
        return _read_ranges(die.unit, offset, die.form(At.RANGES) == Form.RNGLISTX)
    low = die.address(At.LOW_PC)
    if low is None:
        return []
    high = die.address(At.HIGH_PC)
    if high is None:
        length = die.number(At.HIGH_PC)
        high = low + (1 if length is None else length)
    return [(low, high)] if high > low else []


def locations_of(die: Die, attribute: int = At.LOCATION) -> list[Located]:
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
    unit = die.unit
    if unit.version >= 5:
        if die.form(attribute) == Form.LOCLISTX:
            offset = _indexed(unit, ".debug_loclists", unit.root.number(At.LOCLISTS_BASE), offset)
        return _read_lists(unit, ".debug_loclists", offset, locations=True)
    return _read_pairs(unit, ".debug_loc", offset, locations=True)


def _read_ranges(unit: Unit, offset: int, indexed: bool) -> list[Range]:
    if unit.version >= 5:
        if indexed:
            offset = _indexed(unit, ".debug_rnglists", unit.root.number(At.RNGLISTS_BASE), offset)
        found = _read_lists(unit, ".debug_rnglists", offset, locations=False)
    else:
        found = _read_pairs(unit, ".debug_ranges", offset, locations=False)
    return [entry[0] for entry in found if entry[0] is not None]


def _indexed(unit: Unit, section: str, base: int | None, index: int) -> int:
    """Return the offset that entry ``index`` of the table at ``base`` holds (section 7.28)."""
    if base is None:
        base = 12 if unit.offset_size == 4 else 20
    data = unit.info.sections(section)
    start = base + index * unit.offset_size
    if start + unit.offset_size > len(data):
        raise BadDwarfError(f"the debug information is damaged: no list {index} in {section}")
    return base + int.from_bytes(data[start : start + unit.offset_size], "little")


def _read_lists(unit: Unit, section: str, offset: int, *, locations: bool) -> list[Located]:
    """Read one list of DWARF 5's form."""
    data = unit.info.sections(section)
    size = unit.address_size
    base = unit.base_address
    found: list[Located] = []
    try:
        while True:
            kind = data[offset]
            offset += 1
            if not locations:
                kind = _LLE_OF_RLE.get(kind, 255)
            if kind == _END:
                return found
            span: Range | None = None
            if kind == _OFFSET_PAIR:
                low, offset = uleb(data, offset)
                high, offset = uleb(data, offset)
                span = base + low, base + high
            elif kind == _START_LENGTH:
                low = int.from_bytes(data[offset : offset + size], "little")
                high, offset = uleb(data, offset + size)
                span = low, low + high
            elif kind == _BASE_ADDRESS:
                base = int.from_bytes(data[offset : offset + size], "little")
                offset += size
                continue
            elif kind == _BASE_ADDRESSX:
                low, offset = uleb(data, offset)
                base = unit.indexed_address(low)
                continue
            elif kind in (_STARTX_ENDX, _STARTX_LENGTH):
                low, offset = uleb(data, offset)
                high, offset = uleb(data, offset)
                low = unit.indexed_address(low)
                span = low, (unit.indexed_address(high) if kind == _STARTX_ENDX else low + high)
            elif kind == _START_END:
                low = int.from_bytes(data[offset : offset + size], "little")
                high = int.from_bytes(data[offset + size : offset + 2 * size], "little")
                offset += 2 * size
                span = low, high
            elif kind == _GNU_VIEW_PAIR:
                _, offset = uleb(data, offset)
                _, offset = uleb(data, offset)
                continue
            elif kind != _DEFAULT_LOCATION:
                raise BadDwarfError(
                    f"the debug information is damaged: unknown entry in {section} at {offset:#x}"
                )
            expression = b""
            if locations:
                length, offset = uleb(data, offset)
                expression = bytes(data[offset : offset + length])
                offset += length
            if span is None or span[1] > span[0] or (locations and span[1] == span[0]):
                found.append((span, expression))
    except IndexError as error:
        raise BadDwarfError(f"the debug information is damaged: {section} ends early") from error


def _read_pairs(unit: Unit, section: str, offset: int, *, locations: bool) -> list[Located]:
    """Read one list of DWARF 2-4's form: pairs of offsets; (-1, X) selects base X, (0, 0) ends."""
    data = unit.info.sections(section)
    size = unit.address_size
    base = unit.base_address
    selector = (1 << (8 * size)) - 1
    found: list[Located] = []
    while offset + 2 * size <= len(data):
        low = int.from_bytes(data[offset : offset + size], "little")
        high = int.from_bytes(data[offset + size : offset + 2 * size], "little")
        offset += 2 * size
        if low == selector:
            base = high
            continue
        if not low and not high:
            return found
        expression = b""
        if locations:
            length = int.from_bytes(data[offset : offset + 2], "little")
            expression = bytes(data[offset + 2 : offset + 2 + length])
            offset += 2 + length
        if high > low or (locations and high == low):
            found.append(((base + low, base + high), expression))
    raise BadDwarfError(f"the debug information is damaged: {section} ends early")
