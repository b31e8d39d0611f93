"""The BPF program: its text from BTF, the selection and the expression; compiled and loaded by BCC.

The only module that imports bcc. It is the distribution's package (python3-bpfcc, python3-bcc): PyPI's
"bcc" is another project, and the distribution's is importable from any Python 3 by its file location.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.util
import os
import struct
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui import arch
from ktcpdump_tui.capture.counters import Counters
from ktcpdump_tui.capture.guard import runs_skipped
from ktcpdump_tui.capture.multi import load_program
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.stacks import InterruptStacks
from ktcpdump_tui.trace import layout as trace_layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

    from ktcpdump_tui.capture.layout import KernelLayout

#: Where distributions put BCC's Python module.
BCC_LOCATIONS: Final = (
    "/usr/lib/python3/dist-packages/bcc",
    "/usr/lib/python3*/site-packages/bcc",
    "/usr/local/lib/python3*/*-packages/bcc",
)

#: Bytes of struct skb_shared_info kept: nr_frags, gso_size, gso_segs, gso_type, frag_list, dataref ...
SHARED_INFO_BYTES: Final = 64

#: BCC optimises by itself what clang hands it (bcc: BPFModule::run_pass_manager): more here is done twice.
#: Line tables of our own program would be a tenth of the time to compile, and nobody reads them.
_COMPILER_FLAGS: Final = ("-w", "-O1", "-g0", "-Xclang", "-disable-llvm-passes")

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class InstructionFlag(enum.IntFlag):
    """How the program treats a probed instruction (bpf/trace.c: I_*)."""

    HIDDEN = 1  # probed for its frame only; makes no event
    LEAVES = 2  # a return or a tail call: the frame ends here
    INDIRECT = 4  # the CFA is the value stored at register + offset
    NO_SKB = 8  # entry of a function without an skb: takes its caller's packet
    PUSH = 16  # entry of a function that has other probed instructions


#: bpf/trace.c: ARG_NONE, ARG_POINTER_TO.
NO_ARGUMENT: Final = 0xFF
POINTER_TO: Final = 0x80


@dataclass(frozen=True, slots=True)
class InstructionEntry:
    """What the program has to know of one probed address.

    ``arguments`` are positions among the integer arguments, with POINTER_TO where the argument is a
    ``struct sk_buff **``.
    """

    address: int
    index: int
    function: int
    cfa_register: int
    cfa_offset: int
    flags: InstructionFlag
    arguments: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """Return struct insn (bpf/trace.c), 16 bytes."""
        first, second = (*self.arguments, NO_ARGUMENT, NO_ARGUMENT)[:2]
        return struct.pack(
            "<IiIBBBB",
            self.index,
            self.cfa_offset,
            self.function,
            self.cfa_register,
            int(self.flags),
            first,
            second,
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What is decided once per packet, beside the expression."""

    netns: int | None = None
    ifname: str | None = None
    mark: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ProgramText:
    """All that the program's text depends on.

    ``origins`` are (start, end, origin name) address ranges of the functions that copy an skb header;
    ``morph`` is that of skb_morph; ``extra`` is C text for --capture, ``extra_bytes`` its room; ``multi``
    where entries are also hooked through the function tracer; ``trampolines`` are the return addresses that
    other tools' return probes put in place of the caller's, 0 where the kernel has none; ``cpus`` is the
    highest number of a CPU that may come, plus 1.
    """

    layout: KernelLayout
    filter_c: str
    selection: Selection
    snaplen: int
    stack_bytes: int
    instructions: int
    event_bytes: int
    note_bytes: int
    origins: tuple[tuple[int, int, str], ...] = ()
    extra: str = ""
    extra_bytes: int = 8
    multi: bool = False
    morph: tuple[int, int] = (0, 0)
    cpus: int = 1
    stacks: InterruptStacks = field(default_factory=InterruptStacks)
    trampolines: tuple[int, int] = (0, 0)

    def render(self) -> str:
        """Return the C text for BCC."""
        macros: dict[str, int | str] = dict(self.layout.macros)
        select = self.selection
        macros |= {
            "STACK_SIZE": arch.STACK_SIZE,
            "STACK_BYTES": self.stack_bytes,
            "SNAPLEN": _round8(self.snaplen),
            "SKB_STRUCT": self.layout.skb_bytes,
            "SKB_BYTES": _round8(self.layout.skb_bytes),
            "SHARED_INFO_BYTES": SHARED_INFO_BYTES,
            "EXTRA_BYTES": _round8(self.extra_bytes),
            "INSNS": max(self.instructions, 1),
            "LAST_STATES": 4096,
            "EVENT_PAGES": self.event_bytes // _PAGE,
            "NOTE_PAGES": self.note_bytes // _PAGE,
            "VLAN_PRESENT(skb)": self.layout.vlan_present,
            "KFREE_HAS_REASON": int(self.layout.kfree_has_reason),
            "CONSUME_HAS_LOCATION": int(self.layout.consume_has_location),
            "SELECT_MARK": int(select.mark is not None),
            "SELECT_IFNAME": int(select.ifname is not None),
            "SELECT_NETNS": int(select.netns is not None),
            "MULTI": int(self.multi),
            "CPUS": self.cpus,
            "IRQ_STACKS": f"{self.stacks.start:#x}ULL",
            "IRQ_STACKS_BYTES": f"{self.stacks.end - self.stacks.start:#x}ULL",
            "RETHOOK": f"{self.trampolines[0] or 1:#x}ULL",
            "RETURN_HANDLER": f"{self.trampolines[1] or 1:#x}ULL",
            "MORPH_START": f"{self.morph[0]:#x}ULL",
            "MORPH_END": f"{self.morph[1]:#x}ULL",
            "COPY_ORIGINS": " ".join(
                f"if (caller >= {low:#x}ULL && caller < {high:#x}ULL) origin = ORIGIN_{name.upper()};"
                for low, high, name in self.origins
            ),
            "CAPTURE_EXTRA": self.extra,
        }
        if select.mark is not None:
            macros["MARK_VALUE"], macros["MARK_MASK"] = select.mark
        if select.ifname is not None:
            low, high = struct.unpack("<QQ", select.ifname.encode().ljust(16, b"\0"))
            macros["IFNAME_LOW"], macros["IFNAME_HIGH"] = f"{low:#x}ULL", f"{high:#x}ULL"
        if select.netns is not None:
            macros["NETNS"] = select.netns
        defines = "\n".join(f"#define {name} {value}" for name, value in macros.items())
        body = resources.files("ktcpdump_tui.capture").joinpath("bpf/trace.c").read_text()
        return (
            "#include <uapi/linux/ptrace.h>\n"
            "#define offsetof(type, member) __builtin_offsetof(type, member)\n"
            f"{defines}\n{self.filter_c}\n{body}"
        )


