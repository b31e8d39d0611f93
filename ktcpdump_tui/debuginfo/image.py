"""A file with debug symbols: a vmlinux, or a module's debug file, opened without reading it."""

from __future__ import annotations

import io
import struct
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from ktcpdump_tui.debuginfo import altlink
from ktcpdump_tui.debuginfo.cfi import FrameTable
from ktcpdump_tui.debuginfo.debuglink import has_debug_info, link_name
from ktcpdump_tui.debuginfo.dwarf import AT_COMP_DIR
from ktcpdump_tui.debuginfo.errors import reading
from ktcpdump_tui.debuginfo.inlines import InlineIndex
from ktcpdump_tui.debuginfo.lines import LineIndex
from ktcpdump_tui.debuginfo.orc import OrcTable, orc_of
from ktcpdump_tui.debuginfo.reader import DwarfReader
from ktcpdump_tui.debuginfo.relocate import relocate
from ktcpdump_tui.debuginfo.sections import ET_REL, SHT_NOBITS, ElfFile
from ktcpdump_tui.debuginfo.symbols import SymbolTable
from ktcpdump_tui.debuginfo.units import UnitIndex, subprogram_at
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DWARFInfo

    from ktcpdump_tui.debuginfo.ranges import Ranges
    from ktcpdump_tui.model import FrameRule, InlineFrame, SourceLine

#: The sections pyelftools' DWARFInfo is made from; those a file lacks are None.
_DWARF_SECTIONS: Final = (
    "debug_info", "debug_aranges", "debug_abbrev", "debug_frame", "eh_frame", "debug_str", "debug_loc",
    "debug_ranges", "debug_line", "debug_pubtypes", "debug_pubnames", "debug_addr", "debug_str_offsets",
    "debug_line_str", "debug_loclists", "debug_rnglists", "debug_sup", "gnu_debugaltlink", "debug_types",
)  # fmt: skip

#: Where the first section goes if nobody gave an address: not 0, which is DWARF's "no address".
_FIRST_FREE: Final = 0x1000
#: How far the first section without an address is from the last one that has one: beyond its end.
_GAP: Final = 1 << 26


