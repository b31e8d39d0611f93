"""ELF notes (gABI, "Note Section"): the build-id ties a kernel or module to its debug file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL_NOTES: Final = Path("/sys/kernel/notes")
MODULES: Final = Path("/sys/module")

#: elf.h: NT_GNU_BUILD_ID, owner "GNU".
_BUILD_ID: Final = 3
_NOTE: Final = struct.Struct("<III")


def notes(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield (owner, type, descriptor) of each note; stops where the data is damaged."""
    at = 0
    while at + _NOTE.size <= len(data):
        name_size, size, kind = _NOTE.unpack_from(data, at)
        at += _NOTE.size
        name = data[at : at + name_size]
        at += -(-name_size // 4) * 4
        descriptor = data[at : at + size]
        if len(descriptor) < size:
            return
        at += -(-size // 4) * 4
        yield name.rstrip(b"\0").decode(errors="replace"), kind, descriptor


def build_id(data: bytes) -> str | None:
    """Return the build-id among the notes in ``data``, as hex digits, or None."""
    return next(
        (text.hex() for owner, kind, text in notes(data) if owner == "GNU" and kind == _BUILD_ID), None
    )


def kernel_build_id(path: Path = KERNEL_NOTES) -> str | None:
    """Return the running kernel's build-id, or None where it has none or it cannot be read."""
    return _read(path)


def module_build_id(name: str, modules: Path = MODULES) -> str | None:
    """Return a loaded module's build-id, or None."""
    return _read(modules / name / "notes" / ".note.gnu.build-id")


def _read(path: Path) -> str | None:
    try:
        return build_id(path.read_bytes())
    except OSError:
        return None
