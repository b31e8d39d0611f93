"""Post-filters over a trace that grows, against a plain pass over all its events."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.criteria import Criteria, Place
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"

FILTERS = (
    "",
    "icmp",
    "fn:function_1",
    "file:function_0.c:11-12",
    "file:net/*.c icmp",
    "cpu:1",
    "netns:5,6",
    "packet:3",
    "packet:2,5 cpu:0",
    "is:changed",
    "is:changed icmp fn:*_0",
    "is:dropped",
    "is:dropped netns:5",
    "is:drop",
    "is:drop icmp",
    "is:drop is:dropped packet:1,2,3,4,5,6,7,8",
)


def judge(packet, link, length):
    return packet[1:2] == b"\1" and length >= 60


class Plain:
    """What the filters mean, event by event."""

    def __init__(self, trace: Trace, tags: dict[int, int], parents: dict[int, int]) -> None:
        self.events = list(trace.events(1, len(trace)))
        heads = trace.heads(1, len(trace))
        self.states = heads["state"].tolist()
        self.selected: dict[int, bool] = {}
        for event in self.events:
            packet = event.packet_id
            if packet not in self.selected:
                parent = self.selected.get(parents[packet], False)
                self.selected[packet] = parent or tags[packet] == 1
        self.dropped = {packet.id for packet in trace.packets() if packet.fate == "dropped"}
        self.last = {event.packet_id: event.no for event in self.events}

    def numbers(self, text: str) -> list[int]:
        criteria, found = Criteria.parse(text), []
        before: dict[int, int] = {}
        for event, state in zip(self.events, self.states, strict=True):
            packet, insn = event.packet_id, event.instruction
            previous = before.get(packet, 0)
            before[packet] = state
            function, line = insn.symbol, insn.source.line
            if all(
                (
                    not criteria.expression or self.selected[packet],
                    "fn:" not in text or function.endswith(text.partition("fn:")[2].split()[0][-2:]),
                    "function_0.c:11-12" not in text or (function == "function_0" and 11 <= line <= 12),
                    not criteria.cpus or event.cpu in criteria.cpus,
                    not criteria.netns or event.netns in criteria.netns,
                    not criteria.packets or packet in criteria.packets,
                    not criteria.changed or (previous and state != previous),
                    not criteria.dropped or packet in self.dropped,
                    not criteria.drop or (packet in self.dropped and event.no == self.last[packet]),
                )
            ):
                found.append(event.no)
        return found


@pytest.mark.parametrize("seed", range(4))
def test_what_is_selected_is_what_a_plain_pass_selects(tmp_path, seed):
    rng = random.Random(seed)
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header(8))
    writer._rows = writer._rows[:29].copy()  # small blocks
    writer.write_plan(made.plan())
    trace = Trace.open(tmp_path / "a.ktrace")
    views = {text: PostFilter(trace, Criteria.parse(text), judge) for text in FILTERS}
    tags, parents, states, alive, total = {}, {}, {}, [], 0
    for _ in range(12):
        notes, rows = b"", made.rows(rng.randint(1, 60), 8, first=total, cpus=2)
        for row in rows:
            if not alive or rng.random() < 0.2:
                packet = len(tags) + 1
                tags[packet] = rng.randint(0, 2)
                parents[packet] = rng.choice(alive) if alive and rng.random() < 0.3 else 0
                notes += made.birth(packet, packet, parent=parents[packet], origin="clone")
                states[packet] = []
                alive.append(packet)
            packet = rng.choice(alive)
            if not states[packet] or rng.random() < 0.4:
                number = sum(map(len, states.values())) + 1
                data = b"\x45" + bytes([tags[packet]]) + bytes(20)
                notes += made.state(number, packet, data, 60, netns=rng.choice((4, 5, 6)))
                states[packet].append(number)
            row["packet"], row["state"] = packet, states[packet][-1]
        while len(alive) > 4:  # their events end here, some of them in a drop
            ended = alive.pop(0)
            notes += made.free(ended, ended, dropped=rng.random() < 0.5)
        writer.write_notes(notes)
        writer.write_events(rows)
        writer.flush()
        total += len(rows)
        trace.refresh()
        plain = Plain(trace, tags, parents)
        for text, view in views.items():
            wanted = plain.numbers(text)
            while not view.scan(enough=len(view) + 1):
                assert len(view) > 0
                assert view.numbers(0, len(view)).tolist() == [n for n in wanted if n <= view.scanned]
            assert view.numbers(0, len(view)).tolist() == wanted, text
            for _ in range(3):
                no, start = rng.randint(1, total), rng.randint(0, len(wanted) + 2)
                assert view.position(no) == sum(number < no for number in wanted)
                assert (no in view) == (no in set(wanted))
                assert view.numbers(start, start + 7).tolist() == wanted[start : start + 7]
    writer.close(None)
    trace.close()


def test_a_packet_is_judged_as_it_was_first_seen(tmp_path):
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header(8))
    writer.write_notes(made.state(1, 1, b"\x45\1" + bytes(20)) + made.state(2, 1, b"\x45\2" + bytes(20)))
    rows = made.rows(4, 8)
    rows["packet"] = 1
    rows["state"] = [1, 2, 2, 0]
    writer.write_events(rows)
    writer.close(None)
    with Trace.open(tmp_path / "a.ktrace") as trace:
        view = PostFilter(trace, Criteria.parse("icmp"), judge)
        assert view.scan()
        assert view.numbers(0, 9).tolist() == [1, 2, 3, 4]


def test_removed_events_are_forgotten(tmp_path):
    writer = TraceWriter(tmp_path / "a.ktrace", max_size=1 << 20)
    writer.write_header(made.header())
    trace = Trace.open(tmp_path / "a.ktrace")
    view = PostFilter(trace, Criteria.parse("cpu:1"))
    rng = np.random.default_rng(1)
    total = 0
    while trace.first_no == 1:
        rows = made.rows(4000, first=total, cpus=2)
        rows["stack"] = rng.integers(0, 256, rows["stack"].shape)
        writer.write_events(rows)
        writer.flush()
        total += len(rows)
        trace.refresh()
        view.scan()
    kept = trace.heads(trace.first_no, len(trace))
    assert view.numbers(0, len(view)).tolist() == (np.flatnonzero(kept["cpu"] == 1) + trace.first_no).tolist()
    writer.close(None)
    trace.close()


def test_words_and_an_expression():
    criteria = Criteria.parse(
        "tcp port 80 fn:tcp_v4_*,veth:veth_xmit file:ip_input.c:480-519 cpu:0,2 is:drop"
    )
    assert criteria.expression == "tcp port 80"
    assert criteria.symbols == ("tcp_v4_*", "veth:veth_xmit")
    assert criteria.places == (Place("ip_input.c", 480, 519),)
    assert (criteria.cpus, criteria.drop, criteria.dropped) == (frozenset({0, 2}), True, False)
    assert not Criteria.parse("  ")
    # What tcpdump writes with colons is no word of ours.
    assert Criteria.parse("ether host fa:ce:00:00:00:01 or ip6 host fe80::1").expression.endswith("fe80::1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpu:x", "'cpu:x' is not a number"),
        ("fn:", "'fn:' names nothing"),
        ("is:odd", "'is:odd' means nothing here"),
        ("file::5", "'file::5' names no file"),
        ("file:a.c:9-5", "'file:a.c:9-5' ends before it begins"),
    ],
)
def test_a_wrong_word_is_named(text, message):
    with pytest.raises(UsageError) as raised:
        Criteria.parse(text)
    assert raised.value.message == message
    assert raised.value.remedy


def test_a_function_is_all_that_the_compiler_made_of_it():
    with Trace.open(DATA / "four-ways-6.12.ktrace") as trace:
        for text in ("fn:ip_rcv_finish_core", "fn:ip_rcv_finish_core.constprop.0", "fn:ip_rcv_finish_*"):
            found = Criteria.parse(text).instructions(trace.plan)
            assert {trace.plan[one].symbol for one in found} == {"ip_rcv_finish_core.constprop.0"}, text


def test_a_packet_that_was_cut_keeps_its_length_for_the_expression(tmp_path):
    # A frame of 98 bytes, of which 40 were kept; at its first event skb->data is behind the Ethernet header.
    frame = bytes(12) + b"\x08\x00" + b"\x45\x00\x00\x54" + bytes(22)
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    writer.write_notes(made.state(1, 1, frame, length=84, link=1))
    writer.write_events(made.rows(3, packets=1))
    writer.close(None)
    with Trace.open(tmp_path / "a.ktrace") as trace:
        for expression, selected in (("greater 98", 3), ("greater 99", 0), ("less 97", 0)):
            view = PostFilter(trace, Criteria.parse(expression), make_judge(expression))
            view.scan()
            assert len(view) == selected, expression


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("icmp and packet:2", "icmp"),
        ("packet:2 and icmp", "icmp"),
        ("packet:2 && icmp", "icmp"),
        ("icmp and packet:2 and src host 10.0.0.1", "icmp and src host 10.0.0.1"),
        ("icmp and packet:2 src host 10.0.0.1", "icmp and src host 10.0.0.1"),
        ("icmp and cpu:1 and packet:2", "icmp"),
        ("packet:2 and cpu:1", ""),
    ],
)
def test_and_may_stand_between_words_and_the_expression(text, expression):
    criteria = Criteria.parse(text)
    assert criteria.expression == expression
    assert criteria.packets == {2}


@pytest.mark.parametrize(
    "text", ["icmp or packet:2", "packet:2 or icmp", "packet:2 || icmp", "icmp and not packet:2"]
)
def test_what_a_word_cannot_do_beside_an_expression_is_said(text):
    with pytest.raises(UsageError, match="cannot stand beside 'packet:2'"):
        Criteria.parse(text)


@pytest.mark.parametrize("stretch", [1, 100])
def test_the_packet_that_starts_next_is_the_one_a_plain_pass_finds(tmp_path, stretch):
    rng = np.random.default_rng(stretch)
    many = 10_000
    rows = made.rows(many, 0)
    # Packets overlap, and for long stretches none starts.
    rows["packet"] = 1 + np.sort(rng.integers(0, many // 20 // stretch, many)) + rng.integers(0, 5, many)
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer._block_bytes = 1 << 15
    writer.write_header(made.header(0))
    writer.write_plan(made.plan())
    writer.write_notes(b"".join(made.birth(n, n) for n in range(1, 600)))
    writer.write_events(rows)
    writer.write_notes(b"".join(made.free(n, n, dropped=n % 7 == 0) for n in range(1, 600)))
    writer.close(Summary(many, 1, 1, 1, 0))
    packets, first = np.unique(rows["packet"], return_index=True)
    last = len(rows) - 1 - np.unique(rows["packet"][::-1], return_index=True)[1]
    starts, drops = np.sort(first + 1), np.sort(last[packets % 7 == 0] + 1)
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert len(trace.blocks()) > 50
        assert len(trace.packets()) == 599
        assert len(list(trace.packets())) == len(trace.packets())
        for no in [0, 1, 2, many - 1, many, many + 1, *rng.integers(1, many, 100).tolist()]:
            for ask, numbers in ((trace.packet_start_after, starts), (trace.drop_after, drops)):
                later, before = numbers[numbers > no], numbers[numbers < no]
                assert ask(no) == (later[0] if len(later) else None)
                assert ask(no, reverse=True) == (before[-1] if len(before) else None)
