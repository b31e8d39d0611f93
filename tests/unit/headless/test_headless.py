"""Table and JSON, from traces recorded in stock kernels, whole and while they grow."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ktcpdump_tui import arch
from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import build_table
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, TableOutput
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.selection import Selection
from ktcpdump_tui.headless.table import Table
from ktcpdump_tui.headless.values import EventValues
from ktcpdump_tui.model import Event, Flow, FoundBy, Instruction, SourceLine, Summary, TraceHeader
from ktcpdump_tui.trace import blobs, codec
from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"
LAB = Path("~/.cache/ktcpdump-tui/lab").expanduser()
DROP = DATA / "udp-drop-6.12.ktrace"

#: CLI.md, in its order.
KEYS = re.findall(
    r"\w+",
    "no ts cpu pid comm skb len dev netns pc symbol offset module file line column inlined_by call "
    "lost_before found_by regs packet",
)


def event(**changes: Any) -> Event:
    instruction = Instruction(
        index=0,
        address=0xFFFFFFFF92AF9280,
        symbol="tc_run",
        offset=0,
        source=SourceLine("net/core/dev.c", 3927),
        call="skb_clone",
        flow=Flow.CALL,
    )
    base = Event(
        no=1,
        ts=5,
        cpu=0,
        pid=1,
        comm="ping",
        instruction=instruction,
        packet_id=1,
        skb=0xFFFF97720B2CC900,
        len=98,
        dev="lo",
        netns=1,
        found_by=FoundBy.FRAME,
    )
    return replace(base, **changes)


def printed(trace: Trace, limits: Limits | None = None, table: Table | None = None) -> list[str]:
    out = io.StringIO()
    follow(trace, [TableOutput(table or Table(), out)], limits or Limits())
    return out.getvalue().splitlines()


# The table


def test_the_table_has_the_originals_columns() -> None:
    assert (
        Table().head() == "no   skb                skb->len   pc                 ksym             addr2line"
    )
    plain = replace(event(), instruction=replace(event().instruction, call=None, flow=Flow.NEXT))
    assert Table().row(plain) == (
        "1    ffff97720b2cc900   98         ffffffff92af9280   tc_run+0         net/core/dev.c:3927"
    )


def test_calls_name_their_target() -> None:
    assert Table().row(event()).endswith("net/core/dev.c:3927 // CALL skb_clone")
    tail = replace(event(), instruction=replace(event().instruction, flow=Flow.JUMP, call="*rax"))
    assert Table().row(tail).endswith(" // CALL *rax")


def test_what_is_not_known_is_not_made_up() -> None:
    bare = event(len=None, instruction=replace(event().instruction, source=None, call=None))
    assert Table().row(bare) == (
        "1    ffff97720b2cc900   -          ffffffff92af9280   tc_run+0         ??:0"
    )


def test_a_gap_is_a_line() -> None:
    assert Table().row(event(lost_before=3, cpu=2)).splitlines()[0] == "-- 3 events were lost on CPU 2 --"


def test_a_wide_value_moves_the_rest_and_joins_nothing() -> None:
    row = Table().row(event(no=123456, instruction=replace(event().instruction, symbol="x" * 40, call=None)))
    assert row.split() == [
        "123456",
        "ffff97720b2cc900",
        "98",
        "ffffffff92af9280",
        "x" * 40 + "+0",
        "net/core/dev.c:3927",
    ]


def test_table_of_a_recorded_ping() -> None:
    with Trace.open(PING) as trace:
        rows = printed(trace)
        assert len(rows) == len(trace) + 1
        for number, row in enumerate(rows[1:], 1):
            no, skb, length, pc, ksym, line = row.split()[:6]
            seen = trace.event(number)
            assert (int(no), int(skb, 16), int(length), int(pc, 16)) == (
                number,
                seen.skb,
                seen.len,
                seen.instruction.address,
            )
            assert ksym == seen.instruction.ksym
            assert re.fullmatch(r"\S+\.[ch]:\d+", line)


# JSON


def test_json_of_a_recorded_ping() -> None:
    out = io.StringIO()
    with Trace.open(PING) as trace:
        follow(trace, [JsonOutput(JsonLines(trace=trace), out)], Limits())
        header, *events, summary = [json.loads(line) for line in out.getvalue().splitlines()]
        assert len(events) == len(trace) == summary["events"]
        assert header["type"] == "header"
        assert {"version", "release", "build_id", "command_line", "clock_offset"} <= header.keys()
        assert summary["type"] == "summary"
        assert {
            "events",
            "packets",
            "probes_asked",
            "probes_attached",
            "probes_refused",
            "lost",
        } <= summary.keys()
        for number, row in enumerate(events, 1):
            seen = trace.event(number)
            assert list(row) == KEYS
            assert row["pc"] == hex(seen.instruction.address)
            assert row["skb"] == hex(seen.skb)
            assert list(row["regs"]) == list(arch.REGISTERS)
            assert [int(value, 16) for value in row["regs"].values()] == list(seen.regs)
            assert bytes.fromhex(row["packet"]) == seen.packet
            assert (row["file"], row["line"]) == (seen.instruction.source.file, seen.instruction.source.line)  # type: ignore[union-attr]
            assert row["inlined_by"][-1]["function"] == "ip_rcv_core"
            assert row["found_by"] in ("argument", "frame", "caller")
            assert isinstance(row["ts"], int)


def test_absent_values_are_null() -> None:
    bare = event(len=None, dev=None, netns=None, instruction=Instruction(0, 0x10, "x", 0))
    row = json.loads(JsonLines().event(bare))
    assert list(row) == KEYS
    for name in ("len", "dev", "netns", "module", "file", "line", "column", "call", "packet"):
        assert row[name] is None, name
    assert row["inlined_by"] == []


def test_a_better_plan_replaces_what_was_known() -> None:
    lines = JsonLines()
    assert json.loads(lines.event(event()))["line"] == 3927
    better = replace(event().instruction, source=SourceLine("net/core/dev.c", 1))
    assert json.loads(lines.event(event(instruction=better)))["line"] == 1


class Doubled:
    """Values whose every watch is the event's number doubled."""

    class Result:
        def __init__(self, value: int | None) -> None:
            self.value = value
            self.text = "<not captured>" if value is None else str(value)

    def passes(self, event: Event) -> None:
        pass

    def watch(self, event: Event, expression: str) -> Result:
        return self.Result(None if expression == "none" else event.no * 2)

    def locals(self, event: Event) -> dict[str, Any]:
        return {"skb": hex(event.skb), "len": None}

    def call(self, event: Event) -> str | None:
        return event.instruction.call


