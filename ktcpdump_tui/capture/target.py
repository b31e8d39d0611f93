"""The kernel a capture runs on: all that is known of it before a packet moves."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.filter import compile_filter, filter_c
from ktcpdump_tui.capture.functions import KernelTypes, survey
from ktcpdump_tui.capture.layout import KernelLayout
from ktcpdump_tui.capture.plan import Plan, Planner
from ktcpdump_tui.capture.resolve import Target, resolve
from ktcpdump_tui.capture.spec import Spec, Want, parse_specs
from ktcpdump_tui.capture.symbols import DebugSymbols
from ktcpdump_tui.debuginfo.find import DebugFiles
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.orc import OrcTable
from ktcpdump_tui.debuginfo.variables import build_table
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel import modules
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.kcore import Kcore
from ktcpdump_tui.kernel.notes import kernel_build_id, module_build_id
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.kernel.text import LiveText, ReservedCode
from ktcpdump_tui.trace import blobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.plan import PlannedFunction
    from ktcpdump_tui.model import FrameRule, Instruction

#: arch/x86/kernel/vmlinux.lds.S: where _text is linked, for a kernel without a debug image to tell.
LINKED_TEXT: Final = 0xFFFFFFFF81000000


@dataclass(slots=True)
class _OrcSource:
    """ORC tables of the kernel and its modules, read from their memory when first asked for."""

    kallsyms: Kallsyms
    memory: Kcore
    tables: dict[str | None, OrcTable | None] = field(default_factory=dict)

    def table(self, module: str | None) -> OrcTable | None:
        if module not in self.tables:
            self.tables[module] = self._read(module)
        return self.tables[module]

    def _read(self, module: str | None) -> OrcTable | None:
        if module is None:
            bounds = [
                self.kallsyms.address_of(name)
                for name in ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind")
            ]
            if None in bounds:
                return None
            start, stop, entries = (bound or 0 for bound in bounds)
            count = (stop - start) // 4
        else:
            sections = modules.section_addresses(module)
            start, entries = sections.get(".orc_unwind_ip", 0), sections.get(".orc_unwind", 0)
            if not start or not entries:
                return None
            count = self._count_of(start, entries)
        try:
            return OrcTable(self.memory.read(start, count * 4), self.memory.read(entries, count * 6), start)
        except LookupError:
            return None

    def _count_of(self, start: int, entries: int) -> int:
        """A module's tables lie one behind the other; sysfs gives their addresses and not their sizes."""
        return (entries - start) // 4 if entries > start else 0


