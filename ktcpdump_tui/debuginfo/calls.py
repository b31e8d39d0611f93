"""Where an indirect call goes, at an event: through a register, a retpoline thunk, or captured memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import arch

if TYPE_CHECKING:
    from ktcpdump_tui.model import Event

#: ``Instruction.call`` as ``disasm`` writes it: ``*rax``, ``*[rdi+0x8]``, ``*[rdi+rax*8-0x10]``.
_MEMORY: Final = re.compile(r"\*\[(?![a-z]s:)(?P<where>[^\]]+)\]$")
_TERM: Final = re.compile(r"([+-]?)(?:(0x[0-9a-f]+)|([a-z][a-z0-9]*)(?:\*([1248]))?)")
#: The slot's address as the disassembly says it: ``call *0x1234(%rip)        # 0xffffffff82000000 <pv_ops>``.
_SLOT: Final = re.compile(r"(?:#\s+|\*)(0x[0-9a-f]{9,})(?:\s|$)")
_MASK: Final = (1 << 64) - 1


def callee(event: Event) -> int | None:
    """Return the run-time address that the call or jump at ``event`` goes to.

    None where it cannot be told: the instruction is no call, the registers are not in the event, the memory
    that holds the address was not captured, or it is reached through a segment (per-CPU).
    """
    instruction = event.instruction
    through = instruction.call
    if through is None:
        return None
    if not through.startswith("*"):
        return instruction.target
    if (number := _register(event, through[1:])) is not None:
        return number
    memory = _MEMORY.match(through)
    if memory is None:
        return None
    slot = _SLOT.search(instruction.text)
    address = int(slot[1], 16) if slot else _sum(event, memory["where"])
    data = None if address is None else event.memory.read(address & _MASK, 8)
    return None if data is None else int.from_bytes(data, "little")


def _register(event: Event, name: str) -> int | None:
    if name not in arch.REGISTERS or len(event.regs) != len(arch.REGISTERS):
        return None
    return event.register(name)


def _sum(event: Event, where: str) -> int | None:
    """Return the value of ``rdi+rax*8-0x10``; None where it has anything but registers and numbers."""
    total = at = 0
    while at < len(where):
        term = _TERM.match(where, at)
        if term is None:
            return None
        sign, number, name, scale = term.groups()
        value = int(number, 16) if number else _register(event, name)
        if value is None:
            return None
        total += (-value if sign == "-" else value) * int(scale or 1)
        at = term.end()
    return total
