"""The symbol table of an ELF file (gABI figure 4-15), as numpy columns: never one object per symbol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.debuginfo.sections import SHT_SYMTAB

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ktcpdump_tui.debuginfo.sections import ElfFile

_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_STT_FUNC: Final = 2
_SHN_LORESERVE: Final = 0xFF00


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol: its address (as DebugImage counts addresses) and size in bytes (0 where unknown)."""

    name: str
    address: int
    size: int
    is_function: bool


class SymbolTable:
    """Look-ups in .symtab. ``bases`` gives the address of each section by index in a relocatable file."""

    def __init__(self, elf: ElfFile, bases: Mapping[int, int] | None) -> None:
        section = next((item for item in elf.sections if item.type == SHT_SYMTAB), None)
        self._strings = b""
        rows = np.zeros(0, _SYMBOL)
        if section is not None:
            data = elf.data(section)
            rows = np.frombuffer(data, _SYMBOL, count=len(data) // _SYMBOL.itemsize)
            if section.link < len(elf.sections):
                self._strings = bytes(elf.data(elf.sections[section.link]))
        self.rows = rows
        self.values: npt.NDArray[np.uint64] = rows["value"].astype(np.uint64)
        if bases is not None:
            offsets = np.zeros(0x10000, np.uint64)
            for index, base in bases.items():
                offsets[index] = base
            self.values = self.values + offsets[rows["shndx"]]

    def named(self, name: str) -> list[Symbol]:
        """Return the defined symbols called ``name``, in the order of the table."""
        wanted = name.encode() + b"\0"
        starts = []
        # The linker lets names share tails ("foo" inside "xfoo"), so every occurrence is a candidate.
        position = self._strings.find(wanted)
        while position >= 0:
            starts.append(position)
            position = self._strings.find(wanted, position + 1)
        if not starts:
            return []
        hits = np.flatnonzero(np.isin(self.rows["name"], np.array(starts, np.uint32)))
        return [self._symbol(int(row)) for row in hits if self.rows["shndx"][row]]

    def at(self, address: int) -> tuple[Symbol, int] | None:
        """Return the function ``address`` is in and the offset in bytes, None where there is none."""
        order = self._functions
        row = int(np.searchsorted(self.values[order], np.uint64(address), side="right")) - 1
        if row < 0:
            return None
        symbol = self._symbol(int(order[row]))
        offset = address - symbol.address
        return (symbol, offset) if offset < max(symbol.size, 1) else None

    def functions(self) -> list[Symbol]:
        """Return all functions by address: tens of thousands in a kernel."""
        return [self._symbol(int(row)) for row in self._functions]

    @cached_property
    def _functions(self) -> npt.NDArray[np.intp]:
        kinds = self.rows["info"] & 0xF
        chosen = np.flatnonzero((kinds == _STT_FUNC) & (self.rows["shndx"] != 0))
        # Of several at one address the largest is last, which is what the look-up finds.
        return chosen[np.lexsort((self.rows["size"][chosen], self.values[chosen]))]

    def _symbol(self, row: int) -> Symbol:
        start = int(self.rows["name"][row])
        name = self._strings[start : self._strings.find(b"\0", start)].decode("utf-8", "replace")
        kind = int(self.rows["info"][row]) & 0xF
        return Symbol(name, int(self.values[row]), int(self.rows["size"][row]), kind == _STT_FUNC)
