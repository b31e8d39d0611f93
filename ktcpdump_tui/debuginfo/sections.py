"""ELF files as a table of sections over a read-only memory map (System V gABI, chapter 4).

Only 64-bit little-endian files are read: every machine with kprobes that this program knows is one. Debug
sections may be compressed (SHF_COMPRESSED with zlib or zstd, or the older ``.zdebug_*``); whole files may
be, as modules are (``.ko.xz``, ``.ko.zst``, ``.ko.gz``).
"""

from __future__ import annotations

import io
import itertools
import mmap
import struct
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Literal

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

#: Section types and flags (gABI figures 4-9 and 4-11).
SHT_SYMTAB: Final = 2
SHT_RELA: Final = 4
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8
SHF_ALLOC: Final = 0x2
SHF_EXECINSTR: Final = 0x4
SHF_COMPRESSED: Final = 0x800

ET_REL: Final = 1
EM_X86_64: Final = 62
NT_GNU_BUILD_ID: Final = 3

_ELFCOMPRESS_ZLIB: Final = 1
_ELFCOMPRESS_ZSTD: Final = 2
_SHN_XINDEX: Final = 0xFFFF

#: A corrupt size field must not make us ask for all memory: no debug section is this large.
_LARGEST_SECTION: Final = 8 << 30
_PIECE: Final = 4 << 20

_FILE_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_COMPRESSION_HEADER = struct.Struct("<IIQQ")
_NOTE_HEADER = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; ``offset`` and ``size`` are bytes in the file, ``address`` is a link-time one."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int

    @property
    def allocated(self) -> bool:
        """Whether the section takes part in the running program."""
        return bool(self.flags & SHF_ALLOC)

    @property
    def executable(self) -> bool:
        """Whether the section holds instructions."""
        return bool(self.flags & SHF_EXECINSTR)


class SectionMap(mmap.mmap):
    """A section of a file as a stream: positions count from the section's start, nothing is copied.

    Maps begin at pages, sections anywhere; ``shift`` is the difference in bytes.
    """

    shift: int

    @classmethod
    def of(cls, file: IO[bytes], offset: int, size: int) -> SectionMap:
        """Map ``size`` bytes (not 0) at ``offset`` of ``file``."""
        shift = offset % mmap.ALLOCATIONGRANULARITY
        stream = cls(file.fileno(), size + shift, access=mmap.ACCESS_READ, offset=offset - shift)
        stream.shift = shift
        stream.seek(0)
        return stream

    def seek(self, pos: int, whence: Literal[0, 1, 2, 3, 4] = 0) -> None:
        """Move to ``pos`` bytes from the section's start (``whence`` is always 0 here)."""
        mmap.mmap.seek(self, pos + self.shift, whence)

    def tell(self) -> int:
        """Return the position in bytes from the section's start."""
        return mmap.mmap.tell(self) - self.shift


