"""--max-size: the oldest events go first, and what is left is whole."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.stepping import Stepper
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

LIMIT = 4 << 20


def record(path, total, long_lived_state=False, reader=None, limit=LIMIT):
    """Incompressible events, one packet born and freed per 100 of them; return the largest size on disk."""
    noise = np.random.default_rng(2)
    writer = TraceWriter(path, max_size=limit)
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    largest = 0
    for at in range(0, total, 1000):
        rows = made.rows(1000, first=at)
        rows["stack"] = noise.integers(0, 256, rows["stack"].shape, "u1")
        rows["packet"] = 1 + np.arange(at, at + 1000) // 100
        rows["state"] = rows["packet"]
        if long_lived_state:
            rows["state"][0] = 1
        notes = b""
        for packet in np.unique(rows["packet"]).tolist():
            data = bytes(noise.integers(0, 256, 1000, "u1"))
            notes += (
                made.birth(packet, packet) + made.state(packet, packet, data) + made.free(packet, packet + 1)
            )
        writer.write_notes(notes)
        writer.write_events(rows)
        writer.write_progress({"lost: ring buffer full": 0})
        writer.flush()
        largest = max(largest, sum(entry.stat().st_size for entry in path.parent.iterdir()))
        if reader:
            reader()
    writer.close(Summary(total, total // 100, 20, 20, 0))
    return largest


@pytest.mark.parametrize("long_lived", [False, True])
def test_the_newest_events_stay_within_the_limit(tmp_path, long_lived):
    path = tmp_path / "a.ktrace"
    largest = record(path, 40_000, long_lived)
    assert largest <= LIMIT + (64 << 10)  # SQLite's shared-memory file beside it
    with Trace.open(path) as trace:
        first, last = trace.first_no, len(trace)
        assert last == 40_000
        assert 1 < first < last - 3000
        rows = trace.rows(first, last)
        expected = made.rows(last - first + 1, first=first - 1)
        assert np.array_equal(rows["ts"], expected["ts"])
        assert int(trace.hits().sum()) == 40_000  # how often each ran is not forgotten
        assert not trace.lost()
        for no in (first, last):
            event = trace.event(no)
            assert event.len == 84
            assert trace.packet(event.packet_id).freed_at == event.packet_id + 1
        assert len(trace.packets()) <= (last - first) // 100 + 2
        for no in (0, 1, first - 1):
            with pytest.raises(IndexError):
                trace.event(no)
        assert Stepper(trace).stepi(first, reverse=True) is None
        assert Stepper(trace, across=True).stepi(first, reverse=True) is None
        assert Stepper(trace).step(first) is not None


def test_a_live_reader_is_told_that_events_are_gone(tmp_path):
    path = tmp_path / "a.ktrace"
    opened = []

    def read():
        if not opened:
            opened.append(Trace.open(path))
            return
        trace = opened[0]
        first = trace.first_no
        try:
            trace.event(first)  # may have been removed since the last refresh
        except IndexError as error:
            assert "--max-size" in str(error)
        trace.refresh()
        assert trace.event(trace.first_no).no == trace.first_no
        assert trace.event(len(trace)).len == 84

    record(path, 30_000, reader=read)
    trace = opened[0]
    trace.refresh()
    assert trace.first_no > 1
    assert {packet.id for packet in trace.packets()} >= {trace.event(len(trace)).packet_id}
    assert all(numbers[0] >= trace.first_no for numbers, _ in trace.chunks(0))
    trace.close()


def test_a_limit_below_the_smallest_trace_keeps_the_last_block(tmp_path):
    record(tmp_path / "a.ktrace", 3000, limit=1)
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert len(trace) == 3000
        assert trace.event(3000).no == 3000