class Program:
    """The loaded program. ``event_ring`` and ``note_ring`` are map descriptors for capture/ring.py."""

    #: The functions attached to kprobe events, by their names in bpf/trace.c.
    KPROBES: Final = (
        "on_entry",
        "on_instruction",
        "on_copy",
        "on_fragment",
        "on_merge",
        "on_build",
        "on_reuse",
        "on_built",
        "on_release",
    )
    RAW_TRACEPOINTS: Final = ("kfree_skb", "consume_skb")

    def __init__(self, text: ProgramText) -> None:
        """Compile and load; UserError where BCC is missing or this kernel refuses the program."""
        bcc = import_bcc()
        self.text = text
        self._bcc = bcc
        try:
            self._bpf: Any = bcc.BPF(text=text.render(), cflags=list(_COMPILER_FLAGS))
            self.functions: dict[str, int] = {
                name: self._bpf.load_func(name, bcc.BPF.KPROBE).fd for name in self.KPROBES
            }
            self.multi = load_program(self._bpf.dump_func("on_entry_multi")) if text.multi else -1
            for cpu, top in enumerate(text.stacks.tops):
                self._bpf["irq_stack_top"][ctypes.c_int(cpu)] = ctypes.c_uint64(top)
            emitter = self._bpf["emitter"]
            emitter[ctypes.c_int(0)] = ctypes.c_int(self._bpf.load_func("on_emit", bcc.BPF.KPROBE).fd)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"The kernel or BCC refused the BPF program: {error}",
                "see what this machine lacks: ktcpdump-tui --check",
            ) from error
        self.event_bytes = text.event_bytes
        self.note_bytes = text.note_bytes
        self.event_ring: int = self._bpf["events"].map_fd
        self.note_ring: int = self._bpf["notes"].map_fd
        self.counters = Counters(self._bpf["cpus"].map_fd, self._bpf["packet_count"].map_fd, text.cpus)
        self._limit = 0

    def attach_tracepoints(self) -> None:
        """Attach the two ends of a packet's life; the kernel detaches them with our descriptors."""
        for name in self.RAW_TRACEPOINTS:
            self._bpf.attach_raw_tracepoint(tp=name, fn_name=f"on_{name}")

    def load_instructions(self, entries: Iterable[InstructionEntry]) -> None:
        """Tell the program what the probed addresses are."""
        table = self._bpf["insns"]
        for entry in entries:
            key = ctypes.c_uint64(entry.address)
            value = ctypes.create_string_buffer(entry.pack(), 16)
            if self._bcc.lib.bpf_update_elem(table.map_fd, ctypes.byref(key), value, 0) < 0:
                raise UserError(f"The kernel has no room for the {table.max_entries} probed addresses.", None)

    def forget_instructions(self, addresses: Iterable[int]) -> None:
        """Let no more events come from these addresses, at once."""
        table = self._bpf["insns"]
        for address in addresses:
            key = ctypes.c_uint64(address)
            self._bcc.lib.bpf_delete_elem(table.map_fd, ctypes.byref(key))

    def retire(self, function: int) -> None:
        """Have frames of a function nobody tells the end of any more lend their packet to nothing."""
        word = ctypes.c_int(function // 64)
        table = self._bpf["retired"]
        table[word] = ctypes.c_uint64(table[word].value | 1 << function % 64)

    def set_packet_limit(self, packets: int) -> None:
        """Select no more than this many packets; 0 is no limit."""
        self._limit = packets
        self._bpf["packet_limit"][ctypes.c_int(0)] = ctypes.c_uint64(packets)

    def packets(self) -> tuple[int, int]:
        """Return how many packets were selected, and how many were made from those (clones ...)."""
        return self.counters.packets(self._limit)

    def skipped(self) -> int:
        """Return how many hits the kernel passed over because a BPF program was running on that CPU already.

        Kernels that do not count them (before 6.5) say 0.
        """
        total = 0
        for program in (self.functions["on_entry"], self.functions["on_instruction"], self.multi):
            if program >= 0:
                try:
                    total += runs_skipped(program)
                except OSError:
                    return 0
        return total

    def close(self) -> None:
        """Let go of the program and its maps."""
        if self.multi >= 0:
            os.close(self.multi)
            self.multi = -1
        self.counters.close()
        self._bpf.cleanup()


def drop_reasons(values: Mapping[str, int]) -> dict[int, str]:
    """Return {number: name} of enum skb_drop_reason without the common prefix, as dropwatch prints it."""
    return {number: name.removeprefix("SKB_DROP_REASON_") for name, number in values.items()}


def row_bytes(stack_bytes: int) -> int:
    """Return the bytes of one event (trace/layout.py)."""
    return trace_layout.event_dtype(stack_bytes).itemsize


def import_bcc() -> ModuleType:
    """Return the distribution's bcc module; UserError with the package's name where it is missing."""
    if "bcc" in sys.modules and hasattr(sys.modules["bcc"], "BPF"):
        return sys.modules["bcc"]
    os.environ.setdefault("BCC_PROBE_LIMIT", "100000")
    for pattern in BCC_LOCATIONS:
        found = sorted(Path("/").glob(pattern[1:]))
        for folder in found:
            init = folder / "__init__.py"
            if not init.is_file():
                continue
            spec = importlib.util.spec_from_file_location(
                "bcc", init, submodule_search_locations=[str(folder)]
            )
            if spec is None or spec.loader is None:
                continue
            module = importlib.util.module_from_spec(spec)
            sys.modules["bcc"] = module
            try:
                spec.loader.exec_module(module)
            except (ImportError, OSError) as error:
                del sys.modules["bcc"]
                raise UserError(
                    f"BCC's Python module at {folder} cannot be loaded: {error}.",
                    "Install it again: apt-get install --reinstall python3-bpfcc libbpfcc",
                ) from error
            return module
    raise UserError(
        "BCC's Python module is not installed, and live capture needs it (PyPI's bcc is another project).",
        "Install it: apt-get install python3-bpfcc (Debian, Ubuntu), dnf install python3-bcc (Fedora)",
    )


def _round8(size: int) -> int:
    return (size + 7) & ~7
