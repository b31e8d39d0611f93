"""Build-ids from ELF notes."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from ktcpdump_tui.kernel.notes import build_id, kernel_build_id, notes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kernel.stock import StockKernel


def test_the_build_id_of_a_stock_kernel(stock: StockKernel, tmp_path: Path) -> None:
    with stock.vmlinux.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".notes").data()
    copy = tmp_path / "notes"
    copy.write_bytes(section)
    shown = subprocess.run(
        ["readelf", "-n", stock.vmlinux], capture_output=True, check=True, text=True
    ).stdout
    assert f"Build ID: {kernel_build_id(copy)}" in shown


def test_other_notes_are_passed_over_and_damage_ends_the_list() -> None:
    first = struct.pack("<III4s4s", 4, 3, 7, b"Xen\0", b"abc\0")
    second = struct.pack("<III4s4s", 4, 4, 3, b"GNU\0", b"\x01\x02\x03\x04")
    assert build_id(first + second) == "01020304"
    assert [owner for owner, _, _ in notes(first + second[:-2])] == ["Xen"]
    assert build_id(b"") is None


def test_no_notes(tmp_path: Path) -> None:
    assert kernel_build_id(tmp_path / "missing") is None