def test_watches_are_keys_and_columns() -> None:
    row = json.loads(JsonLines(["a + b", "none"], True, Doubled()).event(event()))
    assert row["watch"] == {"a + b": 2, "none": None}
    assert row["locals"] == {"skb": "0xffff97720b2cc900", "len": None}
    table = Table(["skb->len > 1500", "none"], Doubled())
    head, line = table.head(), table.row(event())
    assert head.index("skb->len > 1500") == line.index(" 2 ") + 1
    assert "<not captured> net/core/dev.c:3927" in line


@pytest.fixture(scope="module")
def ping_with_variables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded ping with its table of variables made anew from the stock kernel's debug symbols."""
    path = tmp_path_factory.mktemp("values") / "ping.ktrace"
    shutil.copy(PING, path)
    with Trace.open(path) as trace:
        header, addresses = trace.header, [one.address - trace.header.slide for one in trace.plan]
    (vmlinux,) = LAB.glob(f"{header.release}/root/usr/lib/debug/boot/vmlinux-*")
    with DebugImage.open(vmlinux) as image:
        data = build_table(image, addresses, header.slide).to_bytes()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE blob SET data = ? WHERE name = ?", (codec.compress(data), blobs.VARIABLES))
        database.commit()
    return path


def test_values_of_a_recorded_ping(ping_with_variables: Path) -> None:
    """The ping was sent with 200 bytes of data, TTL 17 and TOS 8 (tests/data/record.py)."""
    tos = "((struct iphdr *)skb->data)->tos"
    watches = ["iph->ttl", "iph->ttl - 1", "skb->len > 100", tos, "net"]
    with Trace.open(ping_with_variables) as trace:
        values = EventValues(trace, watches)
        out = io.StringIO()
        follow(trace, [JsonOutput(JsonLines(watches, True, values), out)], Limits())
        table = Table(["iph->ttl"], EventValues(trace, ["iph->ttl"]))
        shown = {row.split()[5] for row in printed(trace, table=table)[1:]}
    rows = [json.loads(line) for line in out.getvalue().splitlines()[1:-1]]
    rows = [row for row in rows if bytes.fromhex(row["packet"])[34] == 8]  # ICMP echo request
    assert rows
    assert {row["watch"]["iph->ttl"] for row in rows} == {None, 17}
    assert {row["watch"]["iph->ttl - 1"] for row in rows} == {None, 16}
    assert {row["watch"]["skb->len > 100"] for row in rows} == {1}
    assert {row["watch"][tos] for row in rows} >= {8}
    assert {row["locals"]["skb"] for row in rows} >= {row["skb"] for row in rows[:10]}
    assert {row["locals"].get("len") for row in rows} == {None, 20, 228}  # the header, then all of it
    assert "17" in shown


