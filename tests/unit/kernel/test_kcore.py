"""Reading memory through an ELF core file, and what is said where it cannot be read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.kcore import Kcore

if TYPE_CHECKING:
    from pathlib import Path

HIGH = 0xFFFFFFFF81000000


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """Two segments of 16 bytes, and a note."""
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 4, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0
    )
    segments = struct.pack("<IIQQQQQQ", 4, 0, 0x200, 0, 0, 8, 0, 0)
    segments += struct.pack("<IIQQQQQQ", 1, 7, 0x300, HIGH, 0, 16, 16, 0x1000)
    segments += struct.pack("<IIQQQQQQ", 1, 7, 0x400, HIGH + 0x1000, 0, 16, 16, 0x1000)
    path = tmp_path / "kcore"
    path.write_bytes(
        (header + segments).ljust(0x300, b"\0") + bytes(range(16)).ljust(0x100, b"\0") + b"x" * 16
    )
    return path


def test_reads_inside_a_segment(core: Path) -> None:
    with Kcore(core) as memory:
        assert memory.read(HIGH + 3, 4) == bytes([3, 4, 5, 6])
        assert memory.read(HIGH + 0x1000, 16) == b"x" * 16


@pytest.mark.parametrize("place", [(HIGH + 10, 7), (HIGH - 1, 2), (0, 1), (HIGH + 0x2000, 1)])
def test_does_not_read_beyond(core: Path, place: tuple[int, int]) -> None:
    with Kcore(core) as memory, pytest.raises(LookupError):
        memory.read(*place)


def test_a_segment_that_the_file_does_not_hold(core: Path) -> None:
    core.write_bytes(core.read_bytes()[:0x408])
    with Kcore(core) as memory, pytest.raises(LookupError):
        memory.read(HIGH + 0x1000, 16)


def test_no_core_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CONFIG_PROC_KCORE"):
        Kcore(tmp_path / "missing")
    (tmp_path / "text").write_text("no ELF")
    with pytest.raises(UserError, match="not a 64-bit ELF core file"):
        Kcore(tmp_path / "text")
