"""Decoding .debug_line (DWARF 5 section 6.2, and versions 2 to 4).

pyelftools makes one object per row, which for net/core/dev.c (77,000 rows) costs half a second; here the
rows are two integers each in numpy columns, about eight times as fast.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

# Standard opcodes (DWARF 5 table 7.25) and extended ones (7.26).
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _SET_COLUMN, _NEGATE_STMT = 1, 2, 3, 4, 5, 6
_CONST_ADD_PC, _FIXED_ADVANCE_PC = 8, 9
_END_SEQUENCE, _SET_ADDRESS, _DEFINE_FILE = 1, 2, 3

# Content types of directory and file entries (table 7.27) and the forms they may have (7.6).
_PATH, _DIRECTORY_INDEX = 1, 2
_FIXED_FORMS: Final = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}
_FORM_STRING, _FORM_STRP, _FORM_UDATA, _FORM_LINE_STRP, _FORM_BLOCK = 0x08, 0x0E, 0x0F, 0x1F, 0x09
_FORM_STRP_SUP, _FORM_GNU_STRP_ALT = 0x1D, 0x1F21

# How a row's second integer is packed; the lowest 28 bits are the line.
_COLUMN_SHIFT, _FILE_SHIFT, _STMT_BIT, _END_BIT = 28, 44, 1 << 60, 1 << 61
_LINE_MASK, _COLUMN_MASK, _FILE_MASK = (1 << 28) - 1, 0xFFFF, 0xFFFF


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the file table: its name, and the directory as the table spells it, '' if none."""

    directory: str
    name: str


