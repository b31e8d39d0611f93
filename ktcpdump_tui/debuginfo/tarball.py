"""Single files out of a kernel source tarball, without unpacking it.

A kernel tarball holds 1.5 GB. Debian's are compressed by a multi-threaded xz, which cuts the data into
independent blocks (24 MiB) and lists them in an index at the end of the file (the .xz file format,
section 4), and their members are sorted by name. So the block that holds a file is found by bisection,
and only that block is decompressed: about 0.3 s instead of 10 s. Every other tarball is read through once.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

import zstandard

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    #: Key members' names are sorted by.
    Order = Callable[[str], list[str]]

#: Bytes of a tar header and what every member is padded to (POSIX.1-1988 ustar).
TAR_BLOCK: Final = 512
_MAGIC_OFFSET: Final = 257
#: Headers that only add to the next one: long names of GNU tar, pax attributes.
_EXTENSIONS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_CHUNK: Final = 1 << 16
_XZ_HEADER_BYTES: Final = 12
_XZ_MAGIC: Final = b"\xfd7zXZ\x00"
_XZ_FOOTER_MAGIC: Final = b"YZ"


@dataclass(frozen=True, slots=True)
class XzBlock:
    """A block of an .xz file: where it is in the file and where it begins in the data, in bytes."""

    file_offset: int
    file_end: int
    data_offset: int


def xz_blocks(file: BinaryIO) -> list[XzBlock]:
    """Read the index of an .xz file of one stream; empty if it is anything else (section 2.1.2 and 4)."""
    file.seek(0)
    if file.read(len(_XZ_MAGIC)) != _XZ_MAGIC:
        return []
    end = file.seek(0, io.SEEK_END)
    file.seek(end - _XZ_HEADER_BYTES)
    footer = file.read(_XZ_HEADER_BYTES)
    if footer[-2:] != _XZ_FOOTER_MAGIC or zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
        return []
    index_bytes = (int.from_bytes(footer[4:8], "little") + 1) * 4
    file.seek(end - _XZ_HEADER_BYTES - index_bytes)
    index = file.read(index_bytes)
    if zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        return []
    count, at = _variable_length(index, 1)
    blocks, file_offset, data_offset = [], _XZ_HEADER_BYTES, 0
    for _ in range(count):
        unpadded, at = _variable_length(index, at)
        size, at = _variable_length(index, at)
        file_end = file_offset + ((unpadded + 3) & ~3)
        blocks.append(XzBlock(file_offset, file_end, data_offset))
        file_offset = file_end
        data_offset += size
    # The blocks fill the file exactly, or there are several streams.
    return blocks if file_offset + index_bytes + _XZ_HEADER_BYTES == end else []


def _variable_length(data: bytes, at: int) -> tuple[int, int]:
    """Decode a multibyte integer (section 1.2); return it and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80:
            return value, at


class _XzFrom(io.RawIOBase):
    """The data of an .xz file from a block on."""

    def __init__(self, file: BinaryIO, blocks: list[XzBlock], number: int) -> None:
        file.seek(0)
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        self._decoder.decompress(file.read(_XZ_HEADER_BYTES))
        file.seek(blocks[number].file_offset)
        self._file = file
        # Not one byte of the index: it lists blocks that this decoder was never given.
        self._left = blocks[-1].file_end - blocks[number].file_offset

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = size if size >= 0 else 1 << 62
        parts: list[bytes] = []
        while wanted > 0:
            fresh = b""
            if self._decoder.needs_input:
                fresh = self._file.read(min(_CHUNK, self._left))
                self._left -= len(fresh)
            part = self._decoder.decompress(fresh, min(wanted, 1 << 20))
            if not part and not fresh and self._decoder.needs_input:
                break
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def _by_folder(name: str) -> list[str]:
    """Key of the order of ``tar --sort=name``: what is in a folder follows the folder."""
    return name.strip("/").split("/")


def _by_path(name: str) -> list[str]:
    """Key of the order of ``git archive``: whole paths, byte by byte."""
    return [name]


