"""Readers of a trace that grows, and whose oldest events go, share what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_trace as made
from hypothesis import given
from hypothesis import strategies as st

from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.insn_index import InsnIndex
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

LIMIT = 2 << 20


def check(trace: Trace) -> None:
    """Compare what the reader's tables say with what its events say."""
    first, last = trace.first_no, len(trace)
    if not last:
        return
    rows, numbers = trace.rows(first, last), np.arange(first, last + 1)
    for packet in {1, 2, int(rows["packet"][0]), int(rows["packet"][-1])}:
        found = [some for some, _ in trace.chunks(0, packet=packet)]
        shown = np.concatenate(found) if found else np.empty(0)
        assert shown.tolist() == numbers[rows["packet"] == packet].tolist()
    for insns in ([3], [0, 19], [40 + last // 1000], [999]):
        found = [some for some, _ in trace.chunks(0, insns=insns)]
        shown = np.concatenate(found) if found else np.empty(0)
        assert shown.tolist() == numbers[np.isin(rows["insn"], insns)].tolist()
        blocks = trace.blocks_with(insns)
        assert all(first <= number <= last for number in blocks.tolist())
    assert int(trace.hits().sum()) == last  # those that are gone are counted as well
    state = int(rows["state"][-1])
    assert trace.state(state) is not None


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_readers_that_look_at_different_times_show_what_was_there_then(tmp_path, limit):
    path, noise = tmp_path / "a.ktrace", np.random.default_rng(5)
    writer = TraceWriter(path, max_size=limit)
    writer._block_bytes = min(writer._block_bytes, 1 << 16)
    writer.write_header(made.header())
    writer.write_plan(made.plan(50))
    readers: list[Trace] = []
    for at in range(0, 24_000, 500):
        rows = made.rows(500, first=at)
        rows["stack"] = noise.integers(0, 256, rows["stack"].shape, "u1")
        rows["packet"] = rows["state"] = 1 + np.arange(at, at + 500) // 50
        rows["insn"][::7] = 40 + at // 1000  # instructions that are executed for the first time late
        for packet in np.unique(rows["packet"]).tolist():
            writer.write_notes(made.birth(packet, packet) + made.state(packet, packet))
        writer.write_events(rows)
        writer.flush()
        if not readers:
            readers.append(Trace.open(path))
            readers += [readers[0].reopen(), readers[0].reopen()]
        for turn, reader in enumerate(readers):
            shown = len(reader)
            if at // 500 % (2 * turn + 1) == 0:
                reader.refresh()
                assert len(reader) == at + 500
                check(reader)
            else:
                assert len(reader) == shown
                if limit is None:
                    check(reader)
    writer.close(Summary(24_000, 480, 2, 2, 0))
    for reader in readers:
        reader.refresh()
        check(reader)
        if limit:
            assert reader.first_no > 1
            # what is gone is not kept: a capture that goes on for days would fill the memory
            known = reader._events._index
            assert len(known.by_insn._bits) < 3 * len(reader.blocks()) + 100
            reader.chunks(0, packet=1)
            assert len(known.by_packet._pairs) < 40 * len(reader.blocks()) + 2000
    for reader in readers:
        reader.close()


@given(
    st.lists(st.lists(st.integers(0, 300), max_size=20), min_size=1, max_size=200),
    st.lists(st.integers(0, 400), max_size=10),
    st.integers(1, 9),
    st.data(),
)
def test_the_index_of_instructions_finds_what_a_search_of_all_blocks_finds(blocks, wanted, first, data):
    index = InsnIndex()
    for at, insns in enumerate(blocks):
        index.add(first + at, np.array(sorted(set(insns)), "<u4"))
    oldest = data.draw(st.integers(0, first + len(blocks) + 2))
    index.forget(oldest)
    expected = [first + at for at, insns in enumerate(blocks) if set(insns) & set(wanted)]
    found = index.blocks_of_any(wanted).tolist()
    assert [one for one in found if one >= oldest] == [one for one in expected if one >= oldest]
    assert set(found) <= set(expected)


def test_drops_are_found_while_the_trace_grows(tmp_path):
    writer = TraceWriter(path := tmp_path / "a.ktrace")
    writer.write_header(made.header(0))
    writer.write_plan(made.plan())
    second = 1_000_000_000
    with Trace.open(path) as trace:
        for packet in range(1, 40):
            rows = made.rows(20, 0, first=20 * (packet - 1))
            rows["packet"] = packet
            writer.write_notes(made.birth(packet, packet * second))
            writer.write_events(rows[:10])
            ended = made.free(packet, packet * second + 9, dropped=packet % 3 == 0)
            writer.write_notes(ended)
            writer.write_events(rows[10:])  # the last events come behind the packet's end
            writer.flush()
            trace.refresh()
            wanted = [(20 * number, number) for number in range(3, packet + 1, 3)]
            assert [tuple(drop) for drop in trace.drops().tolist()] == wanted
        writer.close(Summary(39 * 20, 39, 2, 2, 0))
        trace.refresh()
        assert [tuple(drop) for drop in trace.drops().tolist()] == wanted


def test_the_packet_heard_of_next(tmp_path):
    writer = TraceWriter(path := tmp_path / "a.ktrace")
    writer.write_header(made.header(0))
    writer.write_plan(made.plan())
    writer.write_notes(b"".join(made.birth(number, number) for number in (5, 2, 9, 7)))
    rows = made.rows(60, 0)
    rows["packet"] = np.repeat([9, 5, 7], 20)  # nothing of packet 2 was traced
    writer.write_events(rows)
    writer.close(Summary(60, 4, 2, 2, 0))
    with Trace.open(path) as trace:
        assert [trace.packet_after(number) for number in (0, 5, 2, 9, 7)] == [
            (5, 21), (9, 1), (9, 1), (7, 41), None,
        ]  # fmt: skip
        assert [trace.packet_after(number, reverse=True) for number in (7, 9, 2, 5, 0)] == [
            (9, 1), (5, 21), (5, 21), None, None,
        ]  # fmt: skip
