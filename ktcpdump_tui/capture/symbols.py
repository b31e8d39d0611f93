"""The debug symbols of the kernel and its modules, asked by run-time addresses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ktcpdump_tui import arch
from ktcpdump_tui.capture.functions import ArgumentLocation
from ktcpdump_tui.debuginfo.parameters import skb_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.kernel.symbols import Kallsyms
    from ktcpdump_tui.model import Instruction, SourceLine


@dataclass(slots=True)
class DebugSymbols:
    """``kernel`` has link-time addresses, ``slide`` bytes below the running ones; modules have run-time ones.

    ``open_module`` finds and opens the debug image of a loaded module, None where there is none.
    """

    kallsyms: Kallsyms
    kernel: DebugImage | None
    slide: int
    open_module: Callable[[str], DebugImage | None]
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
            self._modules[name] = self.open_module(name)
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
        """Return the statement rows of these lines, in the kernel and in the modules already opened."""
        found = []
        if self.kernel:
            found += [row + self.slide for row, _ in self.kernel.addresses_of(file, first, last)]
        for image in self.modules.values():
            found += [row for row, _ in image.addresses_of(file, first, last)]
        return found

    def function_file(self, address: int) -> str | None:
        """Return the file that declares the function at ``address``."""
        place = self.image_at(address)
        if place is None:
            return None
        chain = place[0].inline_chain(place[1])
        return chain[-1].file if chain else None

    # ---- what the plan needs

    def skb_arguments(self, address: int) -> tuple[ArgumentLocation, ...] | None:
        """Return where the skbs of a compiler's variant of a function are at its entry; None where unknown."""
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

    def annotate(self, instructions: Sequence[Instruction]) -> list[Instruction]:
        """Return the plan with source lines and inline chains."""
        lines: list[Instruction] = list(instructions)
        by_module: dict[str | None, list[int]] = {}
        for number, one in enumerate(instructions):
            by_module.setdefault(one.module, []).append(number)
        for module, numbers in by_module.items():
            image = self.module(module) if module else self.kernel
            if image is None:
                continue
            shift = 0 if module else self.slide
            sources = image.source_lines([instructions[n].address - shift for n in numbers])
            for number, source in zip(numbers, sources, strict=True):
                one = instructions[number]
                chain = image.inline_chain(one.address - shift)
                lines[number] = replace(one, source=source, inlined_by=chain)
        return lines

    def drop_line(self, location: int) -> str | None:
        """Return ``file:line`` of the call before a return address: outside headers where there is such a level."""
        place = self.image_at(location - 1)
        if place is None:
            return None
        chain = place[0].inline_chain(place[1])
        for level in chain:
            if not level.file.endswith(".h"):
                return f"{level.file}:{level.line}"
        return f"{chain[0].file}:{chain[0].line}" if chain else None
