"""Classic BPF programs: their instructions, and what can be told of a program without running it.

The instruction set is that of bpf(4) and of Documentation/networking/filter.rst; numbers are from
<pcap/bpf.h>. Jumps only go forward in every program this package accepts, so one pass in the order of the
instructions sees all predecessors of an instruction before the instruction itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Instruction classes: the three low bits of the code.
LD: Final = 0x00
LDX: Final = 0x01
ST: Final = 0x02
STX: Final = 0x03
ALU: Final = 0x04
JMP: Final = 0x05
RET: Final = 0x06
MISC: Final = 0x07

# Sizes of a load, in bytes, by bits 3-4.
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1}

# Addressing modes of a load: the three high bits.
IMM: Final = 0x00
ABS: Final = 0x20
IND: Final = 0x40
MEM: Final = 0x60
LEN: Final = 0x80
MSH: Final = 0xA0

# Operations of the arithmetic unit and jump conditions: the four high bits.
ADD: Final = 0x00
SUB: Final = 0x10
MUL: Final = 0x20
DIV: Final = 0x30
OR: Final = 0x40
AND: Final = 0x50
LSH: Final = 0x60
RSH: Final = 0x70
NEG: Final = 0x80
MOD: Final = 0x90
XOR: Final = 0xA0

JA: Final = 0x00
JEQ: Final = 0x10
JGT: Final = 0x20
JGE: Final = 0x30
JSET: Final = 0x40

#: Bit 3: the second operand is X instead of the constant k.
X_OPERAND: Final = 0x08
#: RET's bits 3-4: return A instead of k.
RETURN_A: Final = 0x10
#: MISC's bit 7: copy X to A instead of A to X.
X_TO_A: Final = 0x80

#: Words of scratch memory (BPF_MEMWORDS).
MEMORY_WORDS: Final = 16

#: Constant offsets here do not address the packet but the kernel's knowledge of it (SKF_AD_OFF and
#: SKF_AD_MAX of <linux/filter.h>, as unsigned numbers).
SPECIAL_OFFSETS: Final = range(0xFFFFF000, 0xFFFFF040)

_WORD: Final = 0xFFFFFFFF
#: Offsets beyond are negative numbers in disguise (ip[0 - 1]): loads there fail on every packet.
_LAST_BYTE: Final = 0x7FFFFFFF


class BpfInsn(NamedTuple):
    """One instruction, as struct bpf_insn (u_short code; u_char jt, jf; u_int k)."""

    code: int
    jt: int
    jf: int
    k: int


def instruction_class(insn: BpfInsn) -> int:
    """Return LD, LDX, ST, STX, ALU, JMP, RET or MISC."""
    return insn.code & 0x07


def is_packet_load(insn: BpfInsn) -> bool:
    """Tell whether the instruction reads bytes of the packet."""
    return instruction_class(insn) in (LD, LDX) and insn.code & 0xE0 in (ABS, IND, MSH)


def load_size(insn: BpfInsn) -> int:
    """Return the bytes a packet load reads."""
    return 1 if insn.code & 0xE0 == MSH else SIZES[insn.code & 0x18]


def successors(index: int, insn: BpfInsn) -> tuple[int, ...]:
    """Return the indices that can follow instruction ``index``; none after a return.

    The offset of an unconditional jump is signed in libpcap's interpreter, so what is returned may lie
    before ``index``.
    """
    kind = instruction_class(insn)
    if kind == RET:
        return ()
    if kind != JMP:
        return (index + 1,)
    if insn.code & 0xF0 == JA:
        return (index + 1 + (insn.k - (1 << 32) if insn.k & 0x80000000 else insn.k),)
    return (index + 1 + insn.jt, index + 1 + insn.jf)


def jumps_backwards(program: Sequence[BpfInsn]) -> bool:
    """Tell whether the program has a loop (of libpcap's primitives only ``protochain`` makes one)."""
    return any(target <= index for index, insn in enumerate(program) for target in successors(index, insn))


def asks_the_kernel(program: Sequence[BpfInsn]) -> bool:
    """Tell whether the program reads what is not in the packet (``inbound``, ``outbound``, ``ifindex``)."""
    return any(
        instruction_class(insn) == LD and insn.code & 0xE0 == ABS and insn.k in SPECIAL_OFFSETS
        for insn in program
    )


def tests_vlan_tag(program: Sequence[BpfInsn]) -> bool:
    """Tell whether the program compares the Ethernet type (bytes 12-13) with that of a VLAN tag."""
    tags = (0x8100, 0x88A8, 0x9100)
    seen: set[int] = set()
    work = [index + 1 for index, insn in enumerate(program) if insn.code == LD | ABS | 0x08 and insn.k == 12]
    while work:
        index = work.pop()
        if index in seen:
            continue
        seen.add(index)
        insn = program[index]
        if instruction_class(insn) == JMP:
            if insn.code == JMP | JEQ and insn.k in tags:
                return True
            work.extend(successors(index, insn))
    return False


@dataclass(frozen=True, slots=True)
class Known:
    """What holds whenever an instruction is reached: upper bounds of A, X, M[], and a lower one of caplen."""

    a: int = 0
    x: int = 0
    memory: tuple[int, ...] = (0,) * MEMORY_WORDS
    caplen: int = 0

    def join(self, other: Known) -> Known:
        """Return what holds where two paths meet."""
        return Known(
            max(self.a, other.a),
            max(self.x, other.x),
            tuple(map(max, self.memory, other.memory)),
            min(self.caplen, other.caplen),
        )


def analyse(program: Sequence[BpfInsn]) -> tuple[Known | None, ...]:
    """Return what is known before each instruction; None for one that is never reached.

    The program must not jump backwards.
    """
    known: list[Known | None] = [None] * len(program)
    known[0] = Known()
    for index, insn in enumerate(program):
        before = known[index]
        if before is None:
            continue
        after = _step(insn, before)
        for target in successors(index, insn):
            there = known[target]
            known[target] = after if there is None else there.join(after)
    return tuple(known)


def highest_byte(insn: BpfInsn, known: Known) -> int | None:
    """Return how many bytes of the packet a load may need at most, or None where that has no bound."""
    end = insn.k + load_size(insn) + (known.x if insn.code & 0xE0 == IND else 0)
    return end if end <= _LAST_BYTE else None


def constant_bytes(program: Sequence[BpfInsn]) -> int:
    """Return the bytes of the packet that the loads at constant offsets need."""
    ends = [end for end, bounded in _load_ends(program) if bounded and end is not None]
    return max(ends, default=0)


def needed_bytes(program: Sequence[BpfInsn]) -> int | None:
    """Return how many bytes of a packet decide the filter, whatever the packet; None without a bound."""
    highest = 0
    for end, _ in _load_ends(program):
        if end is None:
            return None
        highest = max(highest, end)
    return highest


def _load_ends(program: Sequence[BpfInsn]) -> Iterator[tuple[int | None, bool]]:
    """Yield the end of each reachable packet load, and whether its offset is a constant."""
    for insn, known in zip(program, analyse(program), strict=True):
        if known is not None and is_packet_load(insn):
            yield highest_byte(insn, known), insn.code & 0xE0 != IND


def _step(insn: BpfInsn, before: Known) -> Known:
    """Return what is known after an instruction that did not end the program."""
    kind, mode = instruction_class(insn), insn.code & 0xE0
    if kind in (LD, LDX):
        caplen = before.caplen
        if mode in (ABS, MSH):
            caplen = max(caplen, insn.k + load_size(insn))
        value = _load_bound(insn, before)
        if kind == LD:
            return Known(value, before.x, before.memory, caplen)
        return Known(before.a, value, before.memory, caplen)
    if kind in (ST, STX):
        memory = list(before.memory)
        memory[insn.k] = before.a if kind == ST else before.x
        return Known(before.a, before.x, tuple(memory), before.caplen)
    if kind == ALU:
        return Known(_alu_bound(insn, before), before.x, before.memory, before.caplen)
    if kind == MISC:
        a, x = (before.x, before.x) if insn.code & X_TO_A else (before.a, before.a)
        return Known(a, x, before.memory, before.caplen)
    return before


def _load_bound(insn: BpfInsn, before: Known) -> int:
    """Return the largest value that a load can give."""
    mode = insn.code & 0xE0
    if mode == IMM:
        return insn.k
    if mode == MEM:
        return before.memory[insn.k]
    if mode == LEN:
        return _WORD
    if mode == MSH:
        return 0xF << 2
    return (1 << 8 * load_size(insn)) - 1


def _alu_bound(insn: BpfInsn, before: Known) -> int:
    """Return the largest value that A can have after an arithmetic instruction."""
    operation = insn.code & 0xF0
    constant = not insn.code & X_OPERAND
    operand = insn.k if constant else before.x
    bits = (1 << max(before.a.bit_length(), operand.bit_length())) - 1
    bound = {
        ADD: before.a + operand,
        MUL: before.a * operand,
        AND: min(before.a, operand),
        OR: bits,
        XOR: bits,
        DIV: before.a // operand if constant and operand else before.a,
        MOD: min(before.a, max(operand - 1, 0)),
        RSH: before.a >> min(operand, 32) if constant else before.a,
        LSH: before.a << min(operand, 32) if constant else _WORD + 1,
    }.get(operation, _WORD)
    return bound if bound <= _WORD else _WORD