def test_a_watch_without_meaning_is_refused(ping_with_variables: Path) -> None:
    with Trace.open(ping_with_variables) as trace:
        values = EventValues(trace, ["skb->nosuchfield"])
        with pytest.raises(UsageError, match="nosuchfield"):
            values.passes(trace.event(1))
        with pytest.raises(UsageError):
            EventValues(trace, ["skb->"])


# Limits and selection


def test_limits_of_a_replay() -> None:
    with Trace.open(PING) as trace:
        assert len(printed(trace, Limits(events=5))) == 6
        first = {trace.event(no).packet_id for no in range(1, len(trace) + 1)}
        assert len(first) > 2
        rows = printed(trace, Limits(packets=2))[1:]
        shown = {trace.event(int(row.split()[0])).packet_id for row in rows}
        assert len(shown) == 2
        whole = [no for no in range(1, len(trace) + 1) if trace.event(no).packet_id in shown]
        assert len(rows) <= len(whole)


def test_an_expression_selects_recorded_packets() -> None:
    with Trace.open(PING) as trace:
        everything = len(printed(trace))
        assert len(printed(trace, Limits(selects=Selection("icmp", trace, make_judge)))) == everything
        assert len(printed(trace, Limits(selects=Selection("tcp", trace, make_judge)))) == 1
        requests = printed(trace, Limits(selects=Selection("icmp[0] == 8", trace, make_judge)))
        replies = printed(trace, Limits(selects=Selection("icmp[0] == 0", trace, make_judge)))
        assert len(requests) > 1
        assert len(requests) + len(replies) == everything + 1


def test_the_words_of_the_screens_filter_select_here_too() -> None:
    with Trace.open(PING) as trace:
        words = "cpu:1 packet:2,4,5 file:ip_input.c icmp[0] == 0"
        chosen = Limits(selects=Selection(words, trace, make_judge))
        rows = [int(row.split()[0]) for row in printed(trace, chosen)[1:]]
        events = [trace.event(no) for no in range(1, len(trace) + 1)]
        assert rows == [
            one.no
            for one in events
            if one.packet_id == 5 and one.instruction.source.file == "net/ipv4/ip_input.c"
        ]
        assert len(rows) == 64
        with pytest.raises(UsageError, match="is:red"):
            Selection("is:red", trace, make_judge)


# Header and summary


def test_header_and_summary_are_self_contained() -> None:
    header = TraceHeader("1", "6.1", "x86_64", "abc", ("ktcpdump-tui", "icmp"), 1, 2, 3)
    row = json.loads(JsonLines().header(header))
    assert (row["type"], row["release"], row["command_line"]) == ("header", "6.1", ["ktcpdump-tui", "icmp"])
    made = Summary(1, 2, 3, 4, 5, {"ring buffer full": 6}, derived=7, truncated={"packet": 8})
    row = json.loads(JsonLines().summary(made))
    assert row["lost"] == {"ring buffer full": 6}
    assert (row["packets"], row["derived"], row["truncated"]) == (2, 7, {"packet": 8})


def test_the_summary_tells_the_state_of_every_line() -> None:
    """What was executed is what the events say; the others are never said to be executed."""
    with Trace.open(PING) as trace:
        row = json.loads(JsonLines(trace=trace).summary(trace.summary or Summary(0, 0, 0, 0, 0)))
        sources = [event.instruction.source for event in trace.events(1, len(trace))]
        executed = {(one.file, one.line) for one in sources if one and one.line}
        planned = {(one.source.file, one.source.line) for one in trace.plan if one.source and one.source.line}
    states = {(one["file"], one["line"]): one["state"] for one in row["lines"]}
    assert {line for line, state in states.items() if state == "executed"} == executed
    assert states.keys() == planned
    assert set(states.values()) <= {"executed", "not executed", "not probed", "unknown"}
    assert all((one["hits"] > 0) == (one["state"] == "executed") for one in row["lines"])
