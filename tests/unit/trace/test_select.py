"""A trace restricted to packets: positions, numbers and growth, against a plain pass over all events."""

from __future__ import annotations

import random

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.trace.select import select
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


def wanted(packet, link, length):
    return link == "raw" and packet[1:2] == b"\1" and length >= 60


@pytest.mark.parametrize("seed", range(4))
def test_what_is_selected_is_what_a_plain_pass_selects(tmp_path, seed):
    rng = random.Random(seed)
    writer = TraceWriter(tmp_path / "a.ktrace")
    writer.write_header(made.header(8))
    writer._rows = writer._rows[:29].copy()
    writer.write_plan(made.plan())
    trace = Trace.open(tmp_path / "a.ktrace")
    view = select(trace, wanted)
    assert (len(view), view.numbers(0, 10).tolist(), list(view)) == (0, [], [])
    tags, parents, decided, alive, total = {}, {}, {}, [], 0
    for _ in range(12):
        notes, rows = b"", made.rows(rng.randint(1, 60), 8, first=total)
        for row in rows:
            if not alive or rng.random() < 0.2:
                packet = len(tags) + 1
                tags[packet] = rng.randint(0, 2)
                parents[packet] = rng.choice(alive) if alive and rng.random() < 0.3 else 0
                notes += made.birth(packet, packet, parent=parents[packet], origin="clone")
                notes += made.state(packet, packet, b"\x45" + bytes([tags[packet]]) + bytes(20), 60)
                alive = [*alive[-5:], packet]
            row["packet"] = rng.choice(alive)
            row["state"] = row["packet"]
        writer.write_notes(notes)
        writer.write_events(rows)
        writer.flush()
        total += len(rows)
        trace.refresh()
        view.refresh()
        events = trace.heads(1, total)["packet"]
        # In the order in which packets were born; a parent that had no event so far had no say.
        for packet in sorted(set(events.tolist()) - decided.keys()):
            decided[packet] = tags[packet] == 1 or decided.get(parents[packet], False)
        chosen = sorted(packet for packet, yes in decided.items() if yes)
        assert view.packets.tolist() == chosen
        assert list(view) == (np.flatnonzero(np.isin(events, chosen)) + 1).tolist()
        assert len(view) == len(list(view))
        numbers = list(view)
        for _ in range(10):
            start = rng.randint(0, len(numbers) + 2)
            stop = start + rng.randint(0, 40)
            assert view.numbers(start, stop).tolist() == numbers[start:stop]
        for _ in range(10):
            no = rng.randint(1, total)
            assert view.position(no) == sum(number < no for number in numbers)
            assert (no in view) == (no in set(numbers))
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
        assert list(select(trace, wanted)) == [1, 2, 3, 4]
        assert list(select(trace, lambda packet, link, length: packet[1:2] == b"\2")) == []
