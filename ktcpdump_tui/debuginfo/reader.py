"""What the units of one file share: sections, strings, index tables, the supplementary file."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.dies import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.dies import Entry
    from ktcpdump_tui.debuginfo.image import DebugImage

#: Units whose bytes and tables are kept, about 1 MB each.
_UNITS_KEPT: Final = 24
#: A chain of DW_AT_abstract_origin and DW_AT_specification is two or three long; damage may make it endless.
_LONGEST_CHAIN: Final = 16


class DwarfReader:
    """Units and strings by offset. Raises ValueError, IndexError or struct.error on damaged data."""

    def __init__(self, image: DebugImage) -> None:
        self._image = image
        self._units: OrderedDict[int, Unit] = OrderedDict()
        self._names: dict[int, str] = {}

    def section(self, name: str) -> memoryview:
        """Return a section's bytes, empty where it is missing."""
        return self._image.section_bytes(name)

    @cached_property
    def alternative(self) -> DwarfReader:
        """The supplementary file's reader (dwz)."""
        other = self._image.supplementary
        if other is None:
            raise ValueError("a reference to a supplementary debug file that is not there")
        return other.reader

    def unit(self, offset: int) -> Unit:
        """Return the unit that begins at ``offset`` of .debug_info."""
        unit = self._units.get(offset)
        if unit is None:
            unit = self._units[offset] = Unit(self, offset)
            if len(self._units) > _UNITS_KEPT:
                self._units.popitem(last=False)
        else:
            self._units.move_to_end(offset)
        return unit

    def offsets(self) -> Iterator[int]:
        """Yield where each unit begins."""
        size = len(self.section(".debug_info"))
        offset = 0
        while offset + 11 < size:
            yield offset
            offset = self._after(offset)

    def function_name(self, unit: Unit, entry: Entry) -> str:
        """Return the name of a subprogram or inlined subroutine, '' where it has none."""
        reader = self
        for _ in range(_LONGEST_CHAIN):
            name = entry.text(dwarf.AT_NAME)
            if name is not None:
                return name
            target = entry.number(dwarf.AT_ABSTRACT_ORIGIN)
            if target is None:
                target = entry.number(dwarf.AT_SPECIFICATION)
            if target is None:
                return ""
            if target < 0:
                reader, target = reader.alternative, ~target
                unit = reader.unit(reader.unit_holding(target))
            elif not unit.offset <= target < unit.end:
                unit = reader.unit(reader.unit_holding(target))
            entry = unit.entry(target)
        raise ValueError(f"the entry at {entry.offset:#x} is its own origin")

    def unit_holding(self, target: int) -> int:
        """Return the offset of the unit that the entry at ``target`` is in.

        A unit says only how long it is. The walk begins at the last one before ``target`` that is known (it
        has code, or was passed before): from the first one it would bring all of .debug_info, some 200 MB,
        into memory.
        """
        starts = self._starts
        row = bisect_right(starts, target)
        offset = starts[row - 1] if row else 0
        size = len(self.section(".debug_info"))
        while offset + 11 < size:
            following = self._after(offset)
            if offset <= target < following:
                return offset
            offset = following
            if row == len(starts) or starts[row] != offset:
                starts.insert(row, offset)
            row += 1
        raise ValueError(f"a reference to {target:#x}, which is in no unit")

    def string(self, section: str, offset: int) -> str:
        """Return the string at ``offset`` of .debug_str or .debug_line_str."""
        data = self.section(section)
        if offset >= len(data):
            raise IndexError(f"a string beyond the end of {section}")
        size = 64
        while True:
            piece = bytes(data[offset : offset + size])
            end = piece.find(b"\0")
            if end >= 0 or offset + size >= len(data):
                return piece[: end if end >= 0 else None].decode("utf-8", "replace")
            size *= 4

    def indexed_string(self, unit: Unit, index: int) -> str:
        """Return a DW_FORM_strx string (DWARF 5 section 7.26)."""
        base = unit.top.number(dwarf.AT_STR_OFFSETS_BASE) or 0
        offset = self._indexed(".debug_str_offsets", base, index, unit.offset_size)
        return self.string(".debug_str", offset)

    def indexed_address(self, unit: Unit, index: int) -> int:
        """Return a DW_FORM_addrx address (DWARF 5 section 7.27)."""
        base = unit.top.number(dwarf.AT_ADDR_BASE) or 0
        return self._indexed(".debug_addr", base, index, unit.address_size)

    def indexed_range_list(self, unit: Unit, index: int) -> int:
        """Return the offset of a DW_FORM_rnglistx list in .debug_rnglists (DWARF 5 section 7.28)."""
        base = unit.top.number(dwarf.AT_RNGLISTS_BASE) or 0
        return base + self._indexed(".debug_rnglists", base, index, unit.offset_size)

    @cached_property
    def _starts(self) -> list[int]:
        """Where units are known to begin, ascending: those with code, and what ``unit_holding`` passed."""
        return self._image.units.offsets()

    def _after(self, offset: int) -> int:
        """Return where the unit that begins at ``offset`` ends."""
        section = self.section(".debug_info")
        (length,) = struct.unpack_from("<I", section, offset)
        if length == 0xFFFFFFFF:
            (length,) = struct.unpack_from("<Q", section, offset + 4)
            offset += 8
        end: int = offset + 4 + length
        return end

    def _indexed(self, section: str, base: int, index: int, size: int) -> int:
        data = self.section(section)
        at = base + index * size
        if at + size > len(data):
            raise IndexError(f"index {index} beyond the end of {section}")
        return int.from_bytes(data[at : at + size], "little")
