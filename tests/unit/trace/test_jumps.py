"""Jumps taken and not taken, in traces of real kernels, by two witnesses: flags, and the next event."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.model import Flow
from ktcpdump_tui.trace.jumps import Jumps, taken_by_flags
from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[2] / "data"
RECORDED = sorted(DATA.glob("*.ktrace"))
BY_LINES = ("path-6.12",)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_flags_and_the_next_event_of_the_frame_agree(path: Path) -> None:
    with Trace.open(path) as trace:
        jumps = Jumps(trace)
        branches = [event for event in trace.events(1, len(trace)) if event.instruction.flow is Flow.BRANCH]
        followed = 0
        for event in branches:
            by_next = jumps._by_next(event)
            followed += by_next is not None
            assert by_next in (None, taken_by_flags(event))
            assert jumps.at(event.no) == taken_by_flags(event)
        # In a trace by lines (path) what follows a jump seldom has a probe.
        assert followed > (len(branches) // 2 if path.stem not in BY_LINES else 0)
        assert len(branches) > 5
        other = next(event for event in trace.events(1, len(trace)) if event.instruction.flow is Flow.NEXT)
        assert jumps.at(other.no) is None


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_counts_are_those_of_the_single_events(path: Path) -> None:
    with Trace.open(path) as trace:
        jumps = Jumps(trace)
        for packet in (None, int(trace.heads(1, 1)["packet"][0])):
            expected: dict[int, list[int]] = {}
            for event in trace.events(1, len(trace)):
                way = jumps._by_next(event) if event.instruction.flow is Flow.BRANCH else None
                if way is not None and packet in (None, event.packet_id):
                    expected.setdefault(event.instruction.index, [0, 0])[0 if way else 1] += 1
            assert expected
            found: dict[int, list[int]] = {}
            for symbol in {one.symbol for one in trace.plan}:
                indices = [one.index for one in trace.plan if one.symbol == symbol]
                found |= {index: list(ways) for index, ways in jumps.counts(indices, packet).items()}
            assert found == expected


def test_counts_go_on_where_a_block_of_events_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with Trace.open(RECORDED[0]) as trace:
        jumps = Jumps(trace)
        whole = jumps.counts(range(len(trace.plan)))
        chunks = trace.chunks

        def one_by_one(*args: object, **kwargs: object):
            for numbers, heads in chunks(*args, **kwargs):
                yield from (
                    (numbers[at : at + 1], np.ascontiguousarray(heads[at : at + 1]))
                    for at in range(len(numbers))
                )

        monkeypatch.setattr(trace, "chunks", one_by_one)
        assert jumps.counts(range(len(trace.plan))) == whole
        assert sum(ways.taken for ways in whole.values()) > 0
        assert sum(ways.not_taken for ways in whole.values()) > 0


def test_what_is_no_jump_has_no_count() -> None:
    with Trace.open(RECORDED[0]) as trace:
        assert Jumps(trace).counts([]) == {}
        plain = [one.index for one in trace.plan if one.flow is Flow.NEXT]
        assert Jumps(trace).counts(plain) == {}
