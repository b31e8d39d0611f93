"""Where two paths part and join: what was put in is what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_trace as made
from hypothesis import given, settings
from hypothesis import strategies as st

from ktcpdump_tui.model import SourceLine
from ktcpdump_tui.trace.alignment import differences
from ktcpdump_tui.trace.compare import compare
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


def make(path, *paths, plan=None, build_id="aa"):
    """A trace of packets 1, 2, ... that execute the given instructions, their events in turn."""
    writer = TraceWriter(path)
    writer.write_header(made.header(0, build_id=build_id))
    writer.write_plan(plan or made.plan(4, 20))
    order = sorted(
        (at / len(insns), packet, insn)
        for packet, insns in enumerate(paths, 1)
        for at, insn in enumerate(insns)
    )
    rows = np.zeros(len(order), event_dtype(0))
    for row, (_, packet, insn) in zip(rows, order, strict=True):
        row["packet"], row["insn"] = packet, insn
    writer.write_events(rows)
    writer.close(None)
    return Trace.open(path)


def path_of(trace, packet):
    return [int(insn) for _, heads in trace.chunks(0, packet=packet) for insn in heads["insn"]]


START, END = list(range(12)), list(range(40, 60))


def test_a_drop_is_a_parting_for_good(tmp_path):
    with make(tmp_path / "a.ktrace", [*START, *range(20, 30), *END], [*START, *range(60, 70)]) as trace:
        result = compare(trace, 1, 2)
        (parting,) = result.partings
        assert result.decisive is parting
        assert not result.same
        assert (result.a_events, result.b_events, result.common) == (42, 22, 12)
        assert parting.instruction == trace.plan[11]
        assert [trace.event(no).packet_id for no in parting.decision] == [1, 2]
        assert (parting.a.count, parting.b.count, parting.joined) == (30, 10, None)
        assert trace.event(parting.a.first).instruction.index == 20
        assert trace.event(parting.b.last).instruction.index == 69


def test_paths_join_again(tmp_path):
    a = [*START, 20, 21, 22, *END]
    b = [*START, *END[:10], 25, *END[10:]]
    with make(tmp_path / "a.ktrace", a, b) as trace:
        first, second = compare(trace, 1, 2).partings
        assert (first.a.count, first.b.count, first.b.first) == (3, 0, None)
        assert [trace.event(no).instruction.index for no in first.joined] == [40, 40]
        assert (second.a.count, second.b.count) == (0, 1)
        assert second.instruction.index == END[9]
        assert compare(trace, 1, 2).decisive == first
        assert compare(trace, 1, 1).same
        mirrored = compare(trace, 2, 1).partings
        assert [(p.b, p.a) for p in mirrored] == [(p.a, p.b) for p in (first, second)]


def test_paths_without_a_common_start(tmp_path):
    with make(tmp_path / "a.ktrace", [70, *END], END, [72, 74]) as trace:
        (parting,) = compare(trace, 1, 2).partings
        assert (parting.decision, parting.instruction) == (None, None)
        assert trace.event(parting.joined[1]).packet_id == 2
        (nothing,) = compare(trace, 1, 3).partings
        assert (nothing.decision, nothing.joined, nothing.a.count, nothing.b.count) == (None, None, 21, 2)
        with pytest.raises(KeyError, match="no packet 9"):
            compare(trace, 1, 9)


def test_packets_of_two_traces_by_symbol_or_by_line(tmp_path):
    plan = made.plan(4, 20)
    other_plan = [replace(insn, index=at) for at, insn in enumerate(reversed(plan))]
    moved = [79 - insn for insn in [*START, *range(60, 70)]]
    with (
        make(tmp_path / "a.ktrace", [*START, *END], plan=plan) as one,
        make(tmp_path / "b.ktrace", moved, plan=other_plan) as two,
    ):
        (parting,) = compare(one, 1, 1, two).partings
        assert parting.instruction == plan[11]
    # Another kernel: line 13 has three instructions instead of two.
    longer = [
        replace(insn, offset=insn.offset * 2, source=SourceLine(insn.source.file, insn.source.line))
        for insn in plan
    ]
    with (
        make(tmp_path / "c.ktrace", [*START, *END], plan=plan) as one,
        make(
            tmp_path / "d.ktrace", [*START[:7], 6, *START[7:], *range(60, 70)], plan=longer, build_id="bb"
        ) as two,
    ):
        result = compare(one, 1, 1, two)
        (parting,) = result.partings
        assert parting.instruction.source.line == plan[11].source.line
        assert result.common == 12


DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("kernel", "dropped", "function", "place"),
    [
        ("6.12", 2, "nft_cmp_fast_eval", "net/netfilter/nf_tables_core.c:92"),
        ("6.12", 3, "ip_forward", "net/ipv4/ip_forward.c:118"),
        ("6.12", 4, "ip_rcv_core", "net/ipv4/ip_input.c:511"),
        ("6.1", 2, "nft_cmp_fast_eval", "net/netfilter/nf_tables_core.c:74"),
        ("6.1", 3, "ip_forward", "net/ipv4/ip_forward.c:121"),
        ("6.1", 4, "ip_rcv_core", "net/ipv4/ip_input.c:511"),
    ],
)
def test_the_line_of_the_decision_in_a_recorded_flow(kernel, dropped, function, place):
    """One flow: delivered, dropped by a rule, TTL 1, bad checksum (tests/data/record.py).

    nf_tables_core.c:92 (:74) compares with the rule's data, ip_forward.c:118 (:121) is ``if
    (ip_hdr(skb)->ttl <= 1)``, ip_input.c:511 ``if (unlikely(ip_fast_csum(...)))``.
    """
    with Trace.open(DATA / f"four-ways-{kernel}.ktrace") as trace:
        for a, b in ((1, dropped), (dropped, 1)):
            found = compare(trace, a, b)
            assert found.decisive is not None
            row = found.rows[found.decisive.row]
            assert row.same
            assert row.a.function == row.b.function == function
            assert row.a.place == row.b.place == found.decisive.instruction.addr2line == place
            assert [trace.event(no).packet_id for no in found.decisive.decision] == [a, b]
            assert not found.rows[found.decisive.row + 1].same


def test_the_rows_are_all_steps_of_both_in_order():
    with Trace.open(DATA / "four-ways-6.12.ktrace") as trace:
        found = compare(trace, 1, 2)
        for side, path in (("a", found.a), ("b", found.b)):
            steps = [getattr(row, side) for row in found.rows if getattr(row, side)]
            assert steps == [path.step(at) for at in range(len(path))]
            assert sum(step.count for step in steps) == len(path.numbers)
            assert [path.step_of(step.last) for step in steps] == list(range(len(path)))
            assert [found.rows.of_step(at, side == "a") for at in (0, len(path) - 1)] == [
                next(n for n, row in enumerate(found.rows) if getattr(row, side) == steps[at])
                for at in (0, len(path) - 1)
            ]
        assert all(
            (row.a.function, row.a.place) == (row.b.function, row.b.place) for row in found.rows if row.same
        )
        assert found.rows[-1] == found.rows[len(found.rows) - 1]
        assert found.rows[2:4] == [found.rows[2], found.rows[3]]
        with pytest.raises(IndexError):
            found.rows[len(found.rows)]


@settings(max_examples=150, deadline=None)
@given(a=st.lists(st.integers(0, 3), max_size=60), b=st.lists(st.integers(0, 3), max_size=60))
def test_differences_are_complete_and_in_order(a, b):
    one, other = np.array(a, "<i8"), np.array(b, "<i8")
    found = differences(one, other)
    i = j = 0
    for start_a, end_a, start_b, end_b in found:
        assert a[i:start_a] == b[j:start_b]
        assert (end_a, end_b) > (start_a, start_b)
        assert a[start_a : start_a + 1] != b[start_b : start_b + 1]
        i, j = end_a, end_b
    assert a[i:] == b[j:]
    assert (not found) == (a == b)
