"""Lines that come after the events: first of what was hit; no event is printed before its line is known."""

from __future__ import annotations

import io
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.capture.later import HitTap, LaterLines
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.headless.output import TableOutput
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.table import Table
from ktcpdump_tui.trace.blobs import lines_pending
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable

DROP = Path(__file__).parents[2] / "data" / "udp-drop-6.12.ktrace"


class Capture:
    """Writes a recorded trace again, first without its lines, which ``look_up`` adds."""

    def __init__(self, source: Trace, path: Path) -> None:
        self.source = source
        self.plan = [replace(one, source=None) for one in source.plan]
        self.writer = TraceWriter(path)
        self.writer.write_header(source.header)
        self.writer.write_plan(self.plan)
        self.tap = HitTap(self.writer, event_dtype(source.header.stack_bytes))
        self.asked: list[list[int]] = []
        self.writes = 0

    def look_up(self, indices: list[int]) -> None:
        self.asked.append(indices)
        for index in indices:
            self.plan[index] = self.source.plan[index]

    def write(self) -> None:
        self.writes += 1
        self.writer.write_plan(self.plan)

    def later(self, look_up: Callable[[list[int]], None] | None = None) -> LaterLines:
        wanted = range(len(self.plan))
        return LaterLines(wanted, self.tap, self.writer, look_up or self.look_up, self.write)


def test_what_was_hit_comes_first(tmp_path: Path) -> None:
    with Trace.open(DROP) as source:
        capture = Capture(source, tmp_path / "later.ktrace")
        later = capture.later()
        capture.tap.write_events(source.rows(1, len(source)))
        hit = sorted({event.instruction.index for event in source.events(1, len(source))})
        assert 0 < len(hit) < len(source.plan)
        later.start()
        while lines_pending_in(capture):
            threading.Event().wait(0.01)
        later.finish()
        assert capture.asked[0] == hit
        assert sorted(index for some in capture.asked for index in some) == list(range(len(source.plan)))
        assert all(len(some) <= 64 for some in capture.asked[1:])
        others = len(source.plan) - len(hit)
        assert capture.writes == 1 + math.ceil(others / 512), "what was hit at once, the others together"
        assert capture.plan == list(source.plan)


def test_at_the_end_only_what_was_hit_is_waited_for(tmp_path: Path) -> None:
    with Trace.open(DROP) as source:
        capture = Capture(source, tmp_path / "later.ktrace")
        begun, go_on = threading.Event(), threading.Event()

        def look_up(indices: list[int]) -> None:
            begun.set()
            assert go_on.wait(30)
            capture.look_up(indices)

        later = capture.later(look_up)
        later.start()
        assert begun.wait(30)
        last = len(source.plan) - 1
        rows = source.rows(1, 1).copy()
        rows["insn"] = last
        capture.tap.write_events(rows)
        ending = threading.Thread(target=later.finish)
        ending.start()
        while not later._only_hit.is_set():
            threading.Event().wait(0.01)
        go_on.set()
        ending.join(30)
        assert capture.asked == [list(range(64)), [last]]
        assert lines_pending_in(capture) == frozenset()


def test_an_error_is_kept_and_ends_the_waiting(tmp_path: Path) -> None:
    with Trace.open(DROP) as source:
        capture = Capture(source, tmp_path / "later.ktrace")

        def fail(_: list[int]) -> None:
            raise UserError("the debug file is damaged")

        later = capture.later(fail)
        assert len(lines_pending_in(capture)) == len(source.plan)
        later.start()
        later.finish()
        assert later.error is not None
        assert lines_pending_in(capture) == frozenset()


def lines_pending_in(capture: Capture) -> frozenset[int]:
    capture.writer.flush()
    with Trace.open(capture.writer.path) as trace:
        return lines_pending(trace)


class Waiting:
    """As ``capture`` is followed: its lines come at the third wait, its end at the fifth."""

    def __init__(self, capture: Capture, later: LaterLines, out: io.StringIO) -> None:
        self.capture, self.later, self.out = capture, later, out
        self.waits = 0
        self.printed: list[int] = []

    @property
    def ended(self) -> bool:
        return self.waits >= 5

    def wait(self, seconds: float) -> None:
        self.waits += 1
        self.printed.append(self.out.getvalue().count("\n"))
        if self.waits == 3:
            self.later.start()
            self.later.finish()
        self.capture.writer.flush()


def test_no_event_is_printed_while_its_line_is_looked_up(tmp_path: Path) -> None:
    out, at_once = io.StringIO(), io.StringIO()
    with Trace.open(DROP) as source:
        capture = Capture(source, tmp_path / "later.ktrace")
        later = capture.later()
        capture.tap.write_events(source.rows(1, len(source)))
        capture.writer.flush()
        waiting = Waiting(capture, later, out)
        with Trace.open(capture.writer.path) as trace:
            follow(trace, [TableOutput(Table(), out)], Limits(), waiting)
        follow(source, [TableOutput(Table(), at_once)], Limits())
    assert waiting.printed[:3] == [waiting.printed[0]] * 3
    assert waiting.printed[0] <= 1  # the table's head
    assert waiting.printed[3] == len(source) + 1
    assert [row.split()[-1] for row in out.getvalue().splitlines()] == [
        row.split()[-1] for row in at_once.getvalue().splitlines()
    ]
