"""Stepping: every command agrees with a state machine that was told the truth, and the cases worth naming."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import synthetic_trace as made
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine import IRQ_STACK, TASK_STACK, Machine, interleave, random_program, to_rows
from oracle import Oracle

from ktcpdump_tui.model import Flow, InlineFrame, Instruction, SourceLine
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.stepping import Stepper, Stop
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


def write(path, plan, rows, block_rows=None):
    writer = TraceWriter(path)
    writer.write_header(made.header(0))
    if block_rows:
        writer._rows = writer._rows[:block_rows].copy()
    writer.write_plan(plan)
    writer.write_events(rows)
    writer.close(None)
    return Trace.open(path)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), block_rows=st.sampled_from([5, 17, None]), across=st.booleans())
def test_every_command_at_every_event(tmp_path_factory, seed, block_rows, across):
    rng = random.Random(seed)
    program = random_program(rng)
    logs = [Machine(rng, program, packet, cpu=packet - 1).run() for packet in (1, 2)]
    log = interleave(rng, logs)
    oracle = Oracle(program, [event for event in log if event.packet == 1])
    numbers = [no for no, event in enumerate(log, 1) if event.packet == 1]

    def stop(result):
        if result is None:
            return None
        return Stop(numbers[result[0]], result[1]) if isinstance(result, tuple) else Stop(numbers[result])

    with write(tmp_path_factory.mktemp("t") / "a.ktrace", program.plan, to_rows(log), block_rows) as trace:
        stepper = Stepper(trace, across=across)
        for at, no in enumerate(numbers):
            if not across:
                assert stepper.stepi(no) == stop(oracle.stepi(at))
            assert stepper.step(no) == stop(oracle.step(at)), no
            assert stepper.step(no, reverse=True) == stop(oracle.reverse_step(at)), no
            for up in range(oracle.depth(at) + 1):
                assert stepper.next(no, up) == stop(oracle.next(at, up)), (no, up)
                assert stepper.until(no, up) == stop(oracle.next(at, up, until=True)), (no, up)
                assert stepper.finish(no, up) == stop(oracle.finish(at, up)), (no, up)
                assert stepper.next(no, up, reverse=True) == stop(oracle.reverse_next(at, up)), (no, up)
                assert stepper.finish(no, up, reverse=True) == stop(oracle.reverse_finish(at, up)), (no, up)


def build(*lines, symbol="f", base=0, first=0):
    """Instructions of one function; each line is (line, is_stmt[, inlined function, call's line])."""
    plan = []
    for offset, (line, statement, *inline) in enumerate(lines):
        file = f"{symbol}.c" if not inline else f"{inline[0]}.h"
        chain = (InlineFrame(symbol, file, line),)
        if inline:
            chain = (InlineFrame(inline[0], file, line), InlineFrame(symbol, f"{symbol}.c", inline[1]))
        plan.append(
            Instruction(
                index=first + offset,
                address=0x1000 + base + offset,
                symbol=symbol,
                offset=offset,
                code=b"\x90",
                flow=Flow.RETURN if offset == len(lines) - 1 else Flow.NEXT,
                source=SourceLine(file, line, 1, statement),
                inlined_by=chain,
            )
        )
    return plan


def run(*events):
    """Rows of (instruction, CFA[, packet[, CPU]])."""
    rows = np.zeros(len(events), event_dtype(0))
    for row, (insn, cfa, *more) in zip(rows, events, strict=True):
        row["insn"], row["cfa"] = insn, cfa
        row["packet"], row["cpu"] = (*more, *(1, 0)[len(more) :])
    return rows


C = TASK_STACK - 0x100


def test_a_line_entered_in_its_middle_is_passed_over(tmp_path):
    plan = build((10, True), (12, True), (12, True), (11, True), (13, True))
    rows = run((0, C), (2, C), (3, C), (4, C))  # 10, middle of 12, 11, 13
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        assert Stepper(trace).step(1) == Stop(3)
        assert Stepper(trace).step(3, reverse=True) == Stop(1)


def test_rows_that_are_no_statements_and_line_0_are_passed_over(tmp_path):
    plan = build((10, True), (11, False), (0, True), (10, True), (12, True))
    with write(tmp_path / "a.ktrace", plan, run(*((n, C) for n in range(5)))) as trace:
        assert Stepper(trace).step(1) == Stop(5)  # back in line 10 nothing stops: it never was another line
        assert Stepper(trace).next(1) == Stop(5)


def test_next_stops_at_the_call_of_an_inlined_function_and_then_passes_over_it(tmp_path):
    plan = build((10, True), (5, True, "g", 11), (6, True, "g", 11), (11, True), (12, True))
    with write(tmp_path / "a.ktrace", plan, run(*((n, C) for n in range(5)))) as trace:
        stepper = Stepper(trace)
        assert stepper.next(1) == Stop(2, up=1)
        assert trace.event(2).instruction.inlined_by[1].line == 11
        assert stepper.next(2, up=1) == Stop(5)
        assert stepper.step(2, up=1) == Stop(2)  # into the inlined function, without moving
        assert stepper.next(2) == Stop(3)
        assert stepper.finish(2) == Stop(4)
        assert stepper.next(5, reverse=True) == Stop(2, up=1)


def test_recursion_with_one_cfa_at_different_times(tmp_path):
    plan = build((10, True), (11, True), (12, True), symbol="f")
    # The untraced caller calls f twice: the same CFA, two activations.
    rows = run((0, C), (1, C), (0, C - 64), (1, C - 64), (2, C - 64), (2, C), (0, C), (1, C))
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        stepper = Stepper(trace)
        assert stepper.next(2) == Stop(6)
        assert stepper.finish(4) == Stop(6)
        assert stepper.finish(2) == Stop(7)
        assert stepper.next(6) == Stop(7)
        assert stepper.next(7, reverse=True) == Stop(6)
        assert stepper.finish(4, reverse=True) == Stop(2)
        assert stepper.finish(8, reverse=True) == Stop(7)


def test_a_softirq_in_between_is_passed_over_and_a_queue_is_followed(tmp_path):
    plan = build((10, True), (11, True), (12, True)) + build(
        (20, True), (21, True), symbol="g", base=64, first=3
    )
    irq = IRQ_STACK - 0x40
    nested = run((0, C), (1, C), (3, irq), (4, irq), (2, C))
    queued = run((0, C), (1, C), (2, C), (3, irq), (4, irq))
    unfinished = run((0, C), (1, C), (3, irq), (4, irq))
    for rows, expected in ((nested, Stop(5)), (queued, Stop(3)), (unfinished, Stop(3))):
        with write(tmp_path / "a.ktrace", plan, rows) as trace:
            assert Stepper(trace).next(2) == expected
            assert Stepper(trace).step(2) == Stop(3)


def test_other_packets_are_not_stepped_into(tmp_path):
    plan = build((10, True), (11, True), (12, True))
    rows = run((0, C), (0, C + 0x8000, 2, 1), (1, C), (1, C + 0x8000, 2, 1), (2, C + 0x8000, 2, 1), (2, C))
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        assert Stepper(trace).stepi(1) == Stop(3)
        assert Stepper(trace).step(1) == Stop(3)
        assert Stepper(trace, across=True).step(1) == Stop(3)
        assert Stepper(trace, across=True).stepi(1) == Stop(2)
        assert Stepper(trace, across=True).stepi(1, reverse=True) is None
        assert Stepper(trace).stepi(6) is None


def test_until_runs_a_loop_to_its_end(tmp_path):
    plan = build((10, True), (11, True), (12, True), (13, True))
    rows = run((0, C), (1, C), (2, C), (1, C), (2, C), (3, C))
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        assert Stepper(trace).next(3) == Stop(4)
        assert Stepper(trace).until(3) == Stop(6)


def test_lost_events_in_the_middle_of_a_frame(tmp_path):
    plan = build((10, True), (11, True), (12, True)) + build(
        (20, True), (21, True), symbol="g", base=64, first=3
    )
    # g's return was lost, f's later events were not.
    with write(tmp_path / "a.ktrace", plan, run((0, C), (3, C - 64), (2, C))) as trace:
        assert Stepper(trace).finish(2) == Stop(3)
        assert Stepper(trace).next(1) == Stop(3)
    # f's return and the entry of its next run were lost: nothing tells the two runs apart.
    with write(tmp_path / "a.ktrace", plan, run((0, C), (1, C), (1, C), (2, C))) as trace:
        assert Stepper(trace).next(2) == Stop(4)


def test_without_lines_each_instruction_is_one(tmp_path):
    plan = [
        Instruction(index=n, address=0x1000 + n, symbol="f", offset=n, code=b"\x90", flow=Flow.NEXT)
        for n in range(4)
    ]
    with write(tmp_path / "a.ktrace", plan, run((0, C), (1, C), (0, C - 64), (1, C - 64), (2, C))) as trace:
        assert Stepper(trace).step(1) == Stop(2)
        assert Stepper(trace).step(2) == Stop(3)
        assert Stepper(trace).next(2) == Stop(5)


def test_an_inlined_function_is_finished_by_a_tail_call_and_its_function_is_not(tmp_path):
    f = build((10, True), (5, True, "g", 11), (6, True, "g", 11))
    f[2] = replace(f[2], flow=Flow.JUMP)
    plan = (
        f
        + build((20, False), (21, True), symbol="h", base=64, first=3)
        + build((30, True), symbol="k", first=5, base=96)
    )
    rows = run((5, C + 64), (0, C), (1, C), (2, C), (3, C), (4, C), (5, C + 64))
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        assert Stepper(trace).finish(3) == Stop(5)  # of the inlined g: h replaced all of f
        assert Stepper(trace).finish(3, up=1) == Stop(7)


def test_a_new_activation_makes_its_line_the_current_one(tmp_path):
    plan = build((24, False), (24, True), (35, True), (36, True))
    rows = run((2, C), (3, C), (0, C), (1, C), (2, C))
    with write(tmp_path / "a.ktrace", plan, rows) as trace:
        assert Stepper(trace).step(2) == Stop(5)
        assert Stepper(trace).step(5, reverse=True) == Stop(2)


def test_cold_parts_belong_to_their_function(tmp_path):
    plan = build((10, True), (11, True), (12, True)) + build(
        (30, True), (31, True), symbol="f.cold", base=64, first=3
    )
    plan = [insn if insn.index != 4 else replace(insn, flow=Flow.JUMP) for insn in plan]
    with write(tmp_path / "a.ktrace", plan, run((0, C), (3, C), (4, C), (2, C))) as trace:
        assert Stepper(trace).next(1) == Stop(2)
        assert Stepper(trace).finish(2) is None
        assert Stepper(trace).finish(2, reverse=True) == Stop(1)


def test_events_outside_the_trace(tmp_path):
    with write(tmp_path / "a.ktrace", build((10, True)), run((0, C), (99, C))) as trace:
        stepper = Stepper(trace)
        assert stepper.step(1) == Stop(2)  # an instruction the plan does not have
        for no in (0, 3):
            with pytest.raises(IndexError, match="not in the trace"):
                stepper.step(no)
