"""The running kernel's code as it was before anyone put probes on it.

/proc/kcore shows what the processor sees: the int3 of a kprobe, the jump of an optimised one, the call of a
function tracer. The kernel keeps what it replaced, and so it can be put back for decoding: kprobes are
found in ``kprobe_table`` (kernel/kprobes.c), with the offsets BTF gives.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ktcpdump_tui.kernel.btf import Btf
    from ktcpdump_tui.kernel.kcore import MemoryReader
    from ktcpdump_tui.kernel.symbols import Kallsyms

#: include/linux/kprobes.h: KPROBE_HASH_BITS in kernel/kprobes.c; KPROBE_FLAG_OPTIMIZED, KPROBE_FLAG_FTRACE.
_TABLE_HEADS: Final = 64
_FLAG_OPTIMIZED: Final = 4
_FLAG_FTRACE: Final = 8
_POINTER: Final = 8
#: A chain longer than this is not one: it changed while it was read.
_CHAIN: Final = 20_000

_INT3: Final = b"\xcc"
_CALL: Final = 0xE8
#: The 5-byte nop where the function tracer puts its call (arch/x86/include/asm/nops.h).
NOP5: Final = bytes.fromhex("0f1f440000")
#: ``endbr64``, and the nops an unused one is sealed with (arch/x86/include/asm/ibt.h; the second since 6.15).
ENDBR: Final = (bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00"), bytes.fromhex("0f1f40d6"))


@dataclass(frozen=True, slots=True)
class Patch:
    """A probe found in memory, and the bytes it replaced."""

    address: int
    original: bytes


def entry_offset(code: bytes) -> int:
    """Return the bytes of ``endbr64`` (or what it was sealed with) that ``code`` begins with: 4 or 0."""
    return 4 if code[:4] in ENDBR else 0


class LiveText:
    """Reads code, with other tools' probes undone."""

    def __init__(self, memory: MemoryReader, kallsyms: Kallsyms, btf: Btf | None) -> None:
        self._memory = memory
        self._kallsyms = kallsyms
        self._btf = btf

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of original code; LookupError where memory cannot be read."""
        code = bytearray(self._memory.read(address, size))
        patches = self._patches
        for at in range(bisect_left(patches, address - 4, key=lambda one: one.address), len(patches)):
            patch = patches[at]
            if patch.address >= address + size:
                break
            for n, byte in enumerate(patch.original):
                if 0 <= patch.address + n - address < size:
                    code[patch.address + n - address] = byte
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
        target = at + 5 + int.from_bytes(site[1:], "little", signed=True)
        name = self._kallsyms.symbolise(target)
        # a trampoline the tracer allocated has no symbol, or one of the pseudo-module __builtin__ftrace
        return (
            name is None
            or name.split("+")[0] in ("ftrace_caller", "ftrace_regs_caller", "__fentry__")
            or (name.startswith("ftrace_trampoline"))
        )

    @cached_property
    def _patches(self) -> list[Patch]:
        try:
            return sorted(self._read_table(), key=lambda one: one.address)
        except (LookupError, KeyError, struct.error):
            return []  # no KALLSYMS_ALL or no BTF: the bytes are taken as they are

    def _read_table(self) -> list[Patch]:
        table = self._kallsyms.address_of("kprobe_table")
        if table is None or self._btf is None:
            return []
        heads = struct.unpack(f"<{_TABLE_HEADS}Q", self._memory.read(table, _TABLE_HEADS * _POINTER))
        if not any(heads):
            return []
        kprobe = self._btf.struct("kprobe")
        address_at, opcode_at, flags_at = (kprobe.offset(one) for one in ("addr", "opcode", "flags"))
        found = []
        for node in heads:
            length = 0
            while node and length < _CHAIN:
                length += 1
                data = self._memory.read(node, kprobe.size)
                address = int.from_bytes(data[address_at : address_at + _POINTER], "little")
                flags = int.from_bytes(data[flags_at : flags_at + 4], "little")
                if not flags & _FLAG_FTRACE:
                    original = data[opcode_at : opcode_at + 1]
                    if flags & _FLAG_OPTIMIZED:
                        original += self._replaced_by_jump(node)
                    found.append(Patch(address, original))
                node = int.from_bytes(data[:_POINTER], "little")  # struct hlist_node is the first member
        return found

    def _replaced_by_jump(self, node: int) -> bytes:
        """Return the 4 bytes after the first that an optimised probe's jump covers."""
        assert self._btf is not None
        where = self._btf.struct("optimized_kprobe").offset("optinsn.copied_insn")
        return self._memory.read(node + where, 4)


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
