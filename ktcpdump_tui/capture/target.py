"""The kernel a capture runs on: all that is known of it before a packet moves."""

from __future__ import annotations

import json
import platform
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.filter import compile_filter, filter_c
from ktcpdump_tui.capture.functions import KernelTypes, survey
from ktcpdump_tui.capture.layout import KernelLayout
from ktcpdump_tui.capture.memory import capture_code
from ktcpdump_tui.capture.multi import multi_supported
from ktcpdump_tui.capture.resolve import Target, resolve
from ktcpdump_tui.capture.spec import Spec, Want, parse_specs
from ktcpdump_tui.capture.symbols import DebugSymbols
from ktcpdump_tui.debuginfo.debug_packages import debug_package
from ktcpdump_tui.debuginfo.find import DebugFiles
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.orc import OrcTable
from ktcpdump_tui.debuginfo.variables.btf_types import BtfTypes, known_types
from ktcpdump_tui.debuginfo.variables.cached import table_bytes
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel import modules
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.kcore import Kcore
from ktcpdump_tui.kernel.names import pack_names
from ktcpdump_tui.kernel.notes import kernel_build_id, module_build_id
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.kernel.text import NOP5, LiveText, ReservedCode
from ktcpdump_tui.kernel.unwind import orc_tables
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.trace import blobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.plan import Plan, PlannedFunction, Planner
    from ktcpdump_tui.debuginfo.debuginfod import Debuginfod
    from ktcpdump_tui.model import FrameRule, Instruction

#: So many functions are hooked at their entries one by one; more of them all at once.
MANY_ENTRIES: Final = 64

#: arch/x86/kernel/vmlinux.lds.S: where _text is linked, for a kernel without a debug image to tell.
LINKED_TEXT: Final = 0xFFFFFFFF81000000


