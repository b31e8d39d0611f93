"""The values an instruction works on, at an event: its registers and memory, as far as they were captured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import capstone
from capstone import x86

if TYPE_CHECKING:
    from ktcpdump_tui.model import Event

#: Effects on the flags that a conditional jump may look at (capstone's x86.h).
_WRITES: Final = sum(
    value
    for name, value in vars(x86).items()
    if name.startswith(("X86_EFLAGS_MODIFY_", "X86_EFLAGS_SET_", "X86_EFLAGS_RESET_"))
)
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Operand:
    """A register or memory operand in AT&T's words; ``value`` None where it was not captured."""

    name: str
    value: int | None


def writes_flags(code: bytes) -> bool:
    """Tell whether an instruction changes the flags that conditional jumps look at."""
    return any(each.eflags & _WRITES for each in _decoder().disasm(code, 0, 1))


def operands(event: Event) -> list[Operand]:
    """Return what the instruction at ``event`` reads or compares, before it is executed; no constants."""
    found: dict[str, Operand] = {}
    instruction = event.instruction
    for each in _decoder().disasm(instruction.code, instruction.address, 1):
        for operand in each.operands:
            if operand.type == x86.X86_OP_REG:
                name = each.reg_name(operand.reg)
                found[name] = Operand(f"%{name}", _register(event, name))
            elif operand.type == x86.X86_OP_MEM:
                name, address = _memory(event, each, operand.mem)
                data = None if address is None else event.memory.read(address, operand.size)
                found[name] = Operand(name, None if data is None else int.from_bytes(data, "little"))
    return list(found.values())


def _decoder() -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder


#: Name of a part of a register -> (the register, its first bit, bits); Intel SDM volume 1, 3.4.1.
_PARTS: Final = {
    **{name: (name, 0, 64) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip")},
    **{f"e{name}": (f"r{name}", 0, 32) for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")},
    **{name: (f"r{name}", 0, 16) for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")},
    **{f"{name}l": (f"r{name}", 0, 8) for name in ("si", "di", "bp", "sp")},
    **{f"{name}l": (f"r{name}x", 0, 8) for name in "abcd"},
    **{f"{name}h": (f"r{name}x", 8, 8) for name in "abcd"},
    **{
        f"r{number}{suffix}": (f"r{number}", 0, bits)
        for number in range(8, 16)
        for suffix, bits in (("", 64), ("d", 32), ("w", 16), ("b", 8))
    },
}


def _register(event: Event, name: str) -> int | None:
    if name not in _PARTS or not event.regs:
        return None
    whole, shift, bits = _PARTS[name]
    return event.register(whole) >> shift & ((1 << bits) - 1)


def _memory(event: Event, each: capstone.CsInsn, memory: x86.X86OpMem) -> tuple[str, int | None]:
    """Return a memory operand as AT&T writes it, and its address; None where a register is not known."""
    base = each.reg_name(memory.base) if memory.base else ""
    index = each.reg_name(memory.index) if memory.index else ""
    text = "" if memory.disp == 0 and (base or index) else f"{'-' * (memory.disp < 0)}{abs(memory.disp):#x}"
    if base or index:
        inside = f"%{base}" if base else ""
        text += f"({inside},%{index},{memory.scale})" if index else f"({inside})"
    if memory.segment:  # relative to the CPU or the task: no address of its own
        return f"%{each.reg_name(memory.segment)}:{text}", None
    address = memory.disp
    for name, scale in ((base, 1), (index, memory.scale)):
        if not name:
            continue
        value = event.instruction.address + each.size if name == "rip" else _register(event, name)
        if value is None:
            return text, None
        address += value * scale
    return text, address & _MASK
