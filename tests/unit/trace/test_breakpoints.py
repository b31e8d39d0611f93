"""continue, reverse-continue, watches and last write, against a plain search through all events."""

from __future__ import annotations

import random

import pytest
import synthetic_trace as made
from hypothesis import given, settings
from hypothesis import strategies as st

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace import navigate
from ktcpdump_tui.trace.breakpoints import Watch, breakpoint_at, continue_to, last_change, locate, next_change
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("t") / "a.ktrace"
    rows = made.rows(400, 8, cpus=2, packets=5)
    notes, state, states = [], 0, {}
    for row in rows:
        packet = int(row["packet"])
        if packet not in states or rng.random() < 0.05:
            state += 1
            states[packet] = state
            notes.append(made.state(state, packet, length=rng.choice([60, 61, 62])))
        row["state"] = states[packet]
        row["regs"][0] = rng.choice([1, 1, 1, 1, 2])
        row["insn"] = rng.randrange(18)
    notes += [made.birth(p, p) for p in range(1, 6)]
    notes += [
        made.free(2, 10, reason=3, dropped=True),
        made.free(4, 10, reason=3, dropped=True),
        made.free(5, 11),
    ]
    rows["seq"][100:] += 3
    rows["seq"][333:] += 5
    writer = TraceWriter(path)
    writer.write_header(made.header(8))
    writer._rows = writer._rows[:37].copy()
    writer.write_plan(made.plan())
    writer.write_notes(b"".join(notes))
    writer.write_events(rows)
    writer.close(None)
    with Trace.open(path) as opened:
        yield opened


WATCHES = {
    "len": Watch("skb->len", lambda event: event.len, depends="state"),
    "len at any event": Watch("skb->len", lambda event: event.len),
    "rax": Watch("$rax", lambda event: event.regs[0], depends="rax"),
    "sometimes": Watch("x", lambda event: event.regs[0] if event.no % 3 else None),
}


def brute(trace, no, insns, watches, reverse, packet):
    """All hits of the whole trace, then the nearest."""
    numbers, last = set(), {}
    for event in trace.events(1, len(trace)):
        if packet is not None and event.packet_id != packet:
            continue
        if event.instruction.index in insns:
            numbers.add(event.no)
        for watch in watches:
            value = watch.key(event)
            if value is None:
                continue
            key = (id(watch), event.packet_id)
            # Forwards, a packet that is first seen after the start has no value to differ from before.
            known = reverse or packet is not None or last.get(key, (0,))[0] >= no
            if key in last and last[key][1] != value and known:
                numbers.add(event.no)
            last[key] = (event.no, value)
    found = [n for n in numbers if (n < no if reverse else n > no)]
    return (max(found) if reverse else min(found)) if found else None


@settings(max_examples=60, deadline=None)
@given(
    no=st.integers(1, 400),
    insns=st.sets(st.integers(0, 19), max_size=2),
    names=st.sets(st.sampled_from(sorted(WATCHES)), max_size=2),
    reverse=st.booleans(),
    of_packet=st.booleans(),
)
def test_continue_stops_where_a_plain_search_does(trace, no, insns, names, reverse, of_packet):
    watches = [WATCHES[name] for name in sorted(names)]
    packet = trace.event(no).packet_id if of_packet else None
    if packet is not None and "sometimes" in names and not reverse:
        names.discard("sometimes")  # its value at the start may be older than the start
        watches = [WATCHES[name] for name in sorted(names)]
    breakpoints = [breakpoint_at(trace.plan, trace.plan[insn].ksym) for insn in insns]
    hit = continue_to(trace, no, breakpoints, watches, reverse=reverse, packet=packet)
    assert (hit.no if hit else None) == brute(trace, no, insns, watches, reverse, packet)


def test_last_change_finds_who_wrote_the_value(trace):
    hit = last_change(trace, 399, WATCHES["len"])
    event, before = trace.event(hit.no), trace.event(hit.before)
    assert event.packet_id == before.packet_id == trace.event(399).packet_id
    assert event.len == trace.event(399).len != before.len
    assert last_change(trace, hit.no, WATCHES["len"]).no == hit.no


@pytest.mark.parametrize("name", ["len", "len at any event", "rax", "sometimes"])
def test_next_change_is_the_first_later_event_of_the_packet_with_another_value(trace, name):
    watch, found = WATCHES[name], 0
    for no in range(1, 400, 7):
        packet, known, expected = trace.event(no).packet_id, watch.key(trace.event(no)), None
        for event in trace.events(no + 1, len(trace)):
            value = watch.key(event) if event.packet_id == packet else None
            if value is not None and known is not None and value != known:
                expected = event.no
                break
            known = value if value is not None else known
        hit = next_change(trace, no, watch)
        assert (hit and hit.no) == expected
        found += hit is not None
    assert found > 10
    assert next_change(trace, 1, watch, lambda: True) is None


def test_conditions_decide(trace):
    plain = breakpoint_at(trace.plan, "function_0+8")
    strict = breakpoint_at(trace.plan, "function_0+8", lambda event: event.regs[0] == 2)
    first = continue_to(trace, 1, [plain]).no
    hit = continue_to(trace, 1, [strict])
    assert trace.event(hit.no).regs[0] == 2
    assert hit.no >= first
    assert continue_to(trace, 1, [breakpoint_at(trace.plan, "function_0", lambda _: False)]) is None
    assert continue_to(trace, 1, [plain], cancelled=lambda: True) is None


def test_locations(trace):
    plan = trace.plan
    assert locate(plan, "function_1") == {10}
    assert locate(plan, "function_1+0x8") == locate(plan, "function_1+8") == {12}
    assert locate(plan, hex(plan[3].address)) == {3}
    assert locate(plan, "function_1.c:12") == {14}  # where the line begins
    assert locate(plan, "net/function_1.c:1") == {10}  # the next line that has instructions
    for location in ("nothing", "function_1+1", "function_1.c:99", "_1.c:12", "0x12", "a b", ""):
        with pytest.raises(UsageError, match=r"location|no instruction"):
            locate(plan, location)


def test_going_to_places(trace):
    assert navigate.next_loss(trace, 1) == 101
    assert navigate.next_loss(trace, 101) == 102  # the other CPU
    assert navigate.next_loss(trace, 400, reverse=True) == 335
    assert navigate.next_loss(trace, 101, reverse=True) is None
    ends = sorted(trace.packet_span(packet)[1] for packet in (2, 4))
    assert navigate.next_drop(trace, 1) == ends[0]
    assert navigate.next_drop(trace, ends[0]) == ends[1]
    assert navigate.next_drop(trace, ends[1], reverse=True) == ends[0]
    assert navigate.next_drop(trace, ends[1]) is None
    assert navigate.next_packet(trace, 1) == trace.packet_span(2)[0]
    assert (
        navigate.next_packet(trace, 50, reverse=True) == trace.packet_span(trace.event(50).packet_id - 1)[0]
    )
    assert navigate.at_time(trace, trace.event(300).ts) == 300
    assert navigate.at_time(trace, trace.event(300).ts - 1) == 300
    assert navigate.at_time(trace, 0) == 1
    assert navigate.at_time(trace, trace.event(400).ts + 1) is None
    here = trace.event(200)
    after = navigate.same_line(trace, 200)
    assert after > 200
    assert trace.event(after).instruction.addr2line == here.instruction.addr2line