@dataclass(frozen=True, slots=True)
class LineHeader:
    """The header of one unit's line program. ``files`` is indexed as DW_AT_call_file and the rows do.

    Version 5 counts directories and files from 0, directory 0 being the compilation directory. Versions
    before count from 1: entry 0 of ``files`` is then a placeholder.
    """

    version: int
    files: tuple[FileEntry, ...]
    compilation_directory: str | None
    minimum_length: int
    default_is_stmt: bool
    line_base: int
    line_range: int
    operands: bytes
    start: int
    end: int

    @property
    def opcode_base(self) -> int:
        """The first special opcode."""
        return len(self.operands) + 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Decoded rows in parallel columns, sequence after sequence; sequences are sorted by address.

    The last row of a sequence is its end_sequence: from its address on, no row is in force.
    """

    addresses: npt.NDArray[np.uint64]
    packed: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.addresses)

    def in_force(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """Return the row in force at each address, -1 where there is none (outside every sequence)."""
        rows = np.searchsorted(self.addresses, addresses, side="right") - 1
        if len(self.packed):
            ended = (self.packed[rows] & np.uint64(_END_BIT)) != 0
            rows[ended] = -1
        return rows

    def line(self, row: int) -> tuple[int, int, int, bool]:
        """Return (file index, line, column, is_stmt) of a row."""
        value = int(self.packed[row])
        return (
            value >> _FILE_SHIFT & _FILE_MASK,
            value & _LINE_MASK,
            value >> _COLUMN_SHIFT & _COLUMN_MASK,
            bool(value & _STMT_BIT),
        )

    @property
    def lines(self) -> npt.NDArray[np.uint64]:
        """The line of every row."""
        return self.packed & np.uint64(_LINE_MASK)

    @property
    def files(self) -> npt.NDArray[np.uint64]:
        """The file index of every row."""
        return self.packed >> np.uint64(_FILE_SHIFT) & np.uint64(_FILE_MASK)

    @property
    def is_stmt(self) -> npt.NDArray[np.bool_]:
        """Which rows begin a statement."""
        return self.packed & np.uint64(_STMT_BIT) > 0

    @property
    def is_end(self) -> npt.NDArray[np.bool_]:
        """Which rows end a sequence: their address is the first after it."""
        return self.packed & np.uint64(_END_BIT) > 0


def unit_extent(section: memoryview, offset: int) -> tuple[int, int, int]:
    """Return (start after the length field, end, size of offsets) of the unit at ``offset``."""
    (length,) = struct.unpack_from("<I", section, offset)
    if length == 0xFFFFFFFF:
        (length,) = struct.unpack_from("<Q", section, offset + 4)
        start, size = offset + 12, 8
    else:
        start, size = offset + 4, 4
    if start + length > len(section):
        raise ValueError(f"line program at {offset:#x} ends beyond .debug_line")
    return start, start + length, size


def read_header(section: memoryview, offset: int, string: Callable[[str, int], str]) -> LineHeader:
    """Decode the header of the line program at ``offset`` of .debug_line.

    ``string`` returns the string at an offset of the section it is given the name of. Raises ValueError,
    IndexError or struct.error on damaged data.
    """
    position, end, size = unit_extent(section, offset)
    (version,) = struct.unpack_from("<H", section, position)
    position += 2
    if not 2 <= version <= 5:
        raise ValueError(f"line program of unknown version {version}")
    if version == 5:
        position += 2  # address_size, segment_selector_size
    length = int.from_bytes(section[position : position + size], "little")
    position += size
    start = position + length
    if start > end:
        raise ValueError(f"header of the line program at {offset:#x} ends beyond it")
    header = bytes(section[position:start])
    minimum = header[0]
    position = 1 if version < 4 else 2  # skips maximum_operations_per_instruction: 1 but on VLIW
    is_stmt, line_base, line_range, opcode_base = struct.unpack_from("<BbBB", header, position)
    if not line_range or not opcode_base:
        raise ValueError(f"line program at {offset:#x} has line_range or opcode_base 0")
    position += 4
    operands = header[position : position + opcode_base - 1]
    position += opcode_base - 1
    if version == 5:
        directories, files = _tables_of_5(header, position, size, string)
        compilation = directories[0] if directories else None
        names = tuple(FileEntry(_at(directories, index, blank=0), name) for name, index in files)
    else:
        directories, files = _tables_before_5(header, position)
        compilation = None
        names = (
            FileEntry("", ""),
            *(FileEntry(_at(directories, index, blank=0), name) for name, index in files),
        )
    return LineHeader(
        version, names, compilation, minimum, bool(is_stmt), line_base, line_range, operands, start, end
    )


def _at(directories: list[str], index: int, blank: int) -> str:
    # Directory 0 is the compilation directory: paths are shown relative to it.
    return directories[index] if index != blank and index < len(directories) else ""


def _tables_of_5(
    header: bytes, position: int, size: int, string: Callable[[str, int], str]
) -> tuple[list[str], list[tuple[str, int]]]:
    tables: list[list[tuple[str, int]]] = []
    for _ in range(2):
        formats = []
        count = header[position]
        position += 1
        for _ in range(count):
            content, position = read_uleb(header, position)
            form, position = read_uleb(header, position)
            formats.append((content, form))
        entries, position = read_uleb(header, position)
        if entries > len(header) or (entries and not formats):
            raise ValueError("line program with a file table larger than its header")
        table = []
        for _ in range(entries):
            path, directory = "", 0
            for content, form in formats:
                value, position = _read_form(header, position, form, size, string)
                if content == _PATH:
                    path = str(value)
                elif content == _DIRECTORY_INDEX and isinstance(value, int):
                    directory = value
            table.append((path, directory))
        tables.append(table)
    return [path for path, _ in tables[0]], tables[1]


def _read_form(
    header: bytes, position: int, form: int, size: int, string: Callable[[str, int], str]
) -> tuple[int | str, int]:
    if form in (_FORM_LINE_STRP, _FORM_STRP):
        at = int.from_bytes(header[position : position + size], "little")
        return string(".debug_line_str" if form == _FORM_LINE_STRP else ".debug_str", at), position + size
    if form == _FORM_UDATA:
        return read_uleb(header, position)
    if form == _FORM_STRING:
        end = header.index(b"\0", position)
        return header[position:end].decode("utf-8", "replace"), end + 1
    if form in _FIXED_FORMS:
        end = position + _FIXED_FORMS[form]
        return int.from_bytes(header[position:end], "little"), end
    if form == _FORM_BLOCK:
        length, position = read_uleb(header, position)
        return 0, position + length
    if form in (_FORM_STRP_SUP, _FORM_GNU_STRP_ALT):
        return "", position + size
    raise ValueError(f"form {form:#x} in a line program's file table")


def _tables_before_5(header: bytes, position: int) -> tuple[list[str], list[tuple[str, int]]]:
    directories = [""]
    while header[position]:
        end = header.index(b"\0", position)
        directories.append(header[position:end].decode("utf-8", "replace"))
        position = end + 1
    position += 1
    files = []
    while header[position]:
        end = header.index(b"\0", position)
        name = header[position:end].decode("utf-8", "replace")
        index, position = read_uleb(header, end + 1)
        _, position = read_uleb(header, position)  # modification time
        _, position = read_uleb(header, position)  # size
        files.append((name, index))
    return directories, files


def decode(section: memoryview, header: LineHeader) -> Rows:
    """Run the line program. Raises IndexError or struct.error where it is cut off.

    Sequences at address 0 are of code the linker dropped and are left out.
    """
    program = bytes(section[header.start : header.end])
    addresses, packed = array("Q"), array("Q")
    add_address, add_packed = addresses.append, packed.append
    opcode_base, operands, minimum = header.opcode_base, header.operands, header.minimum_length
    advances = [minimum * ((op - opcode_base) // header.line_range) for op in range(256)]
    deltas = [header.line_base + (op - opcode_base) % header.line_range for op in range(256)]
    default = _STMT_BIT if header.default_is_stmt else 0
    begins: list[int] = []
    position, end = 0, len(program)
    while position < end:
        # The state machine's registers at the start of a sequence (DWARF 5 table 6.4).
        address, line, begin = 0, 1, len(addresses)
        column, file, stmt = 0, 1, default
        state = file << _FILE_SHIFT | stmt
        while position < end:
            op = program[position]
            position += 1
            if op >= opcode_base:
                address += advances[op]
                line += deltas[op]
                add_address(address & 0xFFFFFFFFFFFFFFFF)
                add_packed(state | line & _LINE_MASK)
            elif op == _SET_COLUMN:
                column = program[position]
                position += 1
                if column >= 0x80:
                    column, position = read_uleb(program, position - 1)
                    column = min(column, _COLUMN_MASK)
                state = file << _FILE_SHIFT | column << _COLUMN_SHIFT | stmt
            elif op == _NEGATE_STMT:
                stmt ^= _STMT_BIT
                state ^= _STMT_BIT
            elif op == _ADVANCE_LINE:
                delta, position = read_sleb(program, position)
                line += delta
            elif op == 0:
                length, position = read_uleb(program, position)
                extended = program[position]
                if extended == _END_SEQUENCE:
                    add_address(address & 0xFFFFFFFFFFFFFFFF)
                    add_packed(state | line & _LINE_MASK | _END_BIT)
                    position += length
                    break
                if extended == _SET_ADDRESS:
                    address = int.from_bytes(program[position + 1 : position + length], "little")
                position += max(length, 1)
            elif op == _COPY:
                add_address(address & 0xFFFFFFFFFFFFFFFF)
                add_packed(state | line & _LINE_MASK)
            elif op == _SET_FILE:
                file, position = read_uleb(program, position)
                file = min(file, _FILE_MASK)
                state = file << _FILE_SHIFT | column << _COLUMN_SHIFT | stmt
            elif op == _ADVANCE_PC:
                delta, position = read_uleb(program, position)
                address += minimum * delta
            elif op == _CONST_ADD_PC:
                address += advances[255]
            elif op == _FIXED_ADVANCE_PC:
                address += program[position] | program[position + 1] << 8
                position += 2
            else:  # set_basic_block, set_prologue_end, ...: nothing that is asked for
                for _ in range(operands[op - 1]):
                    _, position = read_uleb(program, position)
        begins.append(begin)
    return _sorted(addresses, packed, begins)


def _sorted(addresses: array[int], packed: array[int], begins: list[int]) -> Rows:
    """Put the sequences in the order of their addresses, leaving out empty ones."""
    all_addresses = np.frombuffer(addresses, np.uint64) if addresses else np.zeros(0, np.uint64)
    all_packed = np.frombuffer(packed, np.uint64) if packed else np.zeros(0, np.uint64)
    ends = [*begins[1:], len(all_addresses)] if begins else []
    parts = []
    for begin, end in zip(begins, ends, strict=True):
        # A program that is cut off leaves a sequence without an end: where its code stops is unknown.
        if end - begin < 2 or not all_addresses[begin] or not int(all_packed[end - 1]) & _END_BIT:
            continue
        if all_addresses[end - 1] > all_addresses[begin]:
            parts.append((int(all_addresses[begin]), begin, end))
    parts.sort()
    if [part[1:] for part in parts] == [(0, len(all_addresses))]:
        return Rows(all_addresses, all_packed)
    chosen = [np.arange(begin, end) for _, begin, end in parts]
    order = np.concatenate(chosen) if chosen else np.zeros(0, np.intp)
    return Rows(all_addresses[order], all_packed[order])
