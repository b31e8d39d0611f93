"""A stock kernel taken from its vmlinux, as a running one would show itself: symbols, types, memory."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.symbols import Kallsyms


@dataclass
class StockKernel:
    """One of Debian's kernels as the lab unpacks it, not moved by KASLR and with no module loaded."""

    release: str
    debug: Path

    @property
    def vmlinux(self) -> Path:
        return self.debug / "boot" / f"vmlinux-{self.release}"

    @cached_property
    def symbols_text(self) -> bytes:
        """nm's listing has the form of /proc/kallsyms."""
        lines = subprocess.run(["nm", "-n", self.vmlinux], capture_output=True, check=True).stdout
        return b"".join(line + b"\n" for line in lines.splitlines() if line[17:18] != b"U")

    @cached_property
    def kallsyms(self) -> Kallsyms:
        return Kallsyms(self.symbols_text)

    @cached_property
    def btf(self) -> Btf:
        with self.vmlinux.open("rb") as file:
            return Btf(ELFFile(file).get_section_by_name(".BTF").data())

    @cached_property
    def memory(self) -> ImageMemory:
        return ImageMemory(self.vmlinux)


class ImageMemory:
    """What an ELF file puts into memory; implements kernel.kcore.MemoryReader."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._segments = [
            (one["p_vaddr"], one["p_filesz"], one["p_offset"])
            for one in ELFFile(self._file).iter_segments("PT_LOAD")
        ]

    def read(self, address: int, size: int) -> bytes:
        for start, length, offset in self._segments:
            if start <= address and address + size <= start + length:
                return os.pread(self._file.fileno(), size, offset + address - start)
        raise LookupError(f"{address:#x}")


def stock_kernels() -> list[StockKernel]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
    found = sorted(cache.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
    return [StockKernel(path.name.removeprefix("vmlinux-"), path.parents[1]) for path in found]


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that has the argument ``stock`` once per kernel; without kernels it fails."""
    if "stock" in metafunc.fixturenames:
        kernels = stock_kernels()
        names = [".".join(kernel.release.split(".")[:2]) for kernel in kernels]
        metafunc.parametrize(
            "stock", kernels or [None], ids=names or ["missing"], indirect=True, scope="session"
        )


def checked(kernel: StockKernel | None) -> StockKernel:
    if kernel is None:
        pytest.fail("no stock kernel in the cache folder: fetch them with `ktcpdump-tui --lab` once")
    return kernel
