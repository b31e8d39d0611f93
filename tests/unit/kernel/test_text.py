"""Code with other tools' probes in it, in every state the kernel passes through while it writes them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.kernel.text import NOP5, LiveText

if TYPE_CHECKING:
    from tests.unit.kernel.stock import StockKernel

CODE, SLOT, NODE, TABLE = 0xFFFFFFFF81001000, 0xFFFFFFFFA0000000, 0xFFFF888000001000, 0xFFFFFFFF82000000
#: push %rbp; movl $0xe9cc, 0x10(%rsp); ret; then padding: both opcodes are among the bytes anyway.
ORIGINAL = bytes.fromhex("55 c7442410cce90000 c3") + b"\xcc" * 6
AT = 1
DISTANCE = struct.pack("<i", SLOT - (CODE + AT + 5))
JUMP = ORIGINAL[:AT] + b"\xe9" + DISTANCE + ORIGINAL[AT + 5 :]
INT3 = ORIGINAL[:AT] + b"\xcc" + ORIGINAL[AT + 1 :]
INT3_AND_DISTANCE = ORIGINAL[:AT] + b"\xcc" + DISTANCE + ORIGINAL[AT + 5 :]


class Memory:
    """The kernel's memory with one probe in its table; ``states`` are what the code is at each reading."""

    def __init__(self, stock: StockKernel, *states: bytes, copied: bytes = ORIGINAL[AT + 1 : AT + 5]) -> None:
        probe, optimised = stock.btf.struct("kprobe"), stock.btf.struct("optimized_kprobe")
        node = bytearray(optimised.size)
        struct.pack_into("<Q", node, probe.offset("addr"), CODE + AT)
        node[probe.offset("opcode")] = ORIGINAL[AT]
        struct.pack_into("<I", node, probe.offset("flags"), 4)  # KPROBE_FLAG_OPTIMIZED: queued, or done
        at = optimised.offset("optinsn.copied_insn")
        node[at : at + 4] = copied
        struct.pack_into("<Q", node, optimised.offset("optinsn.insn"), SLOT)
        self.node = bytes(node)
        self.states = list(states)
        self.listed = True

    def read(self, address: int, size: int) -> bytes:
        if address == TABLE:
            return struct.pack("<64Q", 0, NODE if self.listed else 0, *[0] * 62)
        if CODE <= address < CODE + len(ORIGINAL):
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return state[address - CODE :][:size]
        if NODE <= address < NODE + len(self.node):
            return self.node[address - NODE :][:size]
        raise LookupError(f"{address:#x}")


KALLSYMS = Kallsyms(f"{CODE:016x} T some_function\n{TABLE:016x} b kprobe_table\n".encode())


@pytest.mark.parametrize("state", [ORIGINAL, INT3, INT3_AND_DISTANCE, JUMP])
def test_every_state_of_a_probe_is_undone(stock: StockKernel, state: bytes) -> None:
    text = LiveText(Memory(stock, state), KALLSYMS, stock.btf)
    assert text.function(CODE, len(ORIGINAL)) == ORIGINAL


def test_a_probe_that_waits_for_its_jump_has_no_copy_yet(stock: StockKernel) -> None:
    """The kernel calls it optimised from when it is queued."""
    text = LiveText(Memory(stock, INT3, copied=b"\0" * 4), KALLSYMS, stock.btf)
    assert text.function(CODE, len(ORIGINAL)) == ORIGINAL


@pytest.mark.parametrize("first", [True, False])
def test_probes_come_and_go_while_we_read(stock: StockKernel, first: bool) -> None:
    """What was armed while the code was read is in the table before it or after it."""
    memory = Memory(stock, JUMP)
    memory.listed = first
    text = LiveText(memory, KALLSYMS, stock.btf)
    memory.listed = not first
    assert text.function(CODE, len(ORIGINAL)) == ORIGINAL


def test_a_jump_of_the_functions_own_stays(stock: StockKernel) -> None:
    own = ORIGINAL[:AT] + b"\xe9\x10\0\0\0" + ORIGINAL[AT + 5 :]
    text = LiveText(Memory(stock, own), KALLSYMS, stock.btf)
    assert text.function(CODE, len(ORIGINAL)) == own


@pytest.mark.parametrize(
    "target", ["bpf_trampoline_6442466512\t[bpf]", "ftrace_trampoline\t[__builtin__ftrace]"]
)
def test_a_tracers_call_at_the_entry_is_its_nop_again(stock: StockKernel, target: str) -> None:
    called = CODE + 0x100
    symbols = Kallsyms(
        f"{CODE:016x} T some_function\n{called:016x} t {target}\n{called + 64:016x} T end\n".encode()
    )
    code = b"\xe8" + struct.pack("<i", called - (CODE + 5)) + b"\xc3"
    text = LiveText(Memory(stock, code), symbols, stock.btf)
    assert text.function(CODE, len(code)) == NOP5 + b"\xc3"


def test_a_call_that_a_function_begins_with_stays(stock: StockKernel) -> None:
    called = CODE + 0x100
    symbols = Kallsyms(
        f"{CODE:016x} T some_function\n{called:016x} T another\n{called + 64:016x} T end\n".encode()
    )
    code = b"\xe8" + struct.pack("<i", called - (CODE + 5)) + b"\xc3"
    text = LiveText(Memory(stock, code), symbols, stock.btf)
    assert text.function(CODE, len(code)) == code
