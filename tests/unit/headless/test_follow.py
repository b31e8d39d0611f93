"""What is printed while a trace grows, and where it is cut off."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, TableOutput
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.table import Table
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"
PING = DATA / "ping-6.12.ktrace"
DROP = DATA / "udp-drop-6.12.ktrace"


class GrowingCapture:
    """Writes a recorded trace again, event by event, when it is waited for."""

    def __init__(self, source: Trace, path: Path, step: int) -> None:
        self.source, self.step, self.written = source, step, 0
        self.writer = TraceWriter(path)
        self.writer.write_header(source.header)
        self.writer.write_plan(source.plan)
        self.writer.flush()
        self.waits = 0

    @property
    def ended(self) -> bool:
        return self.written >= len(self.source)

    def wait(self, seconds: float) -> None:
        self.waits += 1
        until = min(self.written + self.step, len(self.source))
        if until > self.written:
            self.writer.write_events(self.source.rows(self.written + 1, until))
            self.writer.flush()
            self.written = until
        if self.ended:
            self.writer.close(self.source.summary)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_following_prints_what_a_replay_prints(tmp_path: Path, step: int) -> None:
    with Trace.open(DROP) as source:
        capture = GrowingCapture(source, tmp_path / "growing.ktrace", step)
        out = io.StringIO()
        with Trace.open(tmp_path / "growing.ktrace") as trace:
            follow(trace, [JsonOutput(JsonLines(), out)], Limits(), capture)
        live = [json.loads(line) for line in out.getvalue().splitlines()]
        again = io.StringIO()
        with Trace.open(tmp_path / "growing.ktrace") as trace:
            follow(trace, [JsonOutput(JsonLines(), again)], Limits())
        assert live == [json.loads(line) for line in again.getvalue().splitlines()]
        assert live[-1]["type"] == "summary"
        assert len(live) == len(source) + 2


def test_each_batch_is_seen_at_once(tmp_path: Path) -> None:
    """What is written is flushed before the next wait."""
    seen: list[int] = []

    class Screen(io.StringIO):
        lines = 0

        def write(self, text: str) -> int:
            self.lines += text.count("\n")
            return super().write(text)

        def flush(self) -> None:
            seen.append(self.lines)

    with Trace.open(PING) as source:
        capture = GrowingCapture(source, tmp_path / "g.ktrace", 100)
        with Trace.open(tmp_path / "g.ktrace") as trace:
            follow(trace, [TableOutput(Table(), Screen())], Limits(), capture)
        assert seen[:3] == [1, 101, 201]
        assert seen[-1] == len(source) + 1


def test_a_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with Trace.open(PING) as trace, pytest.raises(BrokenPipeError):
        follow(trace, [TableOutput(Table(), Gone())], Limits())


def test_a_capture_that_was_cut_off_has_no_summary(tmp_path: Path) -> None:
    with Trace.open(PING) as source:
        writer = TraceWriter(tmp_path / "cut.ktrace")
        writer.write_header(source.header)
        writer.write_plan(source.plan)
        writer.write_events(source.rows(1, 10))
        writer.close(None)
    out = io.StringIO()
    with Trace.open(tmp_path / "cut.ktrace") as trace:
        follow(trace, [JsonOutput(JsonLines(), out)], Limits())
    assert [json.loads(line).get("no") for line in out.getvalue().splitlines()] == [None, *range(1, 11)]