class Tarball:
    """A source tarball. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _reading(path), path.open("rb") as file:
            self._blocks = xz_blocks(file)
            #: First member's name that begins in each block, as far as it was looked up.
            self._first: dict[int, str | None] = {}
            self.root = self._root(file)

    @property
    def indexed(self) -> bool:
        """Whether single files come out of it quickly."""
        return len(self._blocks) > 1

    def find(self, name: str) -> bytes | None:
        """Return the member at ``name`` (a path in the tarball's top folder), if it is indexed and sorted."""
        if not self.indexed:
            return None
        wanted = self.root + name
        searched: set[int] = set()
        with _reading(self.path), self.path.open("rb") as file:
            for order in (_by_folder, _by_path):
                number = self._block_of(file, wanted, order)
                if number not in searched:
                    searched.add(number)
                    if (data := self._search(file, number, wanted)) is not None:
                        return data
        return None

    def is_sorted(self) -> bool:
        """Tell whether the members are in an order ``find`` knows; looks into every block."""
        with _reading(self.path), self.path.open("rb") as file:
            names = [self._first_name(file, number) for number in range(len(self._blocks))]
        found = [name for name in names if name is not None]
        return any(all(order(a) <= order(b) for a, b in pairwise(found)) for order in (_by_folder, _by_path))

    def _block_of(self, file: BinaryIO, wanted: str, order: Order) -> int:
        """Bisect for the last block whose first member is not after ``wanted``."""
        low, high = 0, len(self._blocks)
        while high - low > 1:
            probe = middle = (low + high) // 2
            first = self._first_name(file, probe)
            while first is None and probe + 1 < high:  # a block inside one huge member
                probe += 1
                first = self._first_name(file, probe)
            if first is not None and order(first) <= order(wanted):
                low = probe
            else:
                high = middle
        return low

    def extract(
        self, wanted: Callable[[str], bool], progress: Callable[[int], None]
    ) -> Iterator[tuple[str, bytes | None]]:
        """Read the whole tarball once; yield (path in its top folder, content) of every file.

        The content of a file that is not ``wanted`` is None. ``progress`` is told the bytes of the tarball
        that were read.
        """
        with _reading(self.path), self.path.open("rb") as file:
            watched = _Watched(file, progress)
            with tarfile.open(fileobj=_decompressed(self.path, watched), mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./").removeprefix(self.root)
                    if member.isfile():
                        content = archive.extractfile(member) if wanted(name) else None
                        yield name, content.read() if content else None

    def _root(self, file: BinaryIO) -> str:
        """Return the one top folder all members are in, with its slash; empty if there is none."""
        file.seek(0)
        with tarfile.open(fileobj=_decompressed(self.path, file), mode="r|") as archive:
            member = archive.next()
            while member is not None and member.name in (".", "./", "pax_global_header"):
                member = archive.next()
        if member is None:
            return ""
        first = member.name.removeprefix("./").split("/")[0]
        return f"{first}/" if member.isdir() or "/" in member.name else ""

    def _first_name(self, file: BinaryIO, number: int) -> str | None:
        """Return the name in the first tar header that begins in a block; None where there is none."""
        if number not in self._first:
            found = self._first_header(file, number)
            self._first[number] = found[1] if found else None
        return self._first[number]

    def _first_header(self, file: BinaryIO, number: int) -> tuple[int, str] | None:
        """Return (position in the block, name) of its first tar header."""
        block = self._blocks[number]
        stream = _XzFrom(file, self._blocks, number)
        position = -block.data_offset % TAR_BLOCK
        stream.read(position)
        start: int | None = None
        while block.data_offset + position < self._end(number):
            header = stream.read(TAR_BLOCK)
            if len(header) < TAR_BLOCK:
                return None
            if header[_MAGIC_OFFSET : _MAGIC_OFFSET + 5] == b"ustar":
                # What only looks like a header fails its checksum.
                with contextlib.suppress(tarfile.HeaderError):
                    member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
                    if start is None:
                        start = position
                    if member.type not in _EXTENSIONS:
                        return start, member.name
            position += TAR_BLOCK
        return None

    def _search(self, file: BinaryIO, number: int, wanted: str) -> bytes | None:
        """Read the members that begin in a block."""
        found = self._first_header(file, number)
        if found is None:
            return None
        stream = _XzFrom(file, self._blocks, number)
        stream.read(found[0])
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
            for member in archive:
                if member.name == wanted and member.isfile():
                    content = archive.extractfile(member)
                    return content.read() if content else None
                if found[0] + member.offset >= self._end(number) - self._blocks[number].data_offset:
                    return None
        return None

    def _end(self, number: int) -> int:
        """Return where a block ends in the data."""
        return self._blocks[number + 1].data_offset if number + 1 < len(self._blocks) else 1 << 62


class _Watched(io.RawIOBase):
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress
        self._read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._read += len(data)
        self._progress(self._read)
        return data


def _decompressed(path: Path, file: io.RawIOBase | BinaryIO) -> IO[bytes]:
    """Wrap a file in the decompression its name asks for."""
    source = cast("IO[bytes]", file)
    if path.name.endswith(".xz"):
        return lzma.LZMAFile(source)
    if path.name.endswith((".gz", ".tgz")):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=source, mode="rb"))
    if path.name.endswith(".bz2"):
        return bz2.BZ2File(source)
    if path.name.endswith(".zst"):
        return cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(source))
    return source


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a tarball into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read the source tarball {path}: {error.strerror or error}") from error
    except (
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        zstandard.ZstdError,
        EOFError,
        struct.error,
    ) as error:
        raise UserError(f"the source tarball {path} is damaged: {error}", "fetch it again") from error
