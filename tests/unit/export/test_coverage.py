"""Hits of lines as genhtml shows them."""

from __future__ import annotations

import html
import re
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.export import export
from ktcpdump_tui.model import LineState, ProbeState
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"


def written(trace: Trace, folder: Path, numbers: list[int] | None = None) -> str:
    export(trace, folder / "trace.info", numbers)
    return (folder / "trace.info").read_text()


def sections(text: str) -> dict[str, list[str]]:
    parts = re.findall(r"^SF:(.*)\n((?:.*\n)*?)end_of_record$", text, re.MULTILINE)
    return {file: body.splitlines() for file, body in parts}


@pytest.mark.parametrize("name", ["ping-6.12", "ping-6.1", "udp-drop-6.12"])
def test_genhtml_shows_the_hits_of_each_line(tmp_path: Path, name: str) -> None:
    """A tree of made-up source text of the right length is enough for genhtml."""
    with Trace.open(DATA / f"{name}.ktrace") as trace:
        text = written(trace, tmp_path)
        states, hits = trace.line_states(), trace.line_hits()
    lines: dict[str, int] = {}
    for file, line in states:
        lines[file] = max(lines.get(file, 0), line)
    for file, last in lines.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"line {number} of {file}\n" for number in range(1, last + 1)))
    run = subprocess.run(
        ["genhtml", "-o", "html", "trace.info"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    shown: dict[tuple[str, int], int] = {}
    for page in (tmp_path / "html").rglob("*.c.gcov.html"):
        plain = html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))
        for count, number, file in re.findall(
            r"^ *\d+ +(?:(\d+))? : line (\d+) of (\S+)$", plain, re.MULTILINE
        ):
            if count:
                shown[file, int(number)] = int(count)
    expected = {
        place: hits[place]
        for place, state in states.items()
        if state in (LineState.EXECUTED, LineState.NOT_EXECUTED) and place[0].endswith(".c")
    }
    assert shown == expected
    assert any(expected.values())
    assert "end_of_record" in text


def test_each_line_says_when_it_ran_first_and_last(tmp_path: Path) -> None:
    with Trace.open(PING) as trace:
        body = sections(written(trace, tmp_path))["net/ipv4/ip_input.c"]
        times: dict[int, list[int]] = {}
        for event in trace.events(1, len(trace)):
            source = event.instruction.source
            if source and source.file == "net/ipv4/ip_input.c" and source.line:
                times.setdefault(source.line, []).append(event.ts + trace.header.clock_offset)
    said = {
        int(line): (first, last)
        for line, first, last in re.findall(r"^#TIME:(\d+),([\d.]+),([\d.]+)$", "\n".join(body), re.MULTILINE)
    }
    assert said == {
        line: tuple(f"{at // 10**9}.{at % 10**9:09}" for at in (min(all_of), max(all_of)))
        for line, all_of in times.items()
    }


def test_a_function_counts_its_entries(tmp_path: Path) -> None:
    with Trace.open(PING) as trace:
        body = sections(written(trace, tmp_path))["net/ipv4/ip_input.c"]
        entries = Counter(
            event.instruction.symbol for event in trace.events(1, len(trace)) if event.instruction.offset == 0
        )
    assert [line for line in body if line.startswith("FNDA:")] == [
        f"FNDA:{entries['ip_rcv_core']},ip_rcv_core"
    ]


def test_only_the_selected_events_count(tmp_path: Path) -> None:
    with Trace.open(PING) as trace:
        numbers = [no for no in range(1, len(trace) + 1) if trace.event(no).packet_id == 1]
        body = sections(written(trace, tmp_path, numbers))["net/ipv4/ip_input.c"]
        hits = trace.line_hits(1)
    counts = {int(a): int(b) for a, b in re.findall(r"^DA:(\d+),(\d+)$", "\n".join(body), re.MULTILINE)}
    assert counts == {
        line: n for (file, line), n in hits.items() if file == "net/ipv4/ip_input.c" and line in counts
    }
    assert max(counts.values()) >= 1


def test_lines_nothing_is_known_of_are_not_called_unexecuted(tmp_path: Path) -> None:
    """The recorded ping, with a probe refused, and with events lost."""
    with Trace.open(PING) as source:
        states = source.line_states()
        unseen = sorted(place for place, state in states.items() if state is LineState.NOT_EXECUTED)
        refused, uncertain = unseen[0], unseen[1:]
        plan = [
            replace(one, probe=ProbeState.REFUSED)
            if one.source and (one.source.file, one.source.line) == refused
            else one
            for one in source.plan
        ]
        rows = source.rows(1, len(source)).copy()
        last = np.flatnonzero(rows["cpu"] == rows["cpu"][-1])[-1]
        rows["seq"][last] += 5  # four events before the last one are missing
        writer = TraceWriter(tmp_path / "lossy.ktrace")
        writer.write_header(source.header)
        writer.write_plan(plan)
        writer.write_events(rows)
        writer.close(None)
    with Trace.open(tmp_path / "lossy.ktrace") as trace:
        assert trace.lost()
        text = sections(written(trace, tmp_path))
    said = {(file, line) for file, body in text.items() for line in body}
    assert (refused[0], f"#NOT_PROBED:{refused[1]}") in said
    assert all((file, f"#UNKNOWN:{line}") in said for file, line in uncertain)
    assert not [line for _, line in said if re.fullmatch(r"DA:\d+,0", line)]
