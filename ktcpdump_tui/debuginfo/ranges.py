"""Address ranges of entries: .debug_rnglists (DWARF 5 section 2.17.3) and .debug_ranges (DWARF 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.leb import read_uleb

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.dies import Unit

#: Addresses [low, high), in the order of the list.
Ranges = tuple[tuple[int, int], ...]


def read_ranges(unit: Unit, offset: int) -> Ranges:
    """Return the list at ``offset`` of the section ``unit``'s version uses. Raises IndexError if cut off."""
    if unit.version >= 5:
        return _rnglist(unit, offset)
    return _ranges(unit, offset)


def _rnglist(unit: Unit, position: int) -> Ranges:
    data, size, base = unit.reader.section(".debug_rnglists"), unit.address_size, unit.base_address
    found: list[tuple[int, int]] = []
    while True:
        kind = data[position]
        position += 1
        if kind == dwarf.RLE_END_OF_LIST:
            return tuple(found)
        if kind == dwarf.RLE_OFFSET_PAIR:
            low, position = read_uleb(data, position)
            high, position = read_uleb(data, position)
            low, high = low + base, high + base
        elif kind == dwarf.RLE_BASE_ADDRESS:
            base, position = int.from_bytes(data[position : position + size], "little"), position + size
            continue
        elif kind == dwarf.RLE_BASE_ADDRESSX:
            index, position = read_uleb(data, position)
            base = unit.reader.indexed_address(unit, index)
            continue
        elif kind in (dwarf.RLE_START_END, dwarf.RLE_START_LENGTH):
            low, position = int.from_bytes(data[position : position + size], "little"), position + size
            if kind == dwarf.RLE_START_END:
                high, position = int.from_bytes(data[position : position + size], "little"), position + size
            else:
                length, position = read_uleb(data, position)
                high = low + length
        elif kind in (dwarf.RLE_STARTX_ENDX, dwarf.RLE_STARTX_LENGTH):
            index, position = read_uleb(data, position)
            low = unit.reader.indexed_address(unit, index)
            value, position = read_uleb(data, position)
            is_end = kind == dwarf.RLE_STARTX_ENDX
            high = unit.reader.indexed_address(unit, value) if is_end else low + value
        else:
            raise ValueError(f"range list entry of unknown kind {kind} in .debug_rnglists")
        if high > low:
            found.append((low, high))


def _ranges(unit: Unit, position: int) -> Ranges:
    data, size, base = unit.reader.section(".debug_ranges"), unit.address_size, unit.base_address
    largest = (1 << 8 * size) - 1
    found: list[tuple[int, int]] = []
    while True:
        if position + 2 * size > len(data):
            raise IndexError("a range list ends beyond .debug_ranges")
        low = int.from_bytes(data[position : position + size], "little")
        high = int.from_bytes(data[position + size : position + 2 * size], "little")
        position += 2 * size
        if low == high == 0:
            return tuple(found)
        if low == largest:
            base = high
        elif high > low:
            found.append((low + base & largest, high + base & largest))
