"""The running kernel's code as it was before anyone put probes on it.

/proc/kcore shows what the processor sees: the int3 of a kprobe, the jump of an optimised one, the call of a
function tracer. The kernel keeps what it replaced, and so it can be put back for decoding: kprobes are
found in ``kprobe_table`` (kernel/kprobes.c), with the offsets BTF gives.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.kernel.symbols import PSEUDO_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ktcpdump_tui.kernel.btf import Btf
    from ktcpdump_tui.kernel.btf_records import Struct
    from ktcpdump_tui.kernel.kcore import MemoryReader
    from ktcpdump_tui.kernel.symbols import Kallsyms

#: include/linux/kprobes.h: KPROBE_HASH_BITS in kernel/kprobes.c; KPROBE_FLAG_FTRACE.
_TABLE_HEADS: Final = 64
_FLAG_FTRACE: Final = 8
_POINTER: Final = 8
#: A chain longer than this is not one: it changed while it was read.
_CHAIN: Final = 20_000

_INT3: Final = 0xCC
_CALL: Final = 0xE8
#: The jump of an optimised probe: JMP32_INSN_OPCODE, JMP32_INSN_SIZE.
_JUMP: Final = 0xE9
_JUMP_BYTES: Final = 5
#: The 5-byte nop where the function tracer puts its call (arch/x86/include/asm/nops.h).
NOP5: Final = bytes.fromhex("0f1f440000")
#: ``endbr64``, and the nops an unused one is sealed with (arch/x86/include/asm/ibt.h; the second since 6.15).
ENDBR: Final = (bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00"), bytes.fromhex("0f1f40d6"))


@dataclass(frozen=True, slots=True)
class Patch:
    """A probe found in the kernel's table: the byte it replaced, and the kprobe it belongs to."""

    address: int
    original: int
    node: int


def entry_offset(code: bytes) -> int:
    """Return the bytes of ``endbr64`` (or what it was sealed with) that ``code`` begins with: 4 or 0."""
    return 4 if code[:4] in ENDBR else 0


