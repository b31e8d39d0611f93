"""Saving a trace or some of its events, and recording one that is still being written."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.recorder import Recorder
from ktcpdump_tui.trace.saving import check_new, save
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

DATA = Path(__file__).parents[2] / "data"
#: Recorded on real kernels.
RECORDED = sorted(DATA.glob("*.ktrace"))


def events_of(trace: Trace) -> list[object]:
    return list(trace.events(trace.first_no, len(trace)))


def feed(writer: TraceWriter, trace: Trace, first: int, last: int) -> None:
    """Have a capture go on: the events ``first`` to ``last`` of a recorded trace."""
    writer.write_events(trace.rows(first, last))
    writer.flush()


def begin(path: Path, trace: Trace, max_size: int | None = None) -> TraceWriter:
    writer = TraceWriter(path, max_size)
    writer.write_header(trace.header)
    writer.write_plan(list(trace.plan))
    for name in trace.blob_names():
        writer.put_blob(name, trace.blob(name) or b"")
    for _, _, data in trace.raw_notes():
        writer.write_notes(data)
    writer.flush()
    return writer


@pytest.mark.parametrize("path", RECORDED, ids=lambda one: one.stem)
def test_a_saved_trace_is_the_trace(path: Path, tmp_path: Path) -> None:
    with Trace.open(path) as trace:
        seen: list[tuple[int, int]] = []
        copy = tmp_path / "copy.ktrace"
        assert save(trace, copy, progress=lambda done, of: seen.append((done, of))) == len(trace)
        assert seen[-1] == (len(trace), len(trace))
        with Trace.open(copy) as other:
            assert events_of(other) == events_of(trace)
            assert list(other.packets()) == list(trace.packets())
            assert other.header == trace.header
            assert list(other.plan) == list(trace.plan)
            assert other.summary == trace.summary
            assert other.counts() == trace.counts()
            assert {name: other.blob(name) for name in other.blob_names()} == {
                name: trace.blob(name) for name in trace.blob_names()
            }
    assert os.listdir(tmp_path) == ["copy.ktrace"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda one: one.stem)
def test_the_events_of_one_packet_are_saved_with_all_that_belongs_to_them(path: Path, tmp_path: Path) -> None:
    with Trace.open(path) as trace:
        packet = trace.packets()[len(trace.packets()) // 2]
        numbers = np.concatenate([numbers for numbers, _ in trace.chunks(0, packet=packet.id)])
        save(trace, tmp_path / "one.ktrace", numbers)
        with Trace.open(tmp_path / "one.ktrace") as other:
            expected = [replace(trace.event(int(no)), no=at) for at, no in enumerate(numbers, 1)]
            assert [replace(one, lost_before=0) for one in events_of(other)] == [
                replace(one, lost_before=0) for one in expected
            ]
            saved = {one.id for one in other.packets()}
            assert packet.id in saved
            assert saved <= {one.id for one in trace.packets()}
            assert other.packet(packet.id).fate == packet.fate
            assert other.summary is not None
            assert other.summary.events == len(numbers)
            kept, all_of_it = (sum(len(data) for _, _, data in one.raw_notes()) for one in (other, trace))
            assert (kept < all_of_it) == (len(saved) < len(trace.packets()))


def test_events_left_out_are_not_called_lost_and_lost_ones_still_are(tmp_path: Path) -> None:
    with Trace.open(RECORDED[0]) as trace:
        path = tmp_path / "gap.ktrace"
        writer = begin(path, trace)
        rows = trace.rows(1, 60).copy()
        rows["cpu"] = 0
        rows["seq"] = np.arange(1, 61)
        rows["seq"][30:] += 5
        writer.write_events(rows)
        writer.close(trace.summary)
    with Trace.open(path) as gap:
        assert gap.losses()["lost"].tolist() == [5]
        save(gap, tmp_path / "some.ktrace", np.arange(2, 61, 2))
        save(gap, tmp_path / "before.ktrace", np.arange(1, 11))
        with Trace.open(tmp_path / "some.ktrace") as some, Trace.open(tmp_path / "before.ktrace") as before:
            assert some.losses()["lost"].tolist() == [5]
            assert some.losses()["no"].tolist() == [16]
            assert len(before.losses()) == 0


def test_what_cannot_be_written_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    there = tmp_path / "there.ktrace"
    there.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"exists already\n.*add !"):
        check_new(there)
    assert check_new(there, replace_it=True) == there
    with pytest.raises(UserError, match="is a folder"):
        check_new(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        check_new(tmp_path / "no" / "where.ktrace")

    def cancel(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with Trace.open(RECORDED[0]) as trace:
        with pytest.raises(KeyboardInterrupt):
            save(trace, there, progress=cancel)
        assert there.read_bytes() == b"mine"
        assert os.listdir(tmp_path) == ["there.ktrace"]
        save(trace, there)
    with Trace.open(there) as replaced:
        assert len(replaced)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """The part of the file that fits is taken away again."""
    with Trace.open(RECORDED[0]) as trace:
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (128 << 10, before[1]))
        try:
            with pytest.raises(UserError) as error:
                save(trace, tmp_path / "full.ktrace")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "full.ktrace" in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_recorder_has_everything_from_the_first_event_to_the_last(tmp_path: Path) -> None:
    with Trace.open(RECORDED[0]) as trace:
        source, kept = tmp_path / "temporary.ktrace", tmp_path / "kept.ktrace"
        writer = begin(source, trace)
        half = len(trace) // 2
        feed(writer, trace, 1, half)
        recorder = Recorder(source, kept, lambda: False)
        recorder.start()
        seen = 0
        while seen < half:  # it is there while the capture goes on
            threading.Event().wait(0.01)
            if recorder.events:
                with Trace.open(kept) as other:
                    seen = len(other)
        assert seen == half
        # a probe is added, and a name becomes known
        longer = [*trace.plan, replace(trace.plan[-1], index=len(trace.plan), offset=9999)]
        writer.write_plan(longer)
        writer.put_blob("symbols", b'{"0x1": ["x+1", null]}')
        writer.put_blob("variables:1", b"new")
        feed(writer, trace, half + 1, len(trace))
        writer.write_progress({"lost: notes lost": 3})
        writer.close(trace.summary)
        assert recorder.finish() == len(trace)
        source.unlink()
        with Trace.open(kept) as other:
            expected = [replace(one, lost_before=0) for one in events_of(trace)]
            assert [replace(one, lost_before=0) for one in events_of(other)] == expected
            assert other.summary == trace.summary
            assert list(other.packets()) == list(trace.packets()) or other.blob("symbols")
            assert len(other.plan) == len(longer)
            assert other.blob("symbols") == b'{"0x1": ["x+1", null]}'
            assert other.blob("variables:1") == b"new"
            assert other.counts()["lost: notes lost"] == 3


def test_a_capture_that_was_cut_off_is_recorded_as_far_as_it_went(tmp_path: Path) -> None:
    with Trace.open(RECORDED[0]) as trace:
        source, kept = tmp_path / "temporary.ktrace", tmp_path / "kept.ktrace"
        writer = begin(source, trace)
        feed(writer, trace, 1, 20)
        ended = threading.Event()
        recorder = Recorder(source, kept, ended.is_set)
        recorder.start()
        writer.close(None)
        ended.set()
        assert recorder.finish() == 20
        with Trace.open(kept) as other:
            assert len(other) == 20
            assert other.summary is None


def test_what_max_size_removed_before_is_not_called_lost(tmp_path: Path) -> None:
    with Trace.open(RECORDED[0]) as trace:
        source, kept = tmp_path / "temporary.ktrace", tmp_path / "kept.ktrace"
        writer = begin(source, trace, max_size=1 << 20)
        seq = np.zeros(256, "<u8")
        for _ in range(400):
            rows = trace.rows(1, len(trace)).copy()
            rows["ts"] += np.uint64(1)
            rows["regs"] = np.random.default_rng(1).integers(0, 1 << 60, rows["regs"].shape, dtype="<u8")
            for cpu in np.unique(rows["cpu"]).tolist():
                at = rows["cpu"] == cpu
                rows["seq"][at] = seq[cpu] + np.arange(1, at.sum() + 1, dtype="<u8")
                seq[cpu] += np.uint64(at.sum())
            writer.write_events(rows)
        writer.flush()
        with Trace.open(source) as trimmed:
            assert trimmed.first_no > 1
            left = len(trimmed) - trimmed.first_no + 1
        recorder = Recorder(source, kept, lambda: False)
        recorder.start()
        writer.close(trace.summary)
        assert recorder.finish() == left
        with Trace.open(kept) as other:
            assert len(other.losses()) == 0


def test_a_recorder_that_fails_leaves_the_capture_alone(tmp_path: Path) -> None:
    with Trace.open(RECORDED[0]) as trace:
        source, folder = tmp_path / "temporary.ktrace", tmp_path / "folder"
        folder.mkdir()
        writer = begin(source, trace)
        recorder = Recorder(source, folder / "kept.ktrace", lambda: False)
        recorder._writer._db.execute("PRAGMA max_page_count = 4")  # what a full disk is to SQLite
        recorder.start()
        feed(writer, trace, 1, 10)
        with pytest.raises(UserError, match=r"kept\.ktrace"):
            recorder.finish()
        feed(writer, trace, 11, 20)
        writer.close(trace.summary)
    with Trace.open(source) as whole:
        assert len(whole) == 20
