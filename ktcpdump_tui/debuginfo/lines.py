"""From addresses to source lines and back, over the line tables of one debug image."""

from __future__ import annotations

import struct
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.debuginfo import dwarf, lineprogram
from ktcpdump_tui.debuginfo.paths import source_path
from ktcpdump_tui.model import SourceLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ktcpdump_tui.debuginfo.dies import Unit
    from ktcpdump_tui.debuginfo.reader import DwarfReader
    from ktcpdump_tui.debuginfo.units import UnitIndex

#: Decoded line tables that are kept: 16 bytes per row, at most about 80,000 rows each.
_TABLES_KEPT: Final = 24


class LineTable:
    """The line table of one unit; files are paths in the source tree."""

    def __init__(self, reader: DwarfReader, offset: int, compilation_directory: str) -> None:
        self._section = reader.section(".debug_line")
        self.header = lineprogram.read_header(self._section, offset, reader.string)
        self._directory = self.header.compilation_directory or compilation_directory
        self._paths: dict[int, str] = {}

    @cached_property
    def rows(self) -> lineprogram.Rows:
        """The decoded rows."""
        return lineprogram.decode(self._section, self.header)

    def path(self, index: int) -> str:
        """Return the file with ``index`` in this table (as rows and DW_AT_call_file count), '' if none."""
        path = self._paths.get(index)
        if path is None:
            path = ""
            if 0 <= index < len(self.header.files) and self.header.files[index].name:
                entry = self.header.files[index]
                path = source_path(self._directory, entry.directory, entry.name)
            self._paths[index] = path
        return path

    def row(self, index: int) -> SourceLine:
        """Return a row as a source line."""
        file, line, column, is_stmt = self.rows.line(index)
        return SourceLine(self.path(file), line, column, is_stmt)

    def at(self, addresses: npt.NDArray[np.uint64]) -> list[SourceLine | None]:
        """Return the row in force at each address, None outside of every sequence."""
        known: dict[int, SourceLine] = {}
        found: list[SourceLine | None] = []
        for index in self.rows.in_force(addresses).tolist():
            if index < 0:
                found.append(None)
                continue
            if index not in known:
                known[index] = self.row(index)
            found.append(known[index])
        return found

    def between(self, low: int, high: int) -> list[tuple[int, SourceLine | None]]:
        """Return (address, row in force from there on) for [low, high); None where none is."""
        rows = self.rows
        first = int(np.searchsorted(rows.addresses, np.uint64(low), side="right")) - 1
        last = int(np.searchsorted(rows.addresses, np.uint64(high), side="left"))
        found: dict[int, SourceLine | None] = {}
        ends = rows.is_end
        for index in range(max(first, 0), last):
            address = max(int(rows.addresses[index]), low)
            found[address] = None if ends[index] else self.row(index)  # the last row at an address wins
        return list(found.items())


