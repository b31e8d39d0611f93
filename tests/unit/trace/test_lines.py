"""Hits and states of lines: what a few calls of numpy count is what going through the plan counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.model import LineState, ProbeState
from ktcpdump_tui.trace.lines import PlanLines
from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[2] / "data"


def one_by_one(plan, hits, lost):
    """Return {line: (hits, state)} by the words of DESIGN: the most executed instruction; what was probed."""
    of_line = {}
    for insn in plan:
        if insn.source is not None and insn.source.line:
            of_line.setdefault((insn.source.file, insn.source.line), []).append(insn)
    found = {}
    for line, insns in of_line.items():
        most = max(int(hits[insn.index]) if insn.index < len(hits) else 0 for insn in insns)
        if most:
            state = LineState.EXECUTED
        elif not any(insn.probe is ProbeState.ATTACHED for insn in insns):
            state = LineState.NOT_PROBED
        else:
            state = LineState.UNKNOWN if lost else LineState.NOT_EXECUTED
        found[line] = (most, state)
    return found


@pytest.mark.parametrize("name", ["four-ways-6.12", "four-ways-6.1", "udp-drop-6.12", "path-6.12"])
@pytest.mark.parametrize("lost", [False, True])
def test_lines_of_real_traces_have_the_hits_and_states_of_their_instructions(name, lost):
    with Trace.open(DATA / f"{name}.ktrace") as trace:
        # Every third instruction as if it could not be probed: recorded plans have few of those.
        plan = [replace(i, probe=ProbeState.REFUSED) if i.index % 3 == 0 else i for i in trace.plan]
        lines = PlanLines(plan)
        for hits in (trace.hits(), trace.hits()[: len(plan) // 2], np.zeros(0, "<u8")):
            expected = one_by_one(plan, hits, lost)
            counts, states = lines.line_hits(hits), lines.line_states(hits, lost)
            assert list(counts) == list(states) == list(expected), "in the plan's order"
            assert {line: (counts[line], states[line]) for line in counts} == expected


def test_a_plan_is_gone_through_once():
    with Trace.open(DATA / "four-ways-6.12.ktrace") as trace:
        lines = trace.plan_lines
        assert trace.plan_lines is lines
        assert trace.line_hits() == lines.line_hits(trace.hits())
        trace.plan = list(trace.plan)[:100]
        assert trace.plan_lines is not lines
        assert (
            len(trace.line_states()) == len({i.source for i in trace.plan if i.source}) or trace.line_states()
        )


def test_a_plan_without_lines_has_none():
    lines = PlanLines(())
    assert lines.line_hits(np.ones(3, "<u8")) == lines.line_states(np.ones(3, "<u8"), lost=True) == {}