class LiveText:
    """Reads code, with other tools' probes undone.

    Probes come and go, and the kernel optimises them in its own time, while we read. So their table is
    looked at before and after the code (an armed probe is in it from before it is armed until after it is
    disarmed), and what it says is used only where the code that was read shows it.
    """

    def __init__(self, memory: MemoryReader, kallsyms: Kallsyms, btf: Btf | None) -> None:
        self._memory = memory
        self._kallsyms = kallsyms
        self._btf = btf
        self._table = kallsyms.address_of("kprobe_table")
        self._before = self._patches()

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of original code from the start of an instruction on.

        Raises LookupError where memory cannot be read.
        """
        code = bytearray(self._memory.read(address, size))
        if _INT3 not in code and _JUMP not in code:
            return bytes(code)
        after = self._patches()
        for patch in {*self._before, *after}:
            at = patch.address - address
            if 0 <= at < size and code[at] in (_INT3, _JUMP):
                self._undo(patch, code, at)
        self._before = after
        return bytes(code)

    def function(self, address: int, size: int) -> bytes:
        """Return the code of a whole function; a function tracer's call at its entry is undone too."""
        code = self.read(address, size)
        start = entry_offset(code)
        site = code[start : start + 5]
        if len(site) == 5 and site[0] == _CALL and self._is_tracer(address + start, site):
            return code[:start] + NOP5 + code[start + 5 :]
        return code

    def _is_tracer(self, at: int, site: bytes) -> bool:
        found = self._kallsyms.lookup(at + 5 + int.from_bytes(site[1:], "little", signed=True))
        # a trampoline the tracer allocated has no symbol, or one of a pseudo-module: ftrace's, or BPF's own
        return (
            found is None
            or found[0].module in PSEUDO_MODULES
            or found[0].name in ("ftrace_caller", "ftrace_regs_caller", "__fentry__")
        )

    def _undo(self, patch: Patch, code: bytearray, at: int) -> None:
        """Put back what a probe replaced: one byte, and the 4 after it where an optimised one's jump is.

        The kernel writes that jump's distance before it writes its first byte, and takes it away after
        (arch/x86/kernel/kprobes/opt.c), so an int3 may stand in front of it too.
        """
        distance, replaced = self._jump(patch) or (b"", b"")
        tail = slice(at + 1, min(at + _JUMP_BYTES, len(code)))
        length = tail.stop - tail.start
        if distance and code[tail] == distance[:length]:
            code[tail] = replaced[:length]
        elif code[at] == _JUMP:
            return  # the function's own
        code[at] = patch.original

    def _jump(self, patch: Patch) -> tuple[bytes, bytes] | None:
        """Return the 4 bytes of an optimised probe's jump distance, and the 4 it replaced.

        Only some kprobes are the first member of a ``struct optimized_kprobe``; of the others this reads what
        lies behind them, which is no distance to be found in the code.
        """
        assert self._btf is not None
        optimised = self._btf.struct("optimized_kprobe")
        try:
            replaced = self._memory.read(patch.node + optimised.offset("optinsn.copied_insn"), 4)
            slot = self._memory.read(patch.node + optimised.offset("optinsn.insn"), _POINTER)
        except (LookupError, KeyError):
            return None  # a kernel without optimised probes (CONFIG_OPTPROBES), or the kprobe is gone
        distance = int.from_bytes(slot, "little") - (patch.address + _JUMP_BYTES)
        if not -(1 << 31) <= distance < 1 << 31:
            return None
        return distance.to_bytes(4, "little", signed=True), replaced

    def _patches(self) -> tuple[Patch, ...]:
        """Return the probes in the kernel's table now; without KALLSYMS_ALL or BTF, none."""
        if self._table is None or self._btf is None:
            return ()
        try:
            return tuple(self._read_table(self._table, self._btf.struct("kprobe")))
        except (LookupError, KeyError, struct.error):
            return ()

    def _read_table(self, table: int, kprobe: Struct) -> Iterator[Patch]:
        address_at, opcode_at, flags_at = (kprobe.offset(one) for one in ("addr", "opcode", "flags"))
        for head in struct.unpack(f"<{_TABLE_HEADS}Q", self._memory.read(table, _TABLE_HEADS * _POINTER)):
            node = head
            for _ in range(_CHAIN):
                if not node:
                    break
                data = self._memory.read(node, kprobe.size)
                flags = int.from_bytes(data[flags_at : flags_at + 4], "little")
                if not flags & _FLAG_FTRACE:
                    address = int.from_bytes(data[address_at : address_at + _POINTER], "little")
                    yield Patch(address, data[opcode_at], node)
                node = int.from_bytes(data[:_POINTER], "little")  # struct hlist_node is the first member


class ReservedCode:
    """Places the kernel rewrites itself, and so refuses probes on: static keys and static calls.

    kernel/jump_label.c: jump_label_text_reserved, kernel/static_call_inline.c:
    static_call_text_reserved. Those of modules are not known here.
    """

    #: The table's symbols, the bytes of an entry (the first 4 are the distance to the code), and what it is.
    _TABLES: Final = (
        (
            "__start___jump_table",
            "__stop___jump_table",
            16,
            "a static key's jump, which the kernel rewrites itself",
        ),
        (
            "__start_static_call_sites",
            "__stop_static_call_sites",
            8,
            "a static call, which the kernel rewrites itself",
        ),
    )

    def __init__(self, memory: MemoryReader, kallsyms: Kallsyms) -> None:
        self._sites: list[tuple[NDArray[np.int64], str]] = []
        self._origin = kallsyms.address_of("_text") or 0
        for first, last, size, reason in self._TABLES:
            low, high = kallsyms.address_of(first), kallsyms.address_of(last)
            if low is None or high is None or high <= low:
                continue
            try:
                words = np.frombuffer(memory.read(low, high - low), "<i4").reshape(-1, size // 4)
            except LookupError:
                continue
            places = low - self._origin + size * np.arange(len(words), dtype=np.int64)
            self._sites.append((np.sort(places + words[:, 0]), reason))

    def reason(self, address: int) -> str | None:
        """Return why the kernel keeps this address for itself, or None."""
        for sites, reason in self._sites:
            at = int(np.searchsorted(sites, address - self._origin))
            if at < len(sites) and sites[at] == address - self._origin:
                return reason
        return None
