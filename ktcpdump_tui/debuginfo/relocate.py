"""Relocating the debug sections of a kernel module, which is a relocatable file (psABI x86-64, 4.4).

Only the sections that are read are relocated, each into a private copy, all entries of a kind at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.debuginfo.sections import EM_X86_64
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.sections import ElfFile, Section
    from ktcpdump_tui.debuginfo.symbols import SymbolTable

_RELA = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

#: {e_machine: {relocation type: (bytes written, relative to the place)}}.
_KINDS: Final[dict[int, dict[int, tuple[int, bool]]]] = {
    EM_X86_64: {
        1: (8, False),  # R_X86_64_64
        2: (4, True),  # R_X86_64_PC32
        4: (4, True),  # R_X86_64_PLT32
        10: (4, False),  # R_X86_64_32
        11: (4, False),  # R_X86_64_32S
        24: (8, True),  # R_X86_64_PC64
    }
}


def relocate(elf: ElfFile, section: Section, base: int, symbols: SymbolTable) -> bytes:
    """Return the section's bytes with its relocations applied, the section itself being at ``base``.

    Symbols have the addresses that ``symbols`` gives them. Raises UserError on a relocation type that does
    not occur in debug information, and where one lies outside the section.
    """
    data = np.frombuffer(elf.data(section), np.uint8).copy()
    relocations = elf.relocations_of(section)
    if relocations is None:
        return data.tobytes()
    raw = elf.data(relocations)
    rows = np.frombuffer(raw, _RELA, count=len(raw) // _RELA.itemsize)
    kinds = _KINDS.get(elf.machine)
    if kinds is None:
        raise UserError(
            f"{elf.path} is a module for another machine (ELF machine {elf.machine}): its debug "
            "information cannot be relocated"
        )
    for kind in distinct(rows["type"]):
        if kind == 0:  # R_*_NONE
            continue
        if int(kind) not in kinds:
            raise UserError(f"{elf.path}: unexpected relocation type {kind} in {section.name}")
        width, relative = kinds[int(kind)]
        chosen = rows[rows["type"] == kind]
        if (chosen["offset"] > np.uint64(max(len(data) - width, 0))).any() or len(data) < width:
            raise UserError(f"{elf.path} is damaged: a relocation lies outside {section.name}")
        if (chosen["symbol"] >= len(symbols.values)).any():
            raise UserError(f"{elf.path} is damaged: a relocation of {section.name} names no symbol")
        values = symbols.values[chosen["symbol"]] + chosen["addend"].astype(np.uint64)
        if relative:
            values = values - (np.uint64(base) + chosen["offset"])
        # Each value as its bytes, lowest first; the places of one kind never overlap.
        octets = values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width]
        places = chosen["offset"].astype(np.intp)[:, None] + np.arange(width)
        data[places] = octets
    return data.tobytes()