class ElfFile:
    """The section table of one ELF file, and the bytes of its sections."""

    def __init__(self, path: Path, data: mmap.mmap | bytes, file: IO[bytes] | None) -> None:
        self.path = path
        self._file = file
        self._data = data
        self._view = memoryview(data)
        self._unpacked: dict[int, memoryview] = {}
        self._streams: list[SectionMap] = []
        self._read_headers()

    @classmethod
    def open(cls, path: Path) -> ElfFile:
        """Map ``path``. Raises UserError where it is missing, unreadable or not a 64-bit ELF file."""
        try:
            file = path.open("rb")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        try:
            if path.is_dir() or path.stat().st_size == 0:
                raise UserError(f"{path} is empty or not a file")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            packed = _unpack_file(path, data)
            if packed is not None:
                file.close()
                return cls(path, packed, None)
            return cls(path, data, file)
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file. Its mapping goes when the last section that was handed out does."""
        self._unpacked.clear()
        self._streams.clear()
        if self._file:
            self._file.close()

    def section(self, name: str) -> Section | None:
        """Return the section called ``name``, or its ``.zdebug`` form where that is what there is."""
        found = self._by_name.get(name)
        if found is None and name.startswith(".debug_"):
            return self._by_name.get(".z" + name[1:])
        return found

    def data(self, section: Section) -> memoryview:
        """Return the section's bytes, uncompressed; empty for SHT_NOBITS."""
        if section.type == SHT_NOBITS or not section.size:
            return memoryview(b"")
        ready = self._unpacked.get(section.index)
        if ready is not None:
            return ready
        raw = self._view[section.offset : section.offset + section.size]
        if section.flags & SHF_COMPRESSED:
            unpacked = _unpack_compressed(self.path, section, raw)
        elif section.name.startswith(".zdebug_"):
            unpacked = _unpack_zdebug(self.path, section, raw)
        else:
            return raw
        self._unpacked[section.index] = memoryview(unpacked)
        return self._unpacked[section.index]

    def stream(self, section: Section) -> IO[bytes]:
        """Return the section as a seekable stream of its own; an ordinary section is not copied."""
        plain = not self.is_packed(section)
        if plain and self._file and section.size and section.type != SHT_NOBITS:
            mapped = SectionMap.of(self._file, section.offset, section.size)
            self._streams.append(mapped)
            return mapped  # type: ignore[return-value]
        data = self.data(section)
        # BytesIO shares the memory of a bytes object, and copies anything else.
        return io.BytesIO(data.obj if isinstance(data.obj, bytes) and not plain else data)

    @staticmethod
    def is_packed(section: Section) -> bool:
        """Whether the section's bytes in the file are compressed."""
        return bool(section.flags & SHF_COMPRESSED) or section.name.startswith(".zdebug_")

    def relocations_of(self, section: Section) -> Section | None:
        """Return the SHT_RELA section that applies to ``section``."""
        for candidate in self.sections:
            if candidate.type == SHT_RELA and candidate.info == section.index:
                return candidate
        return None

    def notes(self) -> dict[tuple[str, int], bytes]:
        """Return all notes as {(owner, type): description}."""
        found: dict[tuple[str, int], bytes] = {}
        for section in self.sections:
            if section.type == SHT_NOTE:
                for owner, kind, description in parse_notes(bytes(self.data(section))):
                    found.setdefault((owner, kind), description)
        return found

    @property
    def build_id(self) -> str | None:
        """The build-id in hexadecimal, None where the file has none."""
        note = self.notes().get(("GNU", NT_GNU_BUILD_ID))
        return note.hex() if note else None

    def _read_headers(self) -> None:
        if len(self._view) < _FILE_HEADER.size or self._view[:4].tobytes() != b"\x7fELF":
            raise _not_elf(self.path, self._view)
        if self._view[4] != 2 or self._view[5] != 1:
            raise UserError(f"{self.path} is not a 64-bit little-endian ELF file")
        header = _FILE_HEADER.unpack_from(self._view)
        self.type: int = header[1]
        self.machine: int = header[2]
        table, count, names = header[6], header[12], header[13]
        if table and not count:  # gABI: more than SHN_LORESERVE sections
            count, names = self._extended_counts(table, names)
        if not table or table + count * _SECTION_HEADER.size > len(self._view):
            raise UserError(
                f"{self.path} is damaged: its section table is missing or beyond the end of the file",
                "fetch it again, and compare its size with the package's",
            )
        rows = list(_SECTION_HEADER.iter_unpack(self._view[table : table + count * _SECTION_HEADER.size]))
        if names == _SHN_XINDEX and rows:
            names = rows[0][6]
        strings = b""
        if names < len(rows):
            strings = bytes(self._view[rows[names][4] : rows[names][4] + rows[names][5]])
        self.sections = tuple(self._section(index, row, strings) for index, row in enumerate(rows))
        self._by_name: dict[str, Section] = {}
        for section in self.sections:
            self._by_name.setdefault(section.name, section)

    def _extended_counts(self, table: int, names: int) -> tuple[int, int]:
        if table + _SECTION_HEADER.size > len(self._view):
            return 0, 0
        first = _SECTION_HEADER.unpack_from(self._view, table)
        return first[5], first[6] if names == _SHN_XINDEX else names

    def _section(self, index: int, row: tuple[int, ...], strings: bytes) -> Section:
        start = row[0]
        name = strings[start : strings.find(b"\0", start)].decode("utf-8", "replace")
        section = Section(index, name, row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8])
        if section.type not in (0, SHT_NOBITS) and section.offset + section.size > len(self._view):
            raise UserError(
                f"{self.path} is damaged: section {name or index} ends beyond the end of the file",
                "fetch it again, and compare its size with the package's",
            )
        return section