class DebugImage:
    """Look-ups in one file with DWARF (2 to 5), by address.

    For a vmlinux, addresses are link-time ones (run-time address - KASLR slide). For a module
    (ET_REL) they are what ``section_addresses`` makes them: run-time ones if it holds what
    /sys/module/NAME/sections says. Sections that are not named there (all, for a module that is not loaded)
    are laid out behind those, without overlap; ``section_addresses`` tells where.
    Not safe for several threads at once: pyelftools' streams have positions.
    """

    def __init__(
        self, elf: ElfFile, section_addresses: Mapping[str, int], supplementary: DebugImage | None = None
    ) -> None:
        self.elf = elf
        self.path = elf.path
        self.relocatable = elf.type == ET_REL
        self.section_addresses = _layout(elf, section_addresses)
        self.supplementary = supplementary
        self._relocated: dict[int, bytes] = {}

    @classmethod
    def open(
        cls, path: Path | str, section_addresses: Mapping[str, int] | None = None, *, partial: bool = False
    ) -> Self:
        """Open ``path``; ``section_addresses`` (bytes, by section name) matters for modules only.

        Raises UserError where the file cannot be read, is not ELF, or has no debug information
        (unless ``partial``: then only the symbol table, ORC data and build-id serve).
        """
        elf = ElfFile.open(Path(path))
        try:
            with reading(elf.path, "its section table"):
                has_dwarf = has_debug_info(elf)
                if not has_dwarf and not partial:
                    raise stripped(elf)
                other = altlink.supplementary_path(elf) if has_dwarf else None
                supplementary = cls.open(other) if other else None
                return cls(elf, section_addresses or {}, supplementary)
        except BaseException:
            elf.close()
            raise

    def close(self) -> None:
        """Close the file; no more look-ups after this."""
        if self.supplementary:
            self.supplementary.close()
        self.elf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def compilation_directory(self) -> str | None:
        """Where the compiler was run (DW_AT_comp_dir of the first unit that says so), None if none does."""
        for offset in self.reader.offsets():
            with reading(self.path, ".debug_info"):
                found = self.reader.unit(offset).top.text(AT_COMP_DIR)
            if found:
                return found
        return None

    @cached_property
    def build_id(self) -> str | None:
        """The build-id in hexadecimal (.note.gnu.build-id, or .notes of a vmlinux), None if there is none."""
        with reading(self.path, "its notes"):
            return self.elf.build_id

    @property
    def has_debug_info(self) -> bool:
        """Whether there is a .debug_info section with contents."""
        return has_debug_info(self.elf)

    @cached_property
    def warning(self) -> str | None:
        """What a user should know of this file's shortcomings, one sentence; None if there is nothing."""
        with reading(self.path, ".debug_info"):
            units = (self.reader.unit(offset) for offset in self.reader.offsets())
            # a kernel begins with assembler code, whose units are whole in any build
            first = next((unit for unit in units if not unit.is_assembler), None)
            if first is None or not first.is_split:
                return None
        return (
            f"{self.path} was built with CONFIG_DEBUG_INFO_SPLIT: its lines are shown, but inlined functions "
            "and variables are in .dwo files, which are not read"
        )

    @cached_property
    def symbols(self) -> SymbolTable:
        """The symbol table; addresses as everywhere in this class."""
        with reading(self.path, "its symbol table"):
            return SymbolTable(self.elf, self._bases if self.relocatable else None)

    @cached_property
    def dwarf(self) -> DWARFInfo:
        """The whole as pyelftools sees it; its streams are windows on the mapped file."""
        # Imported here because lines, inline chains and frames do without it: 40 ms of every start.
        from elftools.dwarf.dwarfinfo import DwarfConfig, DWARFInfo

        descriptors = {f"{name}_sec": self._descriptor(f".{name}") for name in _DWARF_SECTIONS}
        info = DWARFInfo(
            DwarfConfig(little_endian=True, machine_arch="x64", default_address_size=8), **descriptors
        )
        if self.supplementary:
            info.supplementary_dwarfinfo = self.supplementary.dwarf
        return info

    @cached_property
    def reader(self) -> DwarfReader:
        """Our own reader of .debug_info: for few attributes of many entries, much faster than ``dwarf``."""
        return DwarfReader(self)

    @cached_property
    def units(self) -> UnitIndex:
        """The compilation units by address."""
        return UnitIndex(self.reader)

    @cached_property
    def lines(self) -> LineIndex:
        """The line tables."""
        return LineIndex(self.reader, self.units)

    @cached_property
    def inlines(self) -> InlineIndex:
        """The inlined calls of each function."""
        return InlineIndex(self.reader, self.units, self.lines)

    def source_line(self, address: int) -> SourceLine | None:
        """Return the row of the line table in force at ``address``, None where no unit has code."""
        with reading(self.path, ".debug_line"):
            return self.lines.source_line(address)

    def source_lines(self, addresses: Sequence[int]) -> list[SourceLine | None]:
        """Return ``source_line`` of each address; fastest in ascending order."""
        with reading(self.path, ".debug_line"):
            return self.lines.source_lines(addresses)

    def statement_rows(self, low: int, high: int) -> list[tuple[int, SourceLine]]:
        """Return (address, line) of each statement that begins in [low, high), which is one function's."""
        with reading(self.path, ".debug_line"):
            return self.lines.statement_rows(low, high)

    def addresses_of(self, file: str, first: int, last: int) -> list[tuple[int, SourceLine]]:
        """Return (address, line) of the statements on lines ``first`` to ``last`` of ``file``.

        ``file`` is a path in the source tree or the end of one (``ip_input.c``, ``ipv4/ip_input.c``).
        """
        with reading(self.path, ".debug_line"):
            return self.lines.addresses_of(file, first, last)

    @cached_property
    def orc(self) -> OrcTable | None:
        """The ORC table of this file, None where it has none (CONFIG_UNWINDER_ORC is off, not x86-64)."""
        with reading(self.path, ".orc_unwind"):
            return orc_of(self)

    @cached_property
    def cfi(self) -> FrameTable:
        """The .debug_frame of this file; empty where it has none."""
        return FrameTable(self.section_bytes(".debug_frame"))

    def frame_rules(self, addresses: Sequence[int]) -> list[FrameRule | None]:
        """Return the rule for the CFA at each address from .debug_frame, None where it has none."""
        with reading(self.path, ".debug_frame"):
            return self.cfi.rules(addresses)

    def inline_chain(self, address: int) -> tuple[InlineFrame, ...]:
        """Return the functions ``address`` belongs to, innermost first; the last exists in machine code."""
        with reading(self.path, ".debug_info"):
            return self.inlines.chain(address, self.lines.source_line(address))

    def section_bytes(self, name: str) -> memoryview:
        """Return a section's bytes: uncompressed, relocated in a module, empty if it is missing."""
        section = self.elf.section(name)
        if section is None:
            return memoryview(b"")
        if not self.relocatable or self.elf.relocations_of(section) is None:
            return self.elf.data(section)
        if section.index not in self._relocated:
            base = self._bases.get(section.index, 0)
            self._relocated[section.index] = relocate(self.elf, section, base, self.symbols)
        return memoryview(self._relocated[section.index])

    def unit_at(self, address: int) -> CompileUnit | None:
        """Return the compilation unit with code at ``address``, as pyelftools has it."""
        with reading(self.path, ".debug_aranges and .debug_info"):
            unit = self.units.at(address)
            return None if unit is None else self.dwarf.get_CU_at(unit.offset)

    def subprogram_at(self, address: int) -> DIE | None:
        """Return the DW_TAG_subprogram whose machine code ``address`` is in (not an inlined one).

        A ``.cold`` part belongs to the subprogram it was split from: its DW_AT_ranges cover both.
        """
        with reading(self.path, ".debug_info"):
            unit = self.units.at(address)
            offset = subprogram_at(unit, address) if unit else None
            if unit is None or offset is None:
                return None
            return self.dwarf.get_CU_at(unit.offset).get_DIE_from_refaddr(offset)

    def pc_ranges(self, die: DIE) -> Ranges:
        """Return the address ranges [low, high) of a DIE: DW_AT_low_pc/high_pc or DW_AT_ranges."""
        with reading(self.path, "address ranges"):
            unit = self.reader.unit(cast("CompileUnit", die.cu).cu_offset)
            return unit.ranges_of(unit.entry(die.offset))

    @cached_property
    def _bases(self) -> dict[int, int]:
        """Address of each section by index."""
        return {
            section.index: self.section_addresses.get(section.name, 0)
            for section in self.elf.sections
            if section.allocated
        }

    def _descriptor(self, name: str) -> DebugSectionDescriptor | None:
        from elftools.dwarf.dwarfinfo import DebugSectionDescriptor

        section = self.elf.section(name)
        if section is None or not section.size or section.type == SHT_NOBITS:
            return None
        if self.relocatable and self.elf.relocations_of(section) is not None:
            data = self.section_bytes(name)
            return DebugSectionDescriptor(io.BytesIO(data), name, section.offset, len(data), section.address)
        size = section.size if not self.elf.is_packed(section) else len(self.elf.data(section))
        return DebugSectionDescriptor(self.elf.stream(section), name, section.offset, size, section.address)


