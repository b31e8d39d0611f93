"""Reading the running kernel's memory through /proc/kcore (fs/proc/kcore.c: an ELF core file)."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from types import TracebackType

KCORE: Final = Path("/proc/kcore")

_MAGIC: Final = b"\x7fELF\x02\x01"
#: Elf64_Ehdr: e_phoff; e_phentsize and e_phnum.
_PHOFF: Final = struct.Struct("<32xQ")
_PHCOUNT: Final = struct.Struct("<54xHH")
#: Elf64_Phdr: p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align.
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_PT_LOAD: Final = 1


class MemoryReader(Protocol):
    """Something that has the kernel's memory: /proc/kcore, or an image of it in tests."""

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes; LookupError where they cannot be read."""


class Segment(NamedTuple):
    """A range of kernel addresses and where it is in the file."""

    address: int
    size: int
    offset: int


class Kcore:
    """The kernel's memory, read only. Close it, or use it in a ``with``."""

    def __init__(self, path: Path = KCORE) -> None:
        """Open the file and read its program headers. Raises UserError where it cannot be read."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            self.segments = self._read_segments()
        except BaseException:
            os.close(self._fd)
            raise

    def _read_segments(self) -> list[Segment]:
        try:
            header = os.pread(self._fd, 64, 0)
            if len(header) < 64 or not header.startswith(_MAGIC):
                raise UserError(f"{self.path} is not a 64-bit ELF core file")
            (offset,) = _PHOFF.unpack_from(header)
            size, count = _PHCOUNT.unpack_from(header)
            table = os.pread(self._fd, size * count, offset)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        found = []
        for at in range(0, len(table) - _PHDR.size + 1, size):
            kind, _, file_offset, address, _, file_size, _, _ = _PHDR.unpack_from(table, at)
            if kind == _PT_LOAD:
                found.append(Segment(address, file_size, file_offset))
        return found

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of kernel memory at ``address``; LookupError where they cannot be read."""
        for segment in self.segments:
            start = address - segment.address
            if start >= 0 and start + size <= segment.size:
                try:
                    data = self._pread(size, segment.offset + start)
                except OSError as error:
                    raise LookupError(f"{address:#x}: {error.strerror}") from error
                if len(data) == size:
                    return data
        raise LookupError(f"{address:#x}: {self.path} does not hold it")

    def _pread(self, size: int, offset: int) -> bytes:
        pieces = []
        while size > 0:
            piece = os.pread(self._fd, size, offset)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file; reading is over."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return UserError(f"{path} can be read by root only", "run it as root: sudo ktcpdump-tui …")
    if isinstance(error, PermissionError):
        return UserError(
            f"{path} is closed even to root: {error.strerror} (lockdown, or a container)",
            "see cat /sys/kernel/security/lockdown, or capture in a virtual machine: ktcpdump-tui --lab",
        )
    return UserError(
        f"this kernel's code cannot be read: {path}: {error.strerror} (CONFIG_PROC_KCORE)",
        "capture in a virtual machine with a stock kernel: ktcpdump-tui --lab",
    )
