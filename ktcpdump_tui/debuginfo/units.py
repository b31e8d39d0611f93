"""The compilation units of a debug image: by address, by name, and the subprograms in each."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from elftools.dwarf.ranges import BaseAddressEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

    from ktcpdump_tui.debuginfo.image import DebugImage

_ARANGES_HEADER = struct.Struct("<IHIBB")
_CODE_SCOPES: Final = frozenset({"DW_TAG_namespace", "DW_TAG_structure_type", "DW_TAG_class_type"})

Ranges = tuple[tuple[int, int], ...]


class UnitIndex:
    """Where each compilation unit's code is.

    Built from .debug_aranges (DWARF 5 section 6.1.2) in one pass; units that are not in it (clang writes
    none by default) are found by their own DW_AT_ranges.
    """

    def __init__(self, image: DebugImage) -> None:
        self._image = image
        self._lows, self._highs, self._offsets = _read_aranges(image.section_bytes(".debug_aranges"))
        self._scanned: tuple[list[int], list[tuple[int, int]]] | None = None
        self._subprograms: dict[int, list[tuple[int, int, DIE]]] = {}

    def at(self, address: int) -> CompileUnit | None:
        """Return the unit with code at ``address``, or None."""
        row = int(np.searchsorted(self._lows, np.uint64(address), side="right")) - 1
        if row >= 0 and address < int(self._highs[row]):
            return self._image.dwarf.get_CU_at(int(self._offsets[row]))
        offset = self._scan(address)
        return None if offset is None else self._image.dwarf.get_CU_at(offset)

    def __iter__(self) -> Iterator[CompileUnit]:
        return iter(self._image.dwarf.iter_CUs())

    def pc_ranges(self, die: DIE) -> Ranges:
        """Return the ranges [low, high) of ``die``, empty where it has no code."""
        attributes = die.attributes
        low = attributes.get("DW_AT_low_pc")
        high = attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            end = high.value if high.form == "DW_FORM_addr" else low.value + high.value
            return ((low.value, end),) if end > low.value else ()
        if "DW_AT_ranges" not in attributes:
            return ()
        lists = self._image.dwarf.range_lists()
        if lists is None:
            return ()
        unit = cast("CompileUnit", die.cu)
        top = unit.get_top_DIE().attributes.get("DW_AT_low_pc")
        base = top.value if top is not None else 0
        ranges = []
        for entry in lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, cu=unit):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
                continue
            shift = 0 if entry.is_absolute else base
            if entry.end_offset > entry.begin_offset:
                ranges.append((entry.begin_offset + shift, entry.end_offset + shift))
        return tuple(ranges)

    def subprogram_at(self, unit: CompileUnit, address: int) -> DIE | None:
        """Return the subprogram of ``unit`` with code at ``address``, or None."""
        known = self.subprograms(unit)
        row = bisect_right(known, address, key=lambda entry: entry[0]) - 1
        if row >= 0 and address < known[row][1]:
            return known[row][2]
        return None

    def subprograms(self, unit: CompileUnit) -> list[tuple[int, int, DIE]]:
        """Return (low, high, DIE) for each stretch of code of each subprogram in ``unit``, by address."""
        if unit.cu_offset not in self._subprograms:
            found = [
                (low, high, die)
                for die in _concrete_subprograms(unit.get_top_DIE())
                for low, high in self.pc_ranges(die)
            ]
            found.sort(key=lambda entry: entry[:2])
            self._subprograms[unit.cu_offset] = found
        return self._subprograms[unit.cu_offset]

    def _scan(self, address: int) -> int | None:
        """Find the unit by the ranges of all units that .debug_aranges leaves out, read once."""
        if self._scanned is None:
            listed = set(self._offsets.tolist())
            found = sorted(
                (low, high, unit.cu_offset)
                for unit in self
                if unit.cu_offset not in listed
                for low, high in self.pc_ranges(unit.get_top_DIE())
            )
            self._scanned = [low for low, _, _ in found], [(high, offset) for _, high, offset in found]
        lows, rest = self._scanned
        row = bisect_right(lows, address) - 1
        return rest[row][1] if row >= 0 and address < rest[row][0] else None


def _concrete_subprograms(scope: DIE) -> Iterator[DIE]:
    for die in scope.iter_children():
        if die.tag == "DW_TAG_subprogram":
            if "DW_AT_low_pc" in die.attributes or "DW_AT_ranges" in die.attributes:
                yield die
        elif die.tag in _CODE_SCOPES:
            yield from _concrete_subprograms(die)


def _read_aranges(data: memoryview) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (lows, highs, offsets of units) of all ranges, sorted by address; a damaged tail is left out."""
    blocks: list[np.ndarray] = []
    owners: list[int] = []
    position = 0
    while position + _ARANGES_HEADER.size <= len(data):
        length, version, unit, address_size, segment_size = _ARANGES_HEADER.unpack_from(data, position)
        end = position + 4 + length
        if length >= 0xFFFFFFF0 or end > len(data) or version > 3 or address_size != 8 or segment_size:
            break
        # The tuples begin at a multiple of their size, counted from the header.
        start = position + 16
        blocks.append(
            np.frombuffer(data[start:end], "<u8", count=max(end - start, 0) // 16 * 2).reshape(-1, 2)
        )
        owners.append(unit)
        position = end
    if not blocks:
        empty = np.zeros(0, np.uint64)
        return empty, empty, empty.astype(np.int64)
    pairs = np.concatenate(blocks)
    offsets = np.repeat(np.array(owners, np.int64), [len(block) for block in blocks])
    keep = pairs[:, 1] > 0
    pairs, offsets = pairs[keep], offsets[keep]
    order = np.argsort(pairs[:, 0], kind="stable")
    lows = np.ascontiguousarray(pairs[order, 0])
    return lows, lows + pairs[order, 1], offsets[order]