def stripped(elf: ElfFile) -> UserError:
    """Return what to say of a file without .debug_info."""
    name = link_name(elf)
    if name:
        return UserError(
            f"{elf.path} has no debug symbols of its own: they are in a file called {name}, which is missing "
            "or of another build",
            f"put {name} beside it, or name it with -d",
        )
    return UserError(
        f"{elf.path} has no debug symbols (no .debug_info section): it is stripped",
        "install the kernel's debug package (Debian: apt-get install linux-image-$(uname -r)-dbg; Fedora: "
        "dnf debuginfo-install kernel; Ubuntu: apt-get install linux-image-unsigned-$(uname -r)-dbgsym), "
        "or use --lab",
    )


def _layout(elf: ElfFile, given: Mapping[str, int]) -> dict[str, int]:
    """Return an address for every allocated section of a relocatable file."""
    if elf.type != ET_REL:
        return {section.name: section.address for section in elf.sections if section.allocated}
    addresses: dict[str, int] = {}
    # Within the reach of 32-bit relocations from the sections that were given an address.
    free = max(given.values()) + _GAP if given else _FIRST_FREE
    for section in elf.sections:
        if not section.allocated or section.name in addresses:
            continue
        if section.name in given:
            addresses[section.name] = given[section.name]
            continue
        alignment = max(section.alignment, 1)
        if alignment & (alignment - 1):
            raise struct.error(f"alignment of {section.name} is not a power of two")
        free = (free + alignment - 1) & ~(alignment - 1)
        addresses[section.name] = free
        free += section.size
    return addresses
