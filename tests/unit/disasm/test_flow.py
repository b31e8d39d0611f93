"""Which way a conditional jump goes, and where an indirect call leads, from the registers of an event."""

from __future__ import annotations

import ctypes
import itertools
import mmap

import pytest

from ktcpdump_tui import arch
from ktcpdump_tui.debuginfo.calls import callee
from ktcpdump_tui.debuginfo.disasm import disassemble
from ktcpdump_tui.model import Event, FoundBy, Memory, Region

#: CF, PF, ZF, SF, OF, and the bit that is always set.
BITS = (0, 2, 6, 7, 11)
ALWAYS = 0x202
CODE = 0xFFFFFFFF81000000
OBJECT = 0xFFFF888012345000


class Processor:
    """Executes one jump on the machine's own processor, with given flags and rcx."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64)(address)

    def takes(self, jump: bytes, flags: int, rcx: int) -> bool:
        # mov %rsi,%rcx; push %rdi; popf; JUMP over what returns 0: mov $0,%eax; ret; mov $1,%eax; ret
        code = bytes.fromhex("4889f1 57 9d") + jump + bytes.fromhex("b800000000 c3 b801000000 c3")
        self._memory[: len(code)] = code
        return bool(self._call(flags, rcx))


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor()


def jumps() -> list[bytes]:
    short = [bytes([0x70 + condition, 6]) for condition in range(16)]
    near = [bytes([0x0F, 0x80 + condition, 6, 0, 0, 0]) for condition in range(16)]
    counted = [bytes([opcode, 6]) for opcode in (0xE0, 0xE1, 0xE2, 0xE3)]
    hinted = [b"\x3e\x74\x06", b"\x2e\x0f\x85\x06\x00\x00\x00"]
    return [*short, *near, *counted, *hinted]


@pytest.mark.parametrize("jump", jumps(), ids=bytes.hex)
def test_the_processor_takes_the_jumps_we_say_it_takes(processor: Processor, jump: bytes) -> None:
    for chosen in itertools.product((0, 1), repeat=len(BITS)):
        flags = ALWAYS | sum(value << bit for value, bit in zip(chosen, BITS, strict=True))
        for rcx in (0, 1, 2, 1 << 63):
            assert arch.branch_taken(jump, flags, rcx) == processor.takes(jump, flags, rcx), (flags, rcx)


@pytest.mark.parametrize(
    "code", [b"", b"\x90", b"\xeb\x06", b"\xc3", b"\x0f", b"\x0f\x05", b"\x2e", b"\x3e\x66"]
)
def test_what_is_no_conditional_jump_is_never_taken_nor_not(code: bytes) -> None:
    assert arch.branch_taken(code, 0xFFF, 1) is None


def event_at(code: str, registers: dict[str, int], memory: Memory | None = None) -> Event:
    (instruction,) = disassemble(bytes.fromhex(code), CODE, names)
    return Event(
        no=1, ts=1, cpu=0, pid=1, comm="", instruction=instruction, packet_id=1, skb=0, len=None, dev=None,
        netns=None, found_by=FoundBy.FRAME, regs=tuple(registers.get(name, 0) for name in arch.REGISTERS),
        memory=memory or Memory(),
    )  # fmt: skip


def names(address: int) -> str | None:
    known = {
        0xFFFFFFFF81000100: "ip_rcv", 0xFFFFFFFF81000200: "__x86_indirect_thunk_r11",
        0xFFFFFFFF82000000: "pv_ops", CODE: "caller",
    }  # fmt: skip
    for start in sorted(known, reverse=True):
        if start <= address < start + 0x100:
            return known[start] + (f"+{address - start}" if address > start else "")
    return None


MEMORY = Memory(
    (
        Region(OBJECT, bytes(24) + (0xFFFFFFFF81000100).to_bytes(8, "little")),
        Region(0xFFFFFFFF82000008, (0xFFFFFFFF81000104).to_bytes(8, "little")),
    )
)


@pytest.mark.parametrize(
    ("code", "registers", "to"),
    [
        ("e8fb000000", {}, 0xFFFFFFFF81000100),  # call ip_rcv
        ("ffd0", {"rax": 0xFFFFFFFF81000100}, 0xFFFFFFFF81000100),  # call *%rax
        ("41ffd3", {"r11": 0xFFFFFFFF81000123}, 0xFFFFFFFF81000123),  # call *%r11
        ("e8fb010000", {"r11": 0xFFFFFFFF81000100}, 0xFFFFFFFF81000100),  # call __x86_indirect_thunk_r11
        ("e9fb010000", {"r11": 0xFFFFFFFF81000100}, 0xFFFFFFFF81000100),  # jmp __x86_indirect_thunk_r11
        ("ff5718", {"rdi": OBJECT}, 0xFFFFFFFF81000100),  # call *0x18(%rdi)
        ("ff57f8", {"rdi": OBJECT + 32}, 0xFFFFFFFF81000100),  # call *-0x8(%rdi)
        ("ff54c708", {"rdi": OBJECT, "rax": 2}, 0xFFFFFFFF81000100),  # call *0x8(%rdi,%rax,8)
        ("ff1502000001", {}, 0xFFFFFFFF81000104),  # call *0x1000002(%rip) # pv_ops+8
        ("ff142508000082", {}, 0xFFFFFFFF81000104),  # call *0xffffffff82000008
        ("ff5710", {"rdi": OBJECT + 0x100}, None),  # not captured
        ("65ff5718", {"rdi": OBJECT}, None),  # per-CPU
        ("4889f8", {"rax": 1}, None),  # no call
    ],
)
def test_a_call_leads_where_registers_and_memory_say(
    code: str, registers: dict[str, int], to: int | None
) -> None:
    found = callee(event_at(code, registers, MEMORY))
    assert found == to


def test_without_registers_an_indirect_call_leads_nowhere() -> None:
    event = event_at("ffd0", {})
    object.__setattr__(event, "regs", ())
    assert callee(event) is None