def parse_notes(data: bytes) -> list[tuple[str, int, bytes]]:
    """Return (owner, type, description) of each note (gABI figure 5-2: 4-byte aligned, header 12 bytes).

    Reads a note section or the kernel's own copy of one (/sys/kernel/notes,
    /sys/module/NAME/notes/.note.gnu.build-id). A damaged tail is left out.
    """
    notes = []
    position = 0
    while position + _NOTE_HEADER.size <= len(data):
        owner_size, size, kind = _NOTE_HEADER.unpack_from(data, position)
        position += _NOTE_HEADER.size
        owner = data[position : position + owner_size]
        position += (owner_size + 3) & ~3
        description = data[position : position + size]
        position += (size + 3) & ~3
        if len(owner) < owner_size or len(description) < size:
            break
        notes.append((owner.rstrip(b"\0").decode("latin-1"), kind, description))
    return notes


def build_id_of_notes(data: bytes) -> str | None:
    """Return the build-id (hexadecimal) in a block of notes, None where there is none."""
    for owner, kind, description in parse_notes(data):
        if owner == "GNU" and kind == NT_GNU_BUILD_ID:
            return description.hex()
    return None


def _not_elf(path: Path, view: memoryview) -> UserError:
    # Documentation/arch/x86/boot.rst: "HdrS" at 0x202 marks a bzImage.
    if len(view) > 0x206 and view[0x202:0x206].tobytes() == b"HdrS":
        return UserError(
            f"{path} is a boot image (bzImage) without debug symbols, not a vmlinux",
            "give the vmlinux of the kernel's debug package instead",
        )
    return UserError(
        f"{path} is not an ELF file", "give the kernel's vmlinux with debug symbols (-d), not another file"
    )


def _unpack_file(path: Path, data: mmap.mmap) -> bytes | None:
    """Return the contents of a file that is compressed as a whole, None where it is not."""
    magic = data[:6]
    if not magic.startswith((b"\xfd7zXZ", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return None
    # Imported here, as for sections below: few files are packed, and every start would pay.
    import gzip
    import lzma

    import zstandard

    try:
        if magic.startswith(b"\xfd"):
            return lzma.decompress(data)
        if magic.startswith(b"\x1f"):
            return gzip.decompress(data)
        with zstandard.ZstdDecompressor().stream_reader(memoryview(data)) as reader:
            return reader.read()
    except (lzma.LZMAError, OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise UserError(f"{path} is damaged: it cannot be decompressed ({error})") from error


def _unpack_compressed(path: Path, section: Section, raw: memoryview) -> bytes:
    if len(raw) < _COMPRESSION_HEADER.size:
        raise UserError(f"{path} is damaged: compressed section {section.name} has no header")
    kind, _, size, _ = _COMPRESSION_HEADER.unpack_from(raw)
    body = raw[_COMPRESSION_HEADER.size :]
    if kind == _ELFCOMPRESS_ZLIB:
        return _inflate(path, section, body, size)
    if kind == _ELFCOMPRESS_ZSTD and size <= _LARGEST_SECTION:
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(body) as reader:
                # In pieces, for ``size`` may be wrong and would be allocated at once.
                pieces = iter(lambda: reader.read(_PIECE), b"")
                data = b"".join(itertools.islice(pieces, size // _PIECE + 2))
        except zstandard.ZstdError as error:
            raise UserError(f"{path} is damaged: {section.name} cannot be decompressed ({error})") from error
        if len(data) != size:
            raise UserError(f"{path} is damaged: {section.name} has {len(data)} bytes, not {size}")
        return data
    raise UserError(
        f"{path}: section {section.name} is compressed in an unknown way (ELF compression type {kind})",
        f"write an uncompressed copy: objcopy --decompress-debug-sections {path} vmlinux.debug",
    )


def _unpack_zdebug(path: Path, section: Section, raw: memoryview) -> bytes:
    # GNU's older form: "ZLIB" and the size as eight big-endian bytes before the data.
    if raw[:4].tobytes() != b"ZLIB" or len(raw) < 12:
        raise UserError(f"{path} is damaged: {section.name} has no ZLIB header")
    return _inflate(path, section, raw[12:], int.from_bytes(raw[4:12], "big"))


def _inflate(path: Path, section: Section, body: memoryview, size: int) -> bytes:
    if size > _LARGEST_SECTION:
        raise UserError(f"{path} is damaged: {section.name} claims to have {size} bytes")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, size)
    except zlib.error as error:
        raise UserError(f"{path} is damaged: {section.name} cannot be decompressed ({error})") from error
    if len(data) != size:
        raise UserError(f"{path} is damaged: {section.name} has {len(data)} bytes, not {size}")
    return data
