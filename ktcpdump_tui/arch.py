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
