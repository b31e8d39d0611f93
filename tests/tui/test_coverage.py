"""Counting lines in the background: what is counted, how often, and what is drawn of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.trace import jumps as jumps_module
from ktcpdump_tui.trace import lines as lines_module
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.tui.coverage import Coverage
from ktcpdump_tui.tui.coverage_reader import CoverageOrder, CoverageReader
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.minimap import Minimap
from ktcpdump_tui.tui.source_view import SourceView

TRACE = Path(__file__).parents[1] / "data" / "four-ways-6.12.ktrace"


def test_the_marks_are_the_lines_of_the_trace():
    with Trace.open(TRACE) as trace:
        covered = CoverageReader(trace.reopen).read(CoverageOrder(2, len(trace)))
        hits, states, of_packet = trace.line_hits(), trace.line_states(), trace.line_hits(2)
        assert len(hits) >= 300
        assert 0 < sum(map(bool, of_packet.values())) < sum(map(bool, hits.values()))
        for (file, line), count in hits.items():
            mark = covered.marks.of(file).get(line)
            assert (mark.hits, mark.state, mark.packet_hits) == (
                count,
                states[file, line],
                of_packet[file, line],
            )
            assert covered.marks.of(file).get(1_000_000) is None
        assert covered.marks.of("no/such/file.c").get(1) is None
        assert not covered.lost


def test_a_packet_is_gone_through_again_only_where_something_is_new(monkeypatch):
    counted = []
    for module, name in ((lines_module, "packet_hits"), (jumps_module.Jumps, "counts")):
        plain = getattr(module, name)

        def watched(*arguments, plain=plain, name=name):
            counted.append(name)
            return plain(*arguments)

        monkeypatch.setattr(module, name, watched)
    with Trace.open(TRACE) as trace:
        reader, function = CoverageReader(trace.reopen), tuple(range(40))
        first = reader.read(CoverageOrder(1, len(trace), function=function))
        again = reader.read(CoverageOrder(1, len(trace), frozenset({3}), function=function))
        assert counted == ["packet_hits", "counts"]
        assert again.jumps == first.jumps
        assert first.jumps
        reader.read(CoverageOrder(1, len(trace), function=function[:20]))
        assert counted == ["packet_hits", "counts", "counts"]
        other = reader.read(CoverageOrder(2, len(trace), function=function))
        assert counted == ["packet_hits", "counts", "counts", "packet_hits", "counts"]
        assert other.packet_hits.tolist() != first.packet_hits.tolist()
        assert reader.read(CoverageOrder(0, len(trace))).jumps == {}


def test_counting_takes_a_small_part_of_the_time():
    with Trace.open(TRACE) as trace:
        covered = CoverageReader(trace.reopen).read(CoverageOrder(1, len(trace)))
    assert covered.took > 0
    assert covered.pause >= max(0.5, 20 * covered.took)


@pytest.fixture
def drawn(monkeypatch):
    """Return {class: lines asked to be drawn anew}, "all" for the whole widget."""
    found = {SourceView: [], DisassemblyView: [], Minimap: []}
    for cls, lines in found.items():
        plain = cls.refresh

        def refresh(self, *regions, plain=plain, lines=lines, **named):
            lines.extend([region.y for region in regions] or ["all"])
            return plain(self, *regions, **named)

        monkeypatch.setattr(cls, "refresh", refresh)
    return found


async def test_only_counts_that_look_different_are_drawn(debugger, recorded, drawn):
    async with debugger(recorded, size=(120, 40)) as driver:
        await driver.press("d")
        app = driver.app
        view, listing = app.query_one(SourceView), app.query_one(DisassemblyView)
        plan = app.trace.plan_lines
        row = listing.instructions[1].index

        def show(hits):
            for lines in drawn.values():
                lines.clear()
            marks = Coverage(plan, hits, hits, lost=False)
            view.show_marks(marks.of(view.document.file), frozenset())
            listing.show_hits(hits, hits, unknown=False)
            app.show_minimap()

        hits = np.full(len(app.trace.plan), 5_000_000, "<u8")
        show(hits)
        assert len(drawn[SourceView]) > 1
        assert len(drawn[DisassemblyView]) > 1
        show(hits + 1)
        assert drawn == {SourceView: [], DisassemblyView: [], Minimap: []}, "5.0M is 5.0M"
        hits = hits.copy()
        hits[row] = 9_000_000
        show(hits)
        assert drawn[DisassemblyView] == [1]
        assert len(drawn[SourceView]) == 1
        await driver.until(lambda: "9.0M" in driver.text("#source"))


async def test_the_minimap_goes_along_with_the_list(debugger, recorded):
    async with debugger(recorded, size=(80, 24)) as driver:
        minimap, table = driver.app.query_one(Minimap), driver.app.table
        before = driver.text("#minimap")
        table.scroll_to(y=20, animate=False, immediate=True, force=True)
        await driver.until(lambda: driver.text("#minimap") != before)
        assert minimap._thumb == minimap.thumb(minimap.size.height)


async def test_cells_are_those_of_their_rows(debugger, recorded):
    async with debugger(recorded, size=(80, 24)) as driver:
        minimap, rows = driver.app.query_one(Minimap), len(driver.app.table.rows)
        choose = np.random.default_rng(1)
        for height in (1, 7, 10, 60):
            for _ in range(20):
                places = np.sort(choose.integers(0, rows + 3, choose.integers(0, 9)))
                minimap._places = {"loss": places}
                expected = {min(int(place), rows - 1) * height // rows: "loss" for place in places}
                assert minimap.cells(height) == expected
