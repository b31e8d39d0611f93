"""The debug symbols of the kernel and its modules, asked by run-time addresses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ktcpdump_tui import arch
from ktcpdump_tui.capture.functions import ArgumentLocation
from ktcpdump_tui.debuginfo.annotate import annotate
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.parameters import skb_parameters
from ktcpdump_tui.kernel.modules import loaded_modules
from ktcpdump_tui.model import InlineFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.kernel.symbols import Kallsyms
    from ktcpdump_tui.model import Instruction, SourceLine


@dataclass(slots=True)
class DebugSymbols:
    """``kernel`` has link-time addresses, ``slide`` bytes below the running ones; modules have run-time ones.

    ``open_module`` finds and opens the debug image of a loaded module, None where there is none; its second
    argument tells whether it may be fetched from elsewhere.
    """

    kallsyms: Kallsyms
    kernel: DebugImage | None
    slide: int
    open_module: Callable[[str, bool], DebugImage | None]
    cache: DiskCache = field(default_factory=DiskCache)
    _modules: dict[str, DebugImage | None] = field(default_factory=dict)

    def image_at(self, address: int) -> tuple[DebugImage, int] | None:
        """Return the image that has the code at a run-time address, and that address in the image."""
        found = self.kallsyms.lookup(address)
        module = found[0].module if found else None
        if module is None:
            return (self.kernel, address - self.slide) if self.kernel else None
        image = self.module(module)
        return (image, address) if image else None

    def module(self, name: str) -> DebugImage | None:
        """Return the debug image of a loaded module."""
        if name not in self._modules:
            self._modules[name] = self.open_module(name, True)
        return self._modules[name]

    @property
    def modules(self) -> dict[str, DebugImage]:
        """The module images opened so far."""
        return {name: image for name, image in self._modules.items() if image is not None}

    # ---- what SPEC needs (capture/resolve.py: LineSource)

    def source_line(self, address: int) -> SourceLine | None:
        """Return the line of the instruction at ``address``."""
        place = self.image_at(address)
        return place[0].source_line(place[1]) if place else None

    def statement_rows(self, low: int, high: int) -> Sequence[tuple[int, SourceLine]]:
        """Return the statement rows in [low, high)."""
        place = self.image_at(low)
        if place is None:
            return []
        image, start = place
        shift = low - start
        return [(row + shift, line) for row, line in image.statement_rows(start, high - shift)]

    def addresses_of(self, file: str, first: int, last: int) -> Sequence[int]:
        """Return the statement rows of these lines, in the kernel; where it has none, in loaded modules."""
        found = []
        if self.kernel:
            found += [row + self.slide for row, _ in self.kernel.addresses_of(file, first, last)]
        for image in self.modules.values():
            found += [row for row, _ in image.addresses_of(file, first, last)]
        return found or self._addresses_in_modules(file, first, last)

    def _addresses_in_modules(self, file: str, first: int, last: int) -> list[int]:
        """Look through all loaded modules, the one called like the file first, until one has the lines."""
        own = file.rpartition("/")[2].partition(".")[0].replace("-", "_")
        loaded = sorted(loaded_modules(), key=lambda name: name != own)
        for name in loaded:
            # the debug files of a hundred modules are not fetched to find one line
            image = self.module(name) if name == own else self._local_module(name)
            if image and (rows := image.addresses_of(file, first, last)):
                return [row for row, _ in rows]
        return []

    def _local_module(self, name: str) -> DebugImage | None:
        if name not in self._modules and (image := self.open_module(name, False)):
            self._modules[name] = image
        return self._modules.get(name)

    def function_file(self, address: int) -> str | None:
        """Return the file that declares the function at ``address``."""
        place = self.image_at(address)
        if place is None:
            return None
        chain = place[0].inline_chain(place[1])
        return chain[-1].file if chain else None

    # ---- what the plan needs

    def skb_arguments(self, address: int) -> tuple[ArgumentLocation, ...] | None:
        """Return where a function's skbs are at its entry, for variants too; None where unknown."""
        place = self.image_at(address)
        if place is None:
            return None
        found = skb_parameters(*place)
        if found is None:
            return None
        return tuple(
            ArgumentLocation(arch.ARGUMENT_REGISTERS.index(register), indirect, name)
            for name, register, indirect in found
            if register in arch.ARGUMENT_REGISTERS
        )

    def annotate(
        self, instructions: Sequence[Instruction], entry_only: Container[int] = frozenset()
    ) -> list[Instruction]:
        """Return the plan with source lines and inline chains.

        ``entry_only`` are the indices of entries of functions of which nothing else is in the plan: there may
        be thousands, so their functions are not decoded; nothing is inlined at an entry.
        """
        for name in {one.module for one in instructions if one.module}:
            self.module(name)
        whole = [one for one in instructions if one.index not in entry_only]
        annotated = {
            one.index: one for one in annotate(whole, self.kernel, self.slide, self.modules, self.cache)
        }
        entries = [one for one in instructions if one.index in entry_only]
        for one, source in zip(entries, self._sources(entries), strict=True):
            chain = (InlineFrame(one.symbol.partition(".")[0], source.file, source.line),) if source else ()
            annotated[one.index] = replace(one, source=source, inlined_by=chain)
        return [annotated[one.index] for one in instructions]

    def _sources(self, instructions: Sequence[Instruction]) -> list[SourceLine | None]:
        found: dict[int, SourceLine | None] = {}
        for name in {one.module for one in instructions}:
            image = self.module(name) if name else self.kernel
            some = [one for one in instructions if one.module == name]
            if image is not None:
                shift = 0 if name else self.slide
                lines = image.source_lines([one.address - shift for one in some])
                found |= {one.index: line for one, line in zip(some, lines, strict=True)}
        return [found.get(one.index) for one in instructions]

    def drop_line(self, location: int) -> str | None:
        """Return ``file:line`` of the call before a return address; not in a header where that can be."""
        place = self.image_at(location - 1)
        if place is None:
            return None
        chain = place[0].inline_chain(place[1])
        for level in chain:
            if not level.file.endswith(".h"):
                return f"{level.file}:{level.line}"
        return f"{chain[0].file}:{chain[0].line}" if chain else None
