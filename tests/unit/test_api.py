"""The Python API: the examples in its documentation are run, on traces recorded in stock kernels."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import pytest

import ktcpdump_tui
from ktcpdump_tui import Trace, api
from ktcpdump_tui.debuginfo import conditions
from ktcpdump_tui.errors import UsageError, UserError

DATA = Path(__file__).parents[1] / "data"


def test_the_examples_say_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA)
    for module in (api, conditions):
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
        assert result.attempted
        assert not result.failed


def test_events_are_all_or_a_packets(tmp_path: Path) -> None:
    with Trace.open(DATA / "ping-6.12.ktrace") as trace:
        everything = list(trace.events())
        assert [event.no for event in everything] == list(range(1, len(trace) + 1))
        by_packet = [event for packet in trace.packets() for event in trace.events(packet.id)]
        assert sorted(event.no for event in by_packet) == [event.no for event in everything]
        assert trace.export(tmp_path / "some.jsonl", [1, 2], watches=["skb->len"]) == 2
        row = json.loads((tmp_path / "some.jsonl").read_text().splitlines()[1])
        assert row["watch"] == {"skb->len": trace.event(1).len}


def test_what_is_wrong_is_an_error_of_ours() -> None:
    with pytest.raises(UserError):
        Trace.open(DATA / "record.py")
    with Trace.open(DATA / "ping-6.12.ktrace") as trace:
        with pytest.raises(UsageError):
            trace.evaluate("skb->", trace.event(1))
        with pytest.raises(KeyError):
            trace.compare(1, 99)
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        ktcpdump_tui.nothing_of_this_name  # noqa: B018