class TargetKernel:
    """The running kernel, its debug symbols where there are any, and the compiled selection."""

    def __init__(self, options: CaptureOptions, debuginfod: Debuginfod | None = None) -> None:
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
        self.files = DebugFiles(platform.release(), self.build_id, debuginfod)
        self._why_no_symbols: UserError | None = None
        self._why_no_module: dict[str, str] = {}
        self.debug_image: Path | None = self._find_image(options.debug_image)
        image = DebugImage.open(self.debug_image) if self.debug_image else None
        self.symbols = DebugSymbols(self.kallsyms, image, self._slide(image), self._open_module)
        self._orc_tables: dict[str | None, OrcTable | None] = {}
        #: Whether entries go through the function tracer instead of kprobes; known after ``targets``.
        self.multi = False
        self._many = False

    @classmethod
    def running(cls, options: CaptureOptions, debuginfod: Debuginfod | None = None) -> TargetKernel:
        """Look at the running kernel. Raises UserError where something needed is missing or does not fit.

        ``debuginfod`` is asked for debug files that this machine does not have.
        """
        return cls(options, debuginfod)

    def _find_image(self, explicit: Path | None) -> Path | None:
        try:
            return self.files.vmlinux(explicit)
        except UserError as error:
            if explicit is not None:
                raise
            self._why_no_symbols = error
            return None

    def _slide(self, image: DebugImage | None) -> int:
        linked = LINKED_TEXT
        if image is not None and (found := image.symbols.named("_text")):
            linked = found[0].address
        return self.text_base - linked

    def _open_module(self, name: str, fetch: bool) -> DebugImage | None:
        before = len(self.files.tried)
        path = self.files.module(name, module_build_id(name), fetch)
        if path is None:
            why = self.files.tried[before:] or ["no debug file of it was found"]
            self._why_no_module[name] = "; ".join(dict.fromkeys(why))
            return None
        return DebugImage.open(path, modules.section_addresses(name))

    def without_symbols(self, instructions: Sequence[Instruction]) -> list[str]:
        """Return sentences on what will be missing for want of debug symbols, and how to get them."""
        missing = "no source lines, inlined functions and variables"
        images = (self.symbols.kernel, *self.symbols.modules.values())
        said = [image.warning for image in images if image is not None and image.warning]
        if self._why_no_symbols is not None and any(one.module is None for one in instructions):
            why = self._why_no_symbols
            said.append(f"{missing} of the kernel's functions: {why.message}\n  {why.remedy}")
        for name in sorted({one.module for one in instructions if one.module}):
            if self.symbols.module(name) is None:
                why_not = self._why_no_module.get(name, "no debug file of it was found")
                said.append(f"{missing} of module {name}: {why_not}\n  {debug_package(self.files.release)}")
        return said

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
        # The disassembler is loaded while clang compiles.
        from ktcpdump_tui.capture.plan import Planner

        return Planner(
            self.kallsyms,
            LiveText(self.memory, self.kallsyms, self.btf),
            self.types,
            Blacklist.read(),
            ReservedCode(self.memory, self.kallsyms),
            frames=self.frame_rules,
            arguments=self.symbols,
        )

    def targets(self, options: CaptureOptions) -> list[Target]:
        """Return what the SPECs mean. Raises UsageError."""
        lines = self.symbols if self.symbols.kernel else None
        targets: list[Target] = resolve(self.specs, self.kallsyms, lines) if self.specs else []
        if options.survey:
            targets += survey(self.kallsyms, self.types, modules.loaded_modules())
        # A kprobe on the tracer's own nop takes tens of milliseconds to arm: too slow for many of them.
        self._many = sum(one.want is Want.ENTRY for one in targets) > MANY_ENTRIES
        self.multi = self._many and multi_supported(targets[0].symbol.address)
        return targets

    def plan(self, options: CaptureOptions, targets: Sequence[Target] | None = None) -> Plan:
        """Return the plan of ``targets``, or of the SPECs.

        Raises UsageError; nothing in the kernel is touched.
        """
        if targets is None:
            targets = self.targets(options)
        behind_tracer = self._many and not self.multi
        return self._planner.plan(targets, options.max_probes, behind_tracer=behind_tracer)

    def plan_of(self, specs: Sequence[str], most: int | None = None) -> Plan:
        """Return the plan of further SPECs, of at most ``most`` probes. Raises UsageError and UserError."""
        lines = self.symbols if self.symbols.kernel else None
        return self._planner.plan(resolve(parse_specs(specs), self.kallsyms, lines), most)

    def trap_site(self) -> int | None:
        """Return an instruction that each getppid(2) executes and that traps when probed, None if unknown.

        Not the function tracer's nop: a probe there is a call.
        """
        found = self.kallsyms.find("__x64_sys_getppid")
        if not found:
            return None
        spec = Spec("getppid", Want.INSTRUCTIONS, name="getppid")
        whole = self._planner.plan([Target(found[0], Want.INSTRUCTIONS, spec, "getppid")], frames=False)
        usable = [one for one in whole.instructions if one.probe is ProbeState.ATTACHED and one.code != NOP5]
        return usable[0].address if usable else None

    def leaves_of(self, function: PlannedFunction) -> Sequence[Instruction]:
        """Return the instructions at which a function ends of which only the entry is in the plan."""
        spec = Spec(function.symbol.name, Want.INSTRUCTIONS, name=function.symbol.name)
        whole = self._planner.plan([Target(function.symbol, Want.INSTRUCTIONS, spec, function.function)])
        ends = {address for one in whole.functions for address in one.leaves}
        return [one for one in whole.instructions if one.address in ends]

    def returns_of(self, name: str) -> list[int]:
        """Return where the kernel's function ``name`` ends; nothing where there is none."""
        symbols = [one for one in self.kallsyms.find(name, "vmlinux") if one.is_text]
        spec = Spec(name, Want.INSTRUCTIONS, name=name)
        targets = [Target(one, Want.INSTRUCTIONS, spec, name) for one in symbols]
        whole = self._planner.plan(targets, frames=False)
        return [address for one in whole.functions for address in one.leaves]

    def frame_rules(self, addresses: Sequence[int]) -> list[FrameRule | None]:
        """Return where the frame is at each run-time address: from ORC, else from the debug image."""
        found: dict[int, FrameRule | None] = {}
        by_module: dict[str | None, list[int]] = {}
        for address in addresses:
            symbol = self.kallsyms.lookup(address)
            by_module.setdefault(symbol[0].module if symbol else None, []).append(address)
        for module, some in by_module.items():
            table = self._orc(module)
            if table is not None:
                found |= dict(zip(some, table.rules(some), strict=True))
            for address in some:
                if found.get(address) is None and (place := self.symbols.image_at(address)):
                    found[address] = place[0].frame_rules([place[1]])[0]
        return [found.get(address) for address in addresses]

    def _orc(self, module: str | None) -> OrcTable | None:
        """Return the unwind table of the kernel or a module, from its memory."""
        if module not in self._orc_tables:
            found = orc_tables(self.kallsyms, self.memory, module)
            self._orc_tables[module] = OrcTable(*found) if found else None
        return self._orc_tables[module]

    def variable_tables(self, instructions: Sequence[Instruction]) -> dict[str, bytes]:
        """Return what showing variables needs: {blob name: data}, one for each debug image."""
        tables = {blobs.variables_of(name): data for name, data in self.tables_of(instructions).items()}
        # the structures people ask for by name, also where no debug symbols are
        tables[blobs.variables_of("(types)")] = known_types(self.btf).to_bytes()
        return tables

    def names(self) -> dict[str, bytes]:
        """Return what addresses and source files are called: {blob name: data}."""
        images = {"": self.symbols.kernel, **self.symbols.modules}
        builds = {name: (one.build_id, one.compilation_directory) for name, one in images.items() if one}
        return {blobs.BUILDS: json.dumps(builds).encode(), blobs.KALLSYMS: pack_names(self.kallsyms)}

    def tables_of(self, instructions: Sequence[Instruction]) -> dict[str | None, bytes]:
        """Return the variables at ``instructions`` by module (None: the kernel), where symbols are known."""
        tables: dict[str | None, bytes] = {}
        by_module: dict[str | None, list[int]] = {}
        for one in instructions:
            by_module.setdefault(one.module, []).append(one.address)
        for module, addresses in by_module.items():
            image = self.symbols.module(module) if module else self.symbols.kernel
            if image is None:
                continue
            slide = 0 if module else self.slide
            asked = [address - slide for address in addresses]
            tables[module] = table_bytes(image, asked, slide, self.symbols.cache)
        return tables

    def capture_code(self, paths: Sequence[str]) -> tuple[str, int]:
        """Return C for --capture and the bytes it needs. Raises UsageError for a path without a meaning."""
        if not paths:
            return capture_code([])
        from ktcpdump_tui.debuginfo.expressions import capture_path

        return capture_code([capture_path(path, BtfTypes(self.btf)) for path in paths])

    def close(self) -> None:
        """Let go of memory maps and descriptors."""
        self.memory.close()
        for image in (self.symbols.kernel, *self.symbols.modules.values()):
            if image is not None:
                image.close()
