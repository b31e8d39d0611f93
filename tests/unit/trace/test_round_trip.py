"""What is written to a trace is read from it, live and finished, through a file and through a stream."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import synthetic_trace as made
from hypothesis import given, settings
from hypothesis import strategies as st

from ktcpdump_tui.model import FoundBy, Summary
from ktcpdump_tui.trace.sink import TeeSink
from ktcpdump_tui.trace.stream import StreamWriter, pump
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

SUMMARY = Summary(events=10, packets=2, probes_asked=5, probes_attached=4, probes_refused=1, lost={"ring": 0})


def fill(sink, rows, notes=b"", finish=True):
    sink.write_header(made.header(rows.dtype.itemsize - 216))
    sink.write_plan(made.plan())
    sink.put_blob("types", b"t" * 5000)
    sink.write_notes(notes)
    sink.write_events(rows)
    sink.write_progress({"lost: ring buffer full": 0, "missed": 3})
    if finish:
        sink.close(SUMMARY)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 9000),
    stack=st.sampled_from([0, 8, 256, 1024]),
    parts=st.lists(st.integers(0, 4000), max_size=6),
    through_stream=st.booleans(),
)
def test_rows_come_back_as_they_were_written(tmp_path_factory, count, stack, parts, through_stream):
    path = tmp_path_factory.mktemp("trace") / "a.ktrace"
    rows = made.rows(count, stack, cpus=3)
    writer = TraceWriter(path)
    stream = io.BytesIO()
    sink = StreamWriter(stream) if through_stream else writer
    sink.write_header(made.header(stack))
    at = 0
    for part in [*parts, count]:
        sink.write_events(rows[at : at + part] if part % 2 else rows[at : at + part].tobytes())
        at = min(count, at + part)
        sink.flush()
    sink.close(SUMMARY)
    if through_stream:
        stream.seek(0)
        assert pump(stream, writer) == SUMMARY
    with Trace.open(path) as trace:
        assert (len(trace), trace.first_no, trace.finished, trace.summary) == (count, 1, True, SUMMARY)
        assert trace.rows(1, count).tobytes() == rows.tobytes()
        assert np.array_equal(trace.heads(1, count)["insn"], rows["insn"])
        assert not len(trace.losses())
    assert [entry.name for entry in path.parent.iterdir()] == ["a.ktrace"]


def test_an_event_has_everything(tmp_path):
    path = tmp_path / "a.ktrace"
    rows = made.rows(5000, cpus=2)
    notes = b"".join(
        made.birth(n, n * 10) + made.state(n, n, b"\x45" + bytes([n]) * 20, 60 + n) for n in range(1, 8)
    )
    fill(TraceWriter(path), rows, notes)
    with Trace.open(path) as trace:
        event = trace.event(3000)
        row = rows[2999]
        assert event.no == 3000
        assert event.instruction == made.plan()[int(row["insn"])]
        assert (event.ts, event.cpu, event.pid, event.comm) == (int(row["ts"]), int(row["cpu"]), 4242, "ping")
        assert (event.packet_id, event.skb, event.cfa) == (
            int(row["packet"]),
            int(row["skb"]),
            int(row["cfa"]),
        )
        assert event.found_by is list(FoundBy)[int(row["found_by"])]
        assert event.regs == tuple(row["regs"].tolist())
        assert (event.dev, event.netns, event.mark, event.ifindex) == ("eth0", 4026531840, 7, 2)
        assert event.len == 60 + event.packet_id
        assert (event.packet, event.link) == (b"\x45" + bytes([event.packet_id]) * 20, "raw")
        assert [region.label for region in event.memory] == ["stack", "skb", "packet"]
        assert event.memory.read(event.register("rsp"), 256) == row["stack"].tobytes()
        assert list(trace.events(2999, 3001))[1] == event
        assert trace.header == made.header()
        assert trace.plan == made.plan()
        assert trace.blob("types") == b"t" * 5000
        assert trace.blob("nothing") is None
        assert trace.counts() == {"lost: ring buffer full": 0, "missed": 3}
        assert int(trace.hits().sum()) == 5000


@pytest.mark.parametrize("no", [0, -1, 5001])
def test_numbers_outside_the_trace_are_index_errors(tmp_path, no):
    fill(TraceWriter(tmp_path / "a.ktrace"), made.rows(5000))
    with Trace.open(tmp_path / "a.ktrace") as trace, pytest.raises(IndexError, match="1 to 5000"):
        trace.event(no)


def test_packets_say_how_they_ended(tmp_path):
    path = tmp_path / "a.ktrace"
    plan = made.plan()
    notes = made.birth(1, 10) + made.birth(2, 20, parent=1, origin="clone") + made.birth(3, 30)
    notes += made.free(1, 99, plan[4].address, 6, dropped=True) + made.free(2, 98)
    notes += made.free(3, 97, 0xFFFFFFFF82000005, 2, dropped=True) + made.free(
        4, 96, 0xFFFFFFFF83000000, 9, dropped=True
    )
    writer = TraceWriter(path)
    writer.write_header(made.header())
    writer.write_plan(plan)
    writer.put_blob("drop_reasons", json.dumps({"6": "NETFILTER_DROP", "2": "NOT_SPECIFIED"}).encode())
    writer.put_blob(
        "symbols", json.dumps({"0xffffffff82000005": ["tcp_v4_rcv+5", "net/ipv4/tcp_ipv4.c:9"]}).encode()
    )
    writer.write_notes(notes)
    writer.write_events(made.rows(100, packets=5))
    writer.close(SUMMARY)
    with Trace.open(path) as trace:
        packets = {packet.id: packet for packet in trace.packets()}
        assert list(packets) == [1, 2, 3, 4, 5]
        assert all(trace.packet(number) == packet for number, packet in packets.items())
        first = packets[1]
        assert (first.fate, first.drop_reason, first.freed_at) == ("dropped", "NETFILTER_DROP", 99)
        # The return address of the call that freed it: the instruction before is the one that dropped it.
        assert (first.drop_symbol, first.drop_line) == (plan[3].ksym, plan[3].addr2line)
        assert (packets[2].parent, packets[2].origin, packets[2].fate) == (1, "clone", "consumed")
        assert packets[2].drop_reason is None
        assert (packets[3].drop_symbol, packets[3].drop_line) == ("tcp_v4_rcv+5", "net/ipv4/tcp_ipv4.c:9")
        assert (packets[4].drop_reason, packets[4].drop_symbol) == ("9", None)
        assert packets[5].first_seen == trace.event(trace.packet_span(5)[0]).ts  # its birth was lost
        with pytest.raises(KeyError, match="no packet 6"):
            trace.packet(6)


def test_where_a_packet_was_dropped_gets_its_name_while_the_capture_goes_on(tmp_path):
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    writer.write_notes(made.birth(1, 10) + made.free(1, 99, 0xFFFFFFFF83000000, 6, dropped=True))
    writer.write_events(made.rows(100, packets=1))
    writer.flush()
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert (trace.packet(1).drop_reason, trace.packet(1).drop_symbol) == ("6", None)
        writer.put_blob("drop_reasons", json.dumps({"6": "NETFILTER_DROP"}).encode())
        writer.put_blob("symbols", json.dumps({"0xffffffff83000000": ["icmp_rcv+500", None]}).encode())
        writer.flush()
        trace.refresh()
        assert (trace.packet(1).drop_reason, trace.packet(1).drop_symbol) == (
            "NETFILTER_DROP",
            "icmp_rcv+500",
        )
    writer.close(SUMMARY)


def test_a_reader_follows_the_writer(tmp_path):
    path = tmp_path / "a.ktrace"
    writer = TraceWriter(path)
    writer.write_header(made.header())
    trace = Trace.open(path)
    rows = made.rows(7000)
    for at in range(0, 7000, 100):
        writer.write_notes(made.state(at + 1, 1, length=at + 1))
        chunk = rows[at : at + 100].copy()
        chunk["state"] = at + 1
        writer.write_events(chunk)
        writer.flush()
        assert trace.refresh() == at + 100
        assert trace.event(at + 100).len == at + 1
        assert trace.event(1).len == 1
        assert int(trace.hits().sum()) == at + 100
    writer.write_plan(made.plan())
    trace.refresh()
    assert trace.plan == made.plan()
    assert not trace.finished
    writer.close(SUMMARY)
    trace.refresh()
    assert trace.finished
    trace.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ktrace"]


def test_a_tee_feeds_and_closes_all(tmp_path):
    fill(TeeSink(TraceWriter(tmp_path / "a.ktrace"), TraceWriter(tmp_path / "b.ktrace")), made.rows(3000))
    with Trace.open(tmp_path / "a.ktrace") as one, Trace.open(tmp_path / "b.ktrace") as other:
        assert one.rows(1, 3000).tobytes() == other.rows(1, 3000).tobytes()
