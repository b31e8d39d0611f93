"""Another reader of the same trace, for another thread."""

from __future__ import annotations

from pathlib import Path

from ktcpdump_tui.trace.trace import Trace

FOUR_WAYS = Path(__file__).parents[2] / "data" / "four-ways-6.12.ktrace"


def test_another_reader_of_a_whole_trace_shares_what_was_read_and_shows_the_same():
    with Trace.open(FOUR_WAYS) as trace, trace.reopen() as other:
        assert other.finished
        assert other._events.blocks[0] is trace._events.blocks[0] or len(trace._events.blocks) == 1
        assert len(other) == len(trace)
        assert other.hits().tolist() == trace.hits().tolist()
        assert other.plan is trace.plan
        for no in (1, 600, 1232):
            assert other.event(no) == trace.event(no)
        for packet in (1, 2, 3, 4):
            found = [numbers.tolist() for numbers, _ in trace.chunks(0, packet=packet)]
            assert [numbers.tolist() for numbers, _ in other.chunks(0, packet=packet)] == found
            assert other.packet(packet) == trace.packet(packet)