class TargetKernel:
    """The running kernel, its debug symbols where there are any, and the compiled selection."""

    def __init__(self, options: CaptureOptions) -> None:
        tunnel = options.tunnel_expression
        #: The expression goes first: a mistake in it is the user's commonest and costs nothing to tell.
        self.filter_c: str = filter_c(
            compile_filter(options.expression, snaplen=options.snaplen),
            compile_filter(tunnel, snaplen=options.snaplen) if tunnel else None,
        )
        self.specs: list[Spec] = [] if options.survey and not options.specs else parse_specs(options.specs)
        self.kallsyms = Kallsyms.read()
        self.btf = Btf.read()
        self.layout = KernelLayout.from_btf(self.btf)
        self.types = KernelTypes(self.btf)
        self.memory = Kcore()
        self.build_id = kernel_build_id()
        self.files = DebugFiles(platform.release(), self.build_id)
        self.why_no_symbols: UserError | None = None
        self.debug_image: Path | None = self._find_image(options.debug_image)
        image = DebugImage.open(self.debug_image) if self.debug_image else None
        self.symbols = DebugSymbols(self.kallsyms, image, self._slide(image), self._open_module)
        self._orc = _OrcSource(self.kallsyms, self.memory)

    @classmethod
    def running(cls, options: CaptureOptions) -> TargetKernel:
        """Look at the running kernel. Raises UserError where something needed is missing or does not fit."""
        return cls(options)

    def _find_image(self, explicit: Path | None) -> Path | None:
        try:
            return self.files.vmlinux(explicit)
        except UserError as error:
            if explicit is not None:
                raise
            self.why_no_symbols = error
            return None

    def _slide(self, image: DebugImage | None) -> int:
        linked = LINKED_TEXT
        if image is not None and (found := image.symbols.named("_text")):
            linked = found[0].address
        return self.text_base - linked

    def _open_module(self, name: str) -> DebugImage | None:
        path = self.files.module(name, module_build_id(name))
        return DebugImage.open(path, modules.section_addresses(name)) if path else None

    @property
    def slide(self) -> int:
        """Run-time addresses of the kernel less its link-time addresses, in bytes."""
        return self.symbols.slide

    @cached_property
    def text_base(self) -> int:
        """Run-time address of _text."""
        address = self.kallsyms.address_of("_text")
        if address is None:
            raise UserError(
                "/proc/kallsyms does not name _text", "capture in a virtual machine: ktcpdump-tui --lab"
            )
        return address

    def section_addresses(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """Return {module: {section: load address}}."""
        return {name: modules.section_addresses(name) for name in names}

    # ---- the plan

    @cached_property
    def _planner(self) -> Planner:
        return Planner(
            self.kallsyms,
            LiveText(self.memory, self.kallsyms, self.btf),
            self.types,
            Blacklist.read(),
            ReservedCode(self.memory, self.kallsyms),
            frames=self.frame_rules,
            arguments=self.symbols,
        )

    def plan(self, options: CaptureOptions) -> Plan:
        """Return the plan of the SPECs. Raises UsageError; nothing in the kernel is touched."""
        lines = self.symbols if self.symbols.kernel else None
        targets: list[Target] = resolve(self.specs, self.kallsyms, lines) if self.specs else []
        if options.survey:
            targets += survey(self.kallsyms, self.types, modules.loaded_modules())
        return self._planner.plan(targets, options.max_probes)

    def leaves_of(self, function: PlannedFunction) -> Sequence[Instruction]:
        """Return the instructions at which a function ends of which only the entry is in the plan."""
        spec = Spec(function.symbol.name, Want.INSTRUCTIONS, name=function.symbol.name)
        whole = self._planner.plan([Target(function.symbol, Want.INSTRUCTIONS, spec, function.function)])
        ends = {address for one in whole.functions for address in one.leaves}
        return [one for one in whole.instructions if one.address in ends]

    def frame_rules(self, addresses: Sequence[int]) -> list[FrameRule | None]:
        """Return where the frame is at each run-time address: from ORC in memory, else from the debug image."""
        found: dict[int, FrameRule | None] = {}
        by_module: dict[str | None, list[int]] = {}
        for address in addresses:
            symbol = self.kallsyms.lookup(address)
            by_module.setdefault(symbol[0].module if symbol else None, []).append(address)
        for module, some in by_module.items():
            table = self._orc.table(module)
            if table is not None:
                found |= dict(zip(some, table.rules(some), strict=True))
            for address in some:
                if found.get(address) is None and (place := self.symbols.image_at(address)):
                    found[address] = place[0].frame_rules([place[1]])[0]
        return [found.get(address) for address in addresses]

    def variable_tables(self, instructions: Sequence[Instruction]) -> dict[str, bytes]:
        """Return what a reader of the trace needs to show variables: {blob name: data}, one for each image."""
        tables: dict[str, bytes] = {}
        by_module: dict[str | None, list[int]] = {}
        for one in instructions:
            by_module.setdefault(one.module, []).append(one.address)
        for module, addresses in by_module.items():
            image = self.symbols.module(module) if module else self.symbols.kernel
            if image is None:
                continue
            slide = 0 if module else self.slide
            table = build_table(image, [address - slide for address in addresses], slide)
            tables[blobs.variables_of(module)] = table.to_bytes()
        return tables

    def capture_code(self, paths: Sequence[str]) -> tuple[str, int]:
        """Return C for --capture and the bytes it needs."""
        if not paths:
            return "", 8
        from ktcpdump_tui.capture.memory import capture_code

        return capture_code(paths, self.btf)

    def close(self) -> None:
        """Let go of memory maps and descriptors."""
        self.memory.close()
        for image in (self.symbols.kernel, *self.symbols.modules.values()):
            if image is not None:
                image.close()