class LineIndex:
    """Look-ups of lines; addresses as in DebugImage. Raises as DwarfReader does on damaged data."""

    def __init__(self, reader: DwarfReader, units: UnitIndex) -> None:
        self._reader = reader
        self._units = units
        self._tables: OrderedDict[int, LineTable] = OrderedDict()

    def table(self, unit: Unit) -> LineTable | None:
        """Return the line table of ``unit``, None where it has none."""
        offset = unit.top.number(dwarf.AT_STMT_LIST)
        if offset is None:
            return None
        return self._table(offset, unit.top.text(dwarf.AT_COMP_DIR) or "")

    def source_line(self, address: int) -> SourceLine | None:
        """Return the row in force at ``address``, None where no unit has code."""
        return self.source_lines([address])[0]

    def source_lines(self, addresses: Sequence[int]) -> list[SourceLine | None]:
        """Return the row in force at each of ``addresses``, which are best in ascending order."""
        found: list[SourceLine | None] = []
        for table, group in self._by_table(addresses):
            if table is None:
                found.extend([None] * len(group))
            else:
                found.extend(table.at(np.array(group, np.uint64)))
        return found

    def statement_rows(self, low: int, high: int) -> list[tuple[int, SourceLine]]:
        """Return (address, line) of each row that begins a statement in [low, high), by address.

        Where several rows share an address only the last one is in force there, and it is the one returned;
        rows with line 0 (the compiler names no line) are left out.
        """
        unit = self._units.at(low)
        table = self.table(unit) if unit else None
        if table is None:
            return []
        rows = table.rows
        first = int(np.searchsorted(rows.addresses, np.uint64(low), side="left"))
        last = int(np.searchsorted(rows.addresses, np.uint64(high), side="left"))
        statements = rows.is_stmt & ~rows.is_end
        found: list[tuple[int, SourceLine]] = []
        for address in distinct(rows.addresses[first:last][statements[first:last]]):
            line = table.row(int(rows.in_force(np.array([address]))[0]))
            if line.line:
                found.append((int(address), line))
        return found

    def addresses_of(self, file: str, first: int, last: int) -> list[tuple[int, SourceLine]]:
        """Return (address, line) of the statements on lines ``first`` to ``last`` of ``file``, by address.

        ``file`` is a path or its end (``ip_input.c``, ``ipv4/ip_input.c``): whole directory names only. Code
        of that file which was inlined elsewhere counts too. As in gdb, a statement that begins at an address
        counts although a later row at the same address is the one in force there: without that, optimised
        code would leave many a line without a place to stop.
        """
        found: dict[int, SourceLine] = {}
        for table, indices in self._tables_with(file):
            rows = table.rows
            lines = rows.lines
            wanted = np.isin(rows.files, np.array(indices, np.uint64)) & (lines >= first) & (lines <= last)
            wanted &= rows.is_stmt & ~rows.is_end
            for row in np.flatnonzero(wanted).tolist():
                found[int(rows.addresses[row])] = table.row(row)
        return sorted(found.items(), key=lambda item: item[0])

    def files_matching(self, file: str) -> list[str]:
        """Return the paths in the source tree that end with ``file``, which several files may."""
        return sorted({table.path(index) for table, indices in self._tables_with(file) for index in indices})

    def _table(self, offset: int, compilation_directory: str) -> LineTable:
        table = self._tables.get(offset)
        if table is None:
            table = self._tables[offset] = LineTable(self._reader, offset, compilation_directory)
            if len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(offset)
        return table

    def _by_table(self, addresses: Sequence[int]) -> Iterator[tuple[LineTable | None, list[int]]]:
        """Yield runs of addresses that share a unit, in the order given."""
        group: list[int] = []
        current: Unit | None = None
        low, high = 0, 0
        for address in addresses:
            if group and low <= address < high:
                group.append(address)
                continue
            unit = self._units.near(address)
            if group and unit is not current:
                yield self.table(current) if current else None, group
                group = []
            group.append(address)
            current = unit
            low, high = next(
                ((low, high) for low, high in (unit.ranges if unit else ()) if low <= address < high), (0, 0)
            )
        if group:
            yield self.table(current) if current else None, group

    def _tables_with(self, file: str) -> Iterator[tuple[LineTable, list[int]]]:
        """Yield each line table that names a file ending with ``file``, and its indices there."""
        name = file.rsplit("/", 1)[-1]
        marks = self._marks(name)
        section = self._reader.section(".debug_line")
        ending = "/" + file.lstrip("/")
        offset = 0
        while offset + 15 < len(section):
            start, end, size = lineprogram.unit_extent(section, offset)
            at = start + (4 if section[start] == 5 else 2)
            length = int.from_bytes(section[at : at + size], "little")
            header = bytes(section[start : min(at + size + length, end)])
            if any(mark in header for mark in marks):
                table = self._table(offset, self._directory)
                count = len(table.header.files)
                indices = [index for index in range(count) if ("/" + table.path(index)).endswith(ending)]
                if indices:
                    yield table, indices
            offset = end

    def _marks(self, name: str) -> list[bytes]:
        """Return what a header that names ``name`` contains: the string itself, or its offset (4 bytes)."""
        wanted = name.encode() + b"\0"
        marks = [wanted]
        for section in (".debug_line_str", ".debug_str"):
            data = self._reader.section(section)
            if section == ".debug_str" and len(marks) > 1:
                break  # a table uses one section or the other
            content = bytes(data)
            position = content.find(wanted)
            while position >= 0:
                marks.append(struct.pack("<I", position))
                position = content.find(wanted, position + 1)
        return marks

    @cached_property
    def _directory(self) -> str:
        """The compilation directory of the first unit: a kernel's units share theirs."""
        for offset in self._reader.offsets():
            directory = self._reader.unit(offset).top.text(dwarf.AT_COMP_DIR)
            if directory:
                return directory
        return ""
