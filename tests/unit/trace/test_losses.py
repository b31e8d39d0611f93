"""Losses told from sequence numbers equal what was really left out, however late events arrive."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import synthetic_trace as made
from hypothesis import given, settings
from hypothesis import strategies as st

from ktcpdump_tui.model import LineState, ProbeState, Summary
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.lines import PlanLines
from ktcpdump_tui.trace.losses import LossCounter, apply_fixes
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


@st.composite
def arrivals(draw):
    """(CPU, seq) as they arrive: numbered from 1 per CPU, some lost, neighbours exchanged by interrupts."""
    mixed = []
    for cpu in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 40))
        lost = draw(st.sets(st.integers(1, max(count, 1)), max_size=20))
        seqs = [seq for seq in range(1, count + 1) if seq not in lost]
        for at in draw(st.lists(st.integers(0, max(len(seqs) - 2, 0)), max_size=6)):
            if at + 1 < len(seqs):
                seqs[at : at + 2] = reversed(seqs[at : at + 2])
        mixed += [(draw(st.floats(0, 1)), order, cpu, seq) for order, seq in enumerate(seqs)]
    per_cpu: dict[int, list[tuple[int, int]]] = {}
    for _, _, cpu, seq in mixed:
        per_cpu.setdefault(cpu, []).append((cpu, seq))
    out = []
    while any(per_cpu.values()):
        cpu = draw(st.sampled_from([cpu for cpu, queue in per_cpu.items() if queue]))
        for _ in range(draw(st.integers(1, 6))):
            if per_cpu[cpu]:
                out.append(per_cpu[cpu].pop(0))
    return out


def truth(events):
    """Events that are missing directly before each event's number on its CPU."""
    seen: dict[int, set[int]] = {}
    for cpu, seq in events:
        seen.setdefault(cpu, set()).add(seq)
    lost = {}
    for no, (cpu, seq) in enumerate(events, 1):
        missing = 0
        while seq - missing - 1 >= 1 and seq - missing - 1 not in seen[cpu]:
            missing += 1
        if missing:
            lost[no] = missing
    return lost


def to_rows(events):
    rows = np.zeros(len(events), event_dtype(0))
    for row, (cpu, seq) in zip(rows, events, strict=True):
        row["cpu"], row["seq"] = cpu, seq
    rows["ts"] = np.arange(len(rows)) + 100
    return rows


@settings(max_examples=150, deadline=None)
@given(events=arrivals(), cuts=st.lists(st.integers(0, 120), max_size=8))
def test_each_event_knows_how_many_were_lost_before_it(events, cuts):
    rows = to_rows(events)
    counter, parts, fixes = LossCounter(), [], {}
    borders = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, end in itertools.pairwise(borders):
        found, late = counter.feed(rows[start:end], start + 1)
        parts.append(found)
        fixes |= late
    losses = apply_fixes(np.sort(np.concatenate(parts), order="no"), fixes) if parts else []
    assert {int(loss["no"]): int(loss["lost"]) for loss in losses} == truth(events)


def test_a_late_event_in_the_next_block_corrects_the_stored_loss(tmp_path):
    events = [(0, 1), (0, 2), (0, 5), (0, 3), (0, 9)]  # 4, 6, 7 and 8 are lost
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header(0))
    writer._rows = writer._rows[:3].copy()
    reader = Trace.open(tmp_path / "a.ktrace")
    writer.write_events(to_rows(events[:3]))
    writer.flush()
    reader.refresh()
    assert reader.event(3).lost_before == 2
    writer.write_events(to_rows(events[3:]))
    writer.flush()
    reader.refresh()
    assert [event.lost_before for event in reader.events(1, 5)] == [0, 0, 1, 0, 3]
    assert reader.losses()["lost"].tolist() == [1, 3]
    assert reader.lost()
    reader.close()
    writer.close(None)


def test_the_four_states_of_a_line():
    plan = made.plan(1, 10)  # lines 10 to 14, two instructions each
    plan[2] = replace(plan[2], probe=ProbeState.REFUSED)
    plan[3] = replace(plan[3], probe=ProbeState.LEFT_OUT)
    plan[4] = replace(plan[4], probe=ProbeState.REFUSED)
    hits = np.zeros(10, "<u8")
    hits[1] = 5
    states = PlanLines(plan).line_states(hits, lost=False)
    assert {line: state.value for (_, line), state in states.items()} == {
        10: "executed", 11: "not probed", 12: "not executed", 13: "not executed", 14: "not executed",
    }  # fmt: skip
    unsure = PlanLines(plan).line_states(hits, lost=True)
    assert [unsure["net/function_0.c", line] for line in (10, 11, 12)] == [
        LineState.EXECUTED,
        LineState.NOT_PROBED,
        LineState.UNKNOWN,
    ]


def test_every_kind_of_loss_makes_lines_unknown(tmp_path):
    path = tmp_path / "a.ktrace"
    for counts, lost, expected in (
        ({}, {}, False),
        ({"lost: ring buffer full": 0, "truncated stacks": 4}, {"ring buffer full": 0}, False),
        ({"lost: probe missed": 1}, {}, True),
        ({}, {"ring buffer full": 2}, True),
    ):
        writer = TraceWriter(path)
        writer.write_header(made.header())
        writer.write_plan(made.plan())
        writer.write_events(made.rows(3))
        writer.write_progress(counts)
        writer.close(Summary(3, 1, 20, 20, 0, lost))
        with Trace.open(path) as trace:
            assert trace.lost() is expected
            assert (LineState.UNKNOWN in trace.line_states().values()) is expected


def test_what_was_lost_outside_a_packets_life_leaves_its_lines_certain(tmp_path):
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header(8))
    writer.write_plan(made.plan())
    rows = made.rows(60, 8)
    rows["packet"] = np.arange(60) // 20 + 1
    rows["insn"] = np.where(rows["packet"] == 3, rows["insn"] % 4, rows["insn"] % 10)
    rows["seq"][25:] += 2  # in the middle of packet 2's life
    ts = rows["ts"].tolist()
    writer.write_notes(
        made.birth(1, ts[0]) + made.free(1, ts[19]) + made.birth(2, ts[20]) + made.free(2, ts[39])
    )
    writer.write_notes(made.birth(3, ts[40]))
    writer.write_events(rows)
    writer.flush()
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert [trace.lost_during(packet) for packet in (1, 2, 3)] == [False, True, False]
        assert trace.line_states()["net/function_1.c", 10] is LineState.UNKNOWN
        assert trace.line_states(3)["net/function_0.c", 10] is LineState.EXECUTED
        assert trace.line_states(3)["net/function_0.c", 13] is LineState.NOT_EXECUTED
        assert trace.line_states(2)["net/function_1.c", 10] is LineState.UNKNOWN
        assert (trace.line_hits()["net/function_0.c", 10], trace.line_hits(3)["net/function_0.c", 10]) == (
            9,
            5,
        )
        writer.write_progress({"lost: probe missed": 3})  # two are the gap; one was lost nobody knows when
        writer.flush()
        trace.refresh()
        assert trace.lost_during(1)
    writer.close(None)
