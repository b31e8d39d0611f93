"""Where interrupts' stacks are, as a running kernel's per-CPU variables tell it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.kernel.stacks import InterruptStacks, interrupt_stacks, possible_cpus
from ktcpdump_tui.kernel.symbols import Kallsyms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kernel.stock import StockKernel

#: What two CPUs of a real machine had: the second stack's top is aligned to a page only.
POINTERS = (0xFFFFD1D700003FF8, 0xFFFFD1D700100FF8)
OFFSETS = (0xFFFF8D22BDA00000, 0xFFFF8D22BDB00000)


class Memory:
    """The per-CPU areas of two CPUs; a third may come, but has none yet."""

    def __init__(self, stock: StockKernel) -> None:
        self.table = stock.kallsyms.address_of("__per_cpu_offset") or 0
        self.read_at: list[int] = []

    def read(self, address: int, size: int) -> bytes:
        number = (address - self.table) // size
        if 0 <= number < 3:
            return struct.pack("<Q", (*OFFSETS, 0)[number])
        for offset, pointer in zip(OFFSETS, POINTERS, strict=True):
            if 0 <= address - offset < 1 << 20:
                self.read_at.append(address - offset)
                return struct.pack("<Q", pointer)
        raise LookupError(f"{address:#x}")


@pytest.fixture
def possible(tmp_path: Path) -> Path:
    path = tmp_path / "possible"
    path.write_text("0-2\n")
    return path


def test_each_cpu_has_its_stack(stock: StockKernel, possible: Path) -> None:
    memory = Memory(stock)
    found = interrupt_stacks(stock.kallsyms, memory, stock.btf, possible)
    assert found.tops == (POINTERS[0] + 8, POINTERS[1] + 8, 0)
    assert (found.start, found.end) == (POINTERS[0] + 8 - 16384, POINTERS[1] + 8)
    assert len(set(memory.read_at)) == 1  # the same variable of each CPU


def test_a_kernel_that_does_not_tell_has_none(stock: StockKernel, possible: Path) -> None:
    found = interrupt_stacks(Kallsyms(b""), Memory(stock), stock.btf, possible)
    assert found == InterruptStacks()
    assert (found.start, found.end) == (0, 0)


def test_cpus_are_counted_by_the_highest_number(tmp_path: Path) -> None:
    path = tmp_path / "possible"
    for text, count in (("0\n", 1), ("0-3\n", 4), ("0-1,6-7\n", 8)):
        path.write_text(text)
        assert possible_cpus(path) == count
