"""Which compilation unit's code is at an address (.debug_aranges, DWARF 5 section 6.1.2)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.arrays import distinct

if TYPE_CHECKING:
    import numpy.typing as npt

    from ktcpdump_tui.debuginfo.dies import Unit
    from ktcpdump_tui.debuginfo.reader import DwarfReader

_HEADER = struct.Struct("<IHIBB")


class UnitIndex:
    """The units by address: from .debug_aranges in one pass.

    Units that are not in it (clang writes none by default) are found by their own DW_AT_ranges, read once
    when the first such address is asked for.
    """

    def __init__(self, reader: DwarfReader) -> None:
        self._reader = reader
        self._lows, self._highs, self._offsets = _read_aranges(reader.section(".debug_aranges"))
        self._unlisted: tuple[list[int], list[tuple[int, int]]] | None = None

    def at(self, address: int) -> Unit | None:
        """Return the unit with code at ``address``, or None."""
        row = int(np.searchsorted(self._lows, np.uint64(address), side="right")) - 1
        if row >= 0 and address < int(self._highs[row]):
            return self._reader.unit(int(self._offsets[row]))
        if self._unlisted is None:
            self._unlisted = self._scan()
        lows, rest = self._unlisted
        row = bisect_right(lows, address) - 1
        return self._reader.unit(rest[row][1]) if row >= 0 and address < rest[row][0] else None

    def near(self, address: int) -> Unit | None:
        """Return the unit with code at ``address``, or else the one listed before it.

        Its line table may cover what its ranges leave out: the padding between functions.
        """
        unit = self.at(address)
        if unit is None and len(self._lows):
            row = int(np.searchsorted(self._lows, np.uint64(address), side="right")) - 1
            return self._reader.unit(int(self._offsets[row])) if row >= 0 else None
        return unit

    def offsets(self) -> list[int]:
        """Return where the units begin that .debug_aranges lists, ascending."""
        return [int(offset) for offset in distinct(self._offsets)]

    def _scan(self) -> tuple[list[int], list[tuple[int, int]]]:
        listed = set(self._offsets.tolist())
        found = sorted(
            (low, high, offset)
            for offset in self._reader.offsets()
            if offset not in listed
            for low, high in self._reader.unit(offset).ranges
        )
        return [low for low, _, _ in found], [(high, offset) for _, high, offset in found]


def subprogram_at(unit: Unit, address: int) -> int | None:
    """Return the offset of the subprogram of ``unit`` with machine code at ``address``, or None."""
    row = bisect_right(unit.subprograms, address, key=lambda entry: entry[0]) - 1
    if row >= 0 and address < unit.subprograms[row][1]:
        return unit.subprograms[row][2]
    return None


def extent_at(unit: Unit, address: int) -> tuple[int, int] | None:
    """Return [low, high) of the stretch of a subprogram of ``unit`` that ``address`` is in, or None."""
    row = bisect_right(unit.subprograms, address, key=lambda entry: entry[0]) - 1
    if row >= 0 and address < unit.subprograms[row][1]:
        return unit.subprograms[row][:2]
    return None


def _read_aranges(
    data: memoryview,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return (lows, highs, offsets of units) of all ranges by address; a damaged tail is left out."""
    blocks: list[npt.NDArray[np.uint64]] = []
    owners: list[int] = []
    position = 0
    while position + _HEADER.size <= len(data):
        length, version, unit, address_size, segment_size = _HEADER.unpack_from(data, position)
        end = position + 4 + length
        if length >= 0xFFFFFFF0 or end > len(data) or version > 3 or address_size != 8 or segment_size:
            break
        # The tuples begin at a multiple of their size (16 bytes), counted from the header.
        start = min(position + 16, end)
        words = np.frombuffer(data[start:end], "<u8", count=(end - start) // 16 * 2)
        blocks.append(words.reshape(-1, 2))
        owners.append(unit)
        position = end
    if not blocks:
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    pairs = np.concatenate(blocks)
    offsets = np.repeat(np.array(owners, np.int64), [len(block) for block in blocks])
    keep = pairs[:, 1] > 0  # the pair (0, 0) ends each unit's list
    pairs, offsets = pairs[keep], offsets[keep]
    order = np.argsort(pairs[:, 0], kind="stable")
    lows = np.ascontiguousarray(pairs[order, 0])
    return lows, lows + pairs[order, 1], offsets[order]
