"""A small machine that runs random programs and knows the truth: which activation each event belongs to.

Programs have functions with inlined blocks, interleaved rows, rows that are no statements, line 0, recursion,
tail calls, loops, calls through functions that are not traced, and softirqs on a stack of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.model import Flow, InlineFrame, Instruction, SourceLine
from ktcpdump_tui.trace.layout import event_dtype

if TYPE_CHECKING:
    import random

TASK_STACK = 0xFFFFC90000004000
IRQ_STACK = 0xFFFFC90000104000


@dataclass
class Activation:
    """One run of a function; ``caller``: the nearest traced one, ``replaced``: whose frame it took."""

    number: int
    function: int
    cfa: int
    caller: Activation | None = None
    replaced: Activation | None = None


@dataclass
class Happening:
    """An event and the truth about it: its activation, and all activations that were alive."""

    insn: int
    activation: Activation
    alive: frozenset[int]
    packet: int = 1
    cpu: int = 0


@dataclass
class Program:
    plan: list[Instruction] = field(default_factory=list)
    functions: list[range] = field(default_factory=list)
    calls: dict[int, int] = field(default_factory=dict)  # instruction -> function
    tail_calls: dict[int, int] = field(default_factory=dict)
    through: set[int] = field(default_factory=set)  # calls through a function that is not traced


def random_program(rng: random.Random) -> Program:
    program = Program()
    count = rng.randint(1, 5)
    for number in range(count):
        _function(rng, program, number, count)
    return program


def _function(rng: random.Random, program: Program, number: int, count: int) -> None:
    symbol, file = f"f{number}", f"net/f{number}.c"
    rows: list[tuple[SourceLine, tuple[InlineFrame, ...]]] = []

    def block(depth: int, outer: tuple[InlineFrame, ...], function: str, file: str) -> None:
        line = rng.randint(1, 50)
        for _ in range(rng.randint(1, 4)):
            line = max(1, line + rng.choice([0, 1, 1, 1, 2, -2]))
            here = (InlineFrame(function, file, line), *outer)
            if depth < 3 and rng.random() < 0.25:
                block(depth + 1, here, f"inline{rng.randint(0, 2)}", "include/inline.h")
            for part in range(rng.randint(1, 3)):
                shown = 0 if rng.random() < 0.05 else line
                statement = rng.random() < (0.85 if part == 0 else 0.15)
                for _ in range(rng.randint(1, 2)):
                    source = SourceLine(file, shown, rng.choice([1, 5]), statement)
                    rows.append((source, (InlineFrame(function, file, shown), *outer)))

    block(0, (), symbol, file)
    for _ in range(rng.randint(0, len(rows) // 3)):  # the compiler's scheduling
        at = rng.randrange(len(rows) - 1) if len(rows) > 1 else 0
        rows[at : at + 2] = reversed(rows[at : at + 2])
    first = len(program.plan)
    address = 0xFFFFFFFF81000000 + number * 0x1000
    for offset, (source, chain) in enumerate(rows):
        index = first + offset
        flow = Flow.NEXT
        last = offset == len(rows) - 1
        if last and rng.random() < 0.25 and number + 1 < count:
            flow, program.tail_calls[index] = Flow.JUMP, rng.randrange(number + 1, count)
        elif last:
            flow = Flow.RETURN
        elif rng.random() < 0.2:
            flow, program.calls[index] = Flow.CALL, rng.randrange(count)
            if rng.random() < 0.3:
                program.through.add(index)
        program.plan.append(
            Instruction(
                index=index,
                address=address + offset * 4,
                symbol=symbol,
                offset=offset * 4,
                code=b"\x90" * 4,
                flow=flow,
                source=source,
                inlined_by=chain,
            )
        )
    program.functions.append(range(first, len(program.plan)))


class Machine:
    """Runs a program for one packet and logs what happens."""

    def __init__(self, rng: random.Random, program: Program, packet: int = 1, cpu: int = 0) -> None:
        self.rng, self.program, self.packet, self.cpu = rng, program, packet, cpu
        self.log: list[Happening] = []
        self.stack: list[Activation] = []
        self.made = packet * 1_000_000
        self.limit = 50

    def run(self) -> list[Happening]:
        """Run some functions one after another: a packet's way, first by a task, then by a softirq."""
        shift = self.cpu * 0x10000
        for base in (TASK_STACK + shift, IRQ_STACK + shift)[: self.rng.randint(1, 2)]:
            for _ in range(self.rng.randint(1, 3)):
                self._enter(
                    self.rng.randrange(len(self.program.functions)), base - self.rng.randrange(1, 9) * 16
                )
        return self.log

    def _enter(self, function: int, cfa: int, caller: Activation | None = None) -> None:
        self.made += 1
        self.stack.append(Activation(self.made, function, cfa, caller))
        while True:
            target = self._body(self.stack[-1])
            if target is None:
                break
            self.made += 1
            old = self.stack.pop()
            self.stack.append(Activation(self.made, target, cfa, old.caller, old))
        self.stack.pop()

    def _body(self, here: Activation) -> int | None:
        """Run a function's instructions; return the function it ends in by a tail call."""
        rng, program = self.rng, self.program
        insns = program.functions[here.function]
        at = insns.start
        while True:
            alive = frozenset(a.number for a in self.stack)
            self.log.append(Happening(at, here, alive, self.packet, self.cpu))
            busy = len(self.log) > self.limit
            if at in program.calls and not busy and len(self.stack) < 6:
                below = here.cfa - rng.randrange(2, 6) * 16
                if at in program.through:
                    below -= 64  # the frame of a function that is not traced
                self._enter(program.calls[at], below, here)
            if at != insns[-1] and not busy and here.cfa < IRQ_STACK - 0x10000 and rng.random() < 0.02:
                shift = self.cpu * 0x10000
                self._enter(
                    rng.randrange(len(program.functions)), IRQ_STACK + shift - 16 * rng.randrange(1, 9)
                )
            if at == insns[-1]:
                return program.tail_calls.get(at)
            if busy or rng.random() < 0.8:
                at += 1
            else:  # a branch; never to the entry, which would be a call
                at = rng.choice(insns[1:]) if rng.random() < 0.7 else at + 1


def interleave(rng: random.Random, logs: list[list[Happening]]) -> list[Happening]:
    """Mix several CPUs' events as they would reach the writer."""
    queues = [list(log) for log in logs]
    mixed = []
    while any(queues):
        queue = rng.choice([queue for queue in queues if queue])
        for _ in range(min(len(queue), rng.randint(1, 5))):
            mixed.append(queue.pop(0))
    return mixed


def to_rows(log: list[Happening]) -> np.ndarray:
    rows = np.zeros(len(log), event_dtype(0))
    seqs: dict[int, int] = {}
    for number, event in enumerate(log):
        seqs[event.cpu] = seqs.get(event.cpu, 0) + 1
        row = rows[number]
        row["ts"], row["seq"], row["cpu"] = number, seqs[event.cpu], event.cpu
        row["packet"], row["insn"], row["cfa"] = event.packet, event.insn, event.activation.cfa
    return rows
