"""The translator on arbitrary valid programs, against libpcap's bpf_filter()."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from ktcpdump_tui.capture.filter import bpf, libpcap, translate
from ktcpdump_tui.capture.filter.bpf import BpfInsn

SNAPLEN = 128
LENGTHS = (0, 1, 2, 3, 4, 13, 14, 15, 34, 63, 64, 65, 100, 127, 128)

#: Offsets in a packet and around its end, and numbers on the edges of 32-bit arithmetic.
NUMBERS = st.one_of(
    st.integers(0, 70),
    st.integers(60, 140),
    st.sampled_from([0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0xFFFF, 0x10000, 255, 256]),
    st.integers(0, 0xFFFFFFFF),
)
OFFSETS = st.one_of(st.integers(0, 40), st.integers(0, 40), NUMBERS)
LOADS = [
    bpf.LD | mode | size for mode in (bpf.ABS, bpf.IND) for size in (0x00, 0x08, 0x10)
] + [bpf.LDX | bpf.MSH | 0x10]  # fmt: skip
OPERATIONS = (bpf.ADD, bpf.SUB, bpf.MUL, bpf.OR, bpf.AND, bpf.XOR, bpf.DIV, bpf.MOD, bpf.LSH, bpf.RSH)


@st.composite
def instructions(draw, left: int) -> BpfInsn:
    """Return one instruction that is followed by ``left`` others."""
    kind = draw(st.integers(0, 11))
    if kind <= 2:
        return BpfInsn(draw(st.sampled_from(LOADS)), 0, 0, draw(OFFSETS))
    if kind == 3:
        code = draw(
            st.sampled_from([bpf.LD | bpf.IMM, bpf.LDX | bpf.IMM, bpf.LD | bpf.LEN, bpf.LDX | bpf.LEN])
        )
        return BpfInsn(code, 0, 0, draw(NUMBERS))
    if kind in (4, 10, 11):
        code = draw(st.sampled_from([bpf.LD | bpf.MEM, bpf.LDX | bpf.MEM, bpf.ST, bpf.STX]))
        return BpfInsn(code, 0, 0, draw(st.sampled_from([0, 0, 0, 7, 7, 15])))
    if kind <= 6:
        operation = draw(st.sampled_from((*OPERATIONS, bpf.NEG)))
        if operation == bpf.NEG or draw(st.booleans()):
            return BpfInsn(bpf.ALU | operation | (0 if operation == bpf.NEG else bpf.X_OPERAND), 0, 0, 0)
        # Shifts by a constant of 32 and more are undefined in bpf_filter() itself.
        limits = {bpf.DIV: (1, 0xFFFFFFFF), bpf.MOD: (1, 0xFFFFFFFF), bpf.LSH: (0, 31), bpf.RSH: (0, 31)}
        k = draw(st.integers(*limits[operation]) if operation in limits else NUMBERS)
        return BpfInsn(bpf.ALU | operation, 0, 0, k)
    if kind <= 8:
        operation = draw(st.sampled_from((bpf.JA, bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET)))
        if operation == bpf.JA:
            return BpfInsn(bpf.JMP | bpf.JA, 0, 0, draw(st.integers(0, left - 1)))
        near = st.integers(0, min(left - 1, 255))
        operand = draw(st.sampled_from((0, bpf.X_OPERAND)))
        return BpfInsn(bpf.JMP | operation | operand, draw(near), draw(near), draw(NUMBERS))
    code = draw(
        st.sampled_from(
            [bpf.MISC, bpf.MISC | bpf.X_TO_A, bpf.MISC, bpf.MISC | bpf.X_TO_A, bpf.RET | bpf.RETURN_A]
        )
    )
    return BpfInsn(code, 0, 0, draw(st.sampled_from([0, 1, 65535])))


@st.composite
def programs(draw) -> tuple[BpfInsn, ...]:
    """Return a program that bpf_validate() accepts, with forward jumps only."""
    length = draw(st.integers(0, 40))
    # bpf_filter() leaves the scratch memory uninitialised, so every word is written first.
    body = [BpfInsn(bpf.ST, 0, 0, slot) for slot in range(bpf.MEMORY_WORDS)]
    body += [draw(instructions(length - index)) for index in range(length)]
    # What A has become on one packet is compared at the end: a verdict by itself would tell little.
    packet, wirelen = draw(st.sampled_from(PACKETS))
    value = returned((*body, BpfInsn(bpf.RET | bpf.RETURN_A, 0, 0, 0)), packet, wirelen)
    end = [BpfInsn(bpf.JMP | bpf.JEQ, 0, 1, value), BpfInsn(bpf.RET, 0, 0, 1)]
    return (*body, *draw(st.sampled_from([end, []])), BpfInsn(bpf.RET | bpf.RETURN_A, 0, 0, 0))


def returned(program: tuple[BpfInsn, ...], packet: bytes, wirelen: int) -> int:
    """Return what bpf_filter() returns."""
    insns = (libpcap.Insn * len(program))(*(libpcap.Insn(*insn) for insn in program))
    return libpcap.library().bpf_filter(insns, packet, wirelen, len(packet))


def packets() -> list[tuple[bytes, int]]:
    chance = random.Random(11)
    # Small numbers make computed offsets land inside the packet.
    contents = [chance.randbytes(SNAPLEN), bytes(chance.randrange(24) for _ in range(SNAPLEN))]
    return [
        (content[:length], wirelen)
        for content, length in itertools.product(contents, LENGTHS)
        for wirelen in (length, length + 1400)
    ]


PACKETS = packets()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(programs(), min_size=6, max_size=16))
def test_translation_equals_bpf_filter(native, several):
    corpus = native.corpus(PACKETS)
    # One call of gcc for all programs of an example: it costs more than running them.
    names = [f"f{number}" for number in range(len(several))]
    sources = [translate.PRELUDE]
    sources += [translate.to_c(program, name, SNAPLEN) for program, name in zip(several, names, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        machine = native(Path(folder), sources, names, "-O0")
        for which, program in enumerate(several):
            interpreter = libpcap.Interpreter(program)
            assert interpreter.valid()
            expected = [interpreter.matches(packet, wirelen) for packet, wirelen in PACKETS]
            ours = machine.run(which, corpus).astype(bool)
            if ours.tolist() != expected:
                note(f"program: {program}")
                note(f"packets: {np.flatnonzero(ours != np.array(expected)).tolist()}")
            assert ours.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(programs())
def test_needed_bytes_decide(program):
    needed = bpf.needed_bytes(program)
    if needed is None:
        return
    interpreter = libpcap.Interpreter(program)
    for packet, wirelen in PACKETS:
        assert interpreter.matches(packet, wirelen) == interpreter.matches(packet[:needed], wirelen)


EDGES = (0, 1, 3, 31, 32, 0x80000000, 0xFFFFFFFF)


def single_steps() -> list[tuple[BpfInsn, ...]]:
    """Return programs that set A and X, do one thing, and return what became of A."""
    result = []
    load_a, load_x = bpf.LD | bpf.IMM, bpf.LDX | bpf.IMM
    for operation, a, other in itertools.product((*OPERATIONS, bpf.NEG), EDGES, EDGES):
        start = (BpfInsn(load_a, 0, 0, a), BpfInsn(load_x, 0, 0, other))
        if operation != bpf.NEG:
            result.append((*start, BpfInsn(bpf.ALU | operation | bpf.X_OPERAND, 0, 0, 0)))
        shift_too_far = operation in (bpf.LSH, bpf.RSH) and other > 31
        if not shift_too_far and not (operation in (bpf.DIV, bpf.MOD) and other == 0):
            result.append((*start, BpfInsn(bpf.ALU | operation, 0, 0, other)))
    start = (BpfInsn(load_a, 0, 0, 5), BpfInsn(load_x, 0, 0, 9))
    for slot in (0, 15):
        for store, load in itertools.product((bpf.ST, bpf.STX), (bpf.LD, bpf.LDX)):
            keep = BpfInsn(store, 0, 0, slot), BpfInsn(load_a, 0, 0, 1), BpfInsn(load_x, 0, 0, 2)
            result.append((*start, *keep, BpfInsn(load | bpf.MEM, 0, 0, slot)))
            result.append((*result[-1], BpfInsn(bpf.MISC | bpf.X_TO_A, 0, 0, 0)))
    for code in (bpf.MISC, bpf.MISC | bpf.X_TO_A, bpf.LD | bpf.LEN, bpf.LDX | bpf.LEN):
        result.append((*start, BpfInsn(code, 0, 0, 0), BpfInsn(bpf.ALU | bpf.MUL | bpf.X_OPERAND, 0, 0, 0)))
    for code, offset, x in itertools.product(
        LOADS, (0, 1, 96, 125, 127, 0x7FFFFFFF, 0xFFFFFFFF), (0, 2, 0xFFFFFFFF)
    ):
        result.append((BpfInsn(load_x, 0, 0, x), BpfInsn(code, 0, 0, offset)))
        if code & 0xE0 == bpf.MSH:
            result[-1] += (BpfInsn(bpf.MISC | bpf.X_TO_A, 0, 0, 0),)
    return result


def test_every_operation_on_edge_values(native, tmp_path):
    packet = PACKETS[-1]
    complete = []
    for steps in single_steps():
        value = returned((*steps, BpfInsn(bpf.RET | bpf.RETURN_A, 0, 0, 0)), *packet)
        end = (BpfInsn(bpf.JMP | bpf.JEQ, 0, 1, value), BpfInsn(bpf.RET, 0, 0, 1), BpfInsn(bpf.RET, 0, 0, 0))
        complete.append((*steps, *end))
    names = [f"f{number}" for number in range(len(complete))]
    sources = [translate.to_c(program, name, SNAPLEN) for program, name in zip(complete, names, strict=True)]
    machine = native(tmp_path, [translate.PRELUDE, *sources], names, "-O0")
    corpus = native.corpus([packet])
    wrong = [
        program
        for which, program in enumerate(complete)
        if bool(machine.run(which, corpus)[0]) != libpcap.Interpreter(program).matches(*packet)
    ]
    assert not wrong
