"""All that is particular to x86-64; another architecture would be another module with these names."""

from __future__ import annotations

from typing import Final

MACHINE: Final = "x86_64"

#: The registers an event carries, in this order: DWARF numbers 0-15 (System V ABI for x86-64,
#: figure 3.36), then the address of the instruction and the flags.
REGISTERS: Final = (
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "rflags",
)  # fmt: skip

#: DWARF numbers of the integer argument registers, in order (System V ABI 3.2.3).
ARGUMENT_REGISTERS: Final = (5, 4, 1, 2, 8, 9)

#: DWARF numbers.
STACK_POINTER: Final = 7
FRAME_POINTER: Final = 6
RETURN_ADDRESS: Final = 16
INSTRUCTION_POINTER: Final = 16
RETURN_VALUE: Final = 0

#: At a function's entry CFA = rsp + 8: the call has pushed the return address.
ENTRY_CFA_OFFSET: Final = 8

#: arch/x86/include/asm/page_64_types.h: THREAD_SIZE and IRQ_STACK_SIZE, both naturally aligned.
STACK_SIZE: Final = 16384

#: pt_regs in a kprobe handler holds the address after the int3 byte (also at ftrace and optimised sites).
KPROBE_IP_BIAS: Final = 1

#: The field of struct pt_regs (kernel names) for each entry of REGISTERS.
PT_REGS_FIELDS: Final = (
    "ax", "dx", "cx", "bx", "si", "di", "bp", "sp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "ip", "flags",
)  # fmt: skip

#: Bits of rflags (Intel SDM volume 1, 3.4.3) that conditional jumps and string instructions look at, and IF.
FLAG_BITS: Final = (("CF", 0), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("IF", 9), ("DF", 10), ("OF", 11))

#: The bit of rflags that is 1 in every state (same place): where it is not, there are no flags.
ALWAYS_SET: Final = 1 << 1

_CARRY, _PARITY, _ZERO, _SIGN, _OVERFLOW = (1 << bit for bit in (0, 2, 6, 7, 11))

#: Bytes that may stand before a jump's opcode: branch hints, operand size, BND.
_JUMP_PREFIXES: Final = frozenset((0x2E, 0x3E, 0x66, 0xF2))


def branch_taken(code: bytes, rflags: int, rcx: int) -> bool | None:
    """Tell whether a conditional jump will be taken, from the state before it; None for other instructions.

    The conditions are those of Jcc, JRCXZ and LOOPcc (Intel SDM volume 2, and its appendix B.1.4.7: the
    lowest bit of a condition negates it).
    """
    at = 0
    while at < len(code) - 1 and code[at] in _JUMP_PREFIXES:
        at += 1
    opcode = code[at] if at < len(code) else 0
    if opcode == 0x0F and at + 1 < len(code) and 0x80 <= code[at + 1] <= 0x8F:
        condition = code[at + 1] & 0xF
    elif 0x70 <= opcode <= 0x7F:
        condition = opcode & 0xF
    elif opcode == 0xE3:
        return rcx == 0
    elif 0xE0 <= opcode <= 0xE2:
        zero = bool(rflags & _ZERO)
        return rcx != 1 and (opcode == 0xE2 or zero == (opcode == 0xE1))
    else:
        return None
    less = bool(rflags & _SIGN) != bool(rflags & _OVERFLOW)
    holds = (
        bool(rflags & _OVERFLOW),
        bool(rflags & _CARRY),
        bool(rflags & _ZERO),
        bool(rflags & (_CARRY | _ZERO)),
        bool(rflags & _SIGN),
        bool(rflags & _PARITY),
        less,
        less or bool(rflags & _ZERO),
    )[condition >> 1]
    return holds != bool(condition & 1)
