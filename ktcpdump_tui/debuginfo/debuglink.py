""".gnu_debuglink: a stripped file naming the file that has its debug symbols (gdb manual, 18.3)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.altlink import DEBUG_DIRECTORY
from ktcpdump_tui.debuginfo.sections import SHT_NOBITS, ElfFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def has_debug_info(elf: ElfFile) -> bool:
    """Whether a file has debug information of its own."""
    section = elf.section(".debug_info")
    return section is not None and section.size > 0 and section.type != SHT_NOBITS


def linked_file(elf: ElfFile, debug_directory: Path = DEBUG_DIRECTORY) -> Path | None:
    """Return the debug file that ``elf`` names, None where it names none or no such file is there.

    It must have the same build-id, or, where there are none, the checksum that the link gives.
    """
    section = elf.section(".gnu_debuglink")
    if section is None:
        return None
    data = bytes(elf.data(section))
    name = data.split(b"\0")[0].decode("utf-8", "replace")
    # The name, its NUL, padding to a multiple of four, then a CRC-32 of the whole debug file.
    crc = int.from_bytes(data[-4:], "little")
    for path in _places(elf, name, debug_directory):
        if path.is_file() and path.resolve() != elf.path.resolve() and _belongs(path, elf.build_id, crc):
            return path
    return None


def link_name(elf: ElfFile) -> str | None:
    """Return the name in .gnu_debuglink, None where there is none."""
    section = elf.section(".gnu_debuglink")
    return bytes(elf.data(section)).split(b"\0")[0].decode("utf-8", "replace") if section else None


def _places(elf: ElfFile, name: str, debug_directory: Path) -> Iterator[Path]:
    folder = elf.path.resolve().parent
    build_id = elf.build_id
    if build_id:
        yield debug_directory / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    if name and "/" not in name:
        yield folder / name
        yield folder / ".debug" / name
        yield debug_directory / folder.relative_to("/") / name


def _belongs(path: Path, build_id: str | None, crc: int) -> bool:
    other = ElfFile.open(path)
    try:
        if build_id:
            return other.build_id == build_id
    finally:
        other.close()
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum == crc
