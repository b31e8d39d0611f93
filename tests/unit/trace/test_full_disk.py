"""A full disk ends the recording, not the capture: what was stored stays, and what comes is seen."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.full_disk import DISK_FULL
from ktcpdump_tui.trace.recorder import Recorder
from ktcpdump_tui.trace.refuge import Refuge
from ktcpdump_tui.trace.rotate import RotatingWriter
from ktcpdump_tui.trace.sink import GivingUp, TeeSink
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.whereabouts import Whereabouts
from ktcpdump_tui.trace.writer import TraceWriter

MB = 1 << 20
PROGRAM = (sys.executable, "-m", "ktcpdump_tui")
SUMMARY = Summary(20_000, 9, 2, 3, 4)


@pytest.fixture
def disk(tmp_path):
    """The folder on which a small file system is mounted."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def noisy(count: int, first: int, seed: int = 1) -> np.ndarray:
    """Rows that do not pack, each packet with 11 of them."""
    rows = made.rows(count, first=first, packets=10**6)
    rows["stack"] = np.random.default_rng((seed, first)).integers(0, 256, rows["stack"].shape, "u1")
    return rows


def write(sink, total: int = 20_000, each: int = 500, looked=lambda: None, noise=None) -> np.ndarray:
    """Write a capture of ``total`` events in steps; call ``looked`` after each; return the rows."""
    sink.write_header(made.header())
    sink.write_plan(made.plan())
    sink.put_blob("drop_reasons", b"{}")
    parts, known = [], 0
    for first in range(0, total, each):
        rows = noisy(min(each, total - first), first)
        if noise is not None:
            rows["regs"] = noise(np.random.default_rng(first), rows)
        newest = int(rows["packet"].max())
        births = range(known + 1, newest + 1)
        sink.write_notes(b"".join(made.birth(n, n) + made.state(n, n, length=80 + n % 9) for n in births))
        sink.write_notes(b"".join(made.free(n, n, dropped=n % 2 == 1) for n in births if n < newest))
        known = newest
        sink.write_events(rows)
        sink.write_progress({"packets": newest, "lost: ring": 3})
        sink.flush()
        parts.append(rows)
        looked()
    return np.concatenate(parts)


def same(trace: Trace, rows: np.ndarray) -> None:
    """Check that a trace has the first rows, with packets and states, and nothing else."""
    last = len(trace)
    assert trace.rows(trace.first_no, last).tobytes() == rows[trace.first_no - 1 : last].tobytes()
    assert trace.plan == made.plan()
    assert trace.blob("drop_reasons") == b"{}"
    assert int(trace.hits().sum()) == last
    for no in {trace.first_no, last, (trace.first_no + last) // 2}:
        event = trace.event(no)
        assert event.len == 80 + event.packet_id % 9, "the state is there"
        assert trace.packet_span(event.packet_id)[0] == (event.packet_id - 1) * 11 + 1
    assert len(trace.losses()) == 0


class Moved(list):
    """What a refuge tells."""

    def __call__(self, move) -> None:
        self.append(move)


def test_the_capture_goes_on_where_there_is_room_and_the_file_says_where_it_ends(disk):
    def inside() -> None:
        where, moves = Whereabouts(disk / "a.ktrace"), Moved()
        refuge = Refuge(where, 1 << 30, moves)
        writer = TraceWriter(where.path, refuge=refuge)
        seen = []

        def look() -> None:
            if not seen:
                seen.append(Trace.open(where))
                seen.append(seen[0].reopen())
            for reader in seen:
                assert reader.refresh() == writer.events, "the reader goes along"
            assert seen[0].event(1).no == 1

        rows = write(writer, looked=look)
        (move,) = moves
        assert move.left == disk / "a.ktrace"
        assert move.first_no == 1
        assert "full" in move.error
        assert os.listdir(disk) == ["a.ktrace"], "the log is gone while the capture goes on"
        with Trace.open(disk / "a.ktrace") as left:
            assert left.finished
            assert left.summary.ended_by == DISK_FULL
            assert left.summary.events == len(left) == move.events
            assert 500 <= len(left) < 15_000
            assert left.summary.packets == left.counts()["packets"]
            assert left.summary.lost == {"ring": 3}
            same(left, rows)
        writer.close(SUMMARY)
        for reader in seen:
            reader.refresh()
            assert reader.summary == SUMMARY
            same(reader, rows)
            assert reader.path == where.path != disk / "a.ktrace"
            reader.close()
        refuge.close()
        assert not where.path.exists()

    made.on_small_disk(disk, 4 * MB, inside)


def test_it_does_so_wherever_the_disk_becomes_full(disk):
    def inside() -> list[int]:
        held = []
        for number in range(12):
            where, moves = Whereabouts(disk / "a.ktrace"), Moved()
            ballast = disk / "ballast"
            ballast.write_bytes(bytes(number * 122_880))
            refuge = Refuge(where, 1 << 30, moves)
            writer = TraceWriter(where.path, refuge=refuge)
            rows = write(writer, 6000, each=(250, 500, 3000)[number % 3])
            writer.close(SUMMARY)
            (move,) = moves
            with Trace.open(where) as trace:
                assert len(trace) == 6000
                same(trace, rows)
            if (disk / "a.ktrace").exists():
                assert sorted(os.listdir(disk)) == ["a.ktrace", "ballast"]
                with Trace.open(disk / "a.ktrace") as left:
                    assert left.summary.ended_by == DISK_FULL
                    assert len(left) == move.events
                    if len(left):
                        same(left, rows)
            held.append(move.events)
            refuge.close()
            for one in disk.iterdir():
                one.unlink()
        return held

    held = made.on_small_disk(disk, 2 * MB, inside)
    assert len(set(held)) > 5, "it was full at many places"


def test_readers_in_threads_go_along(disk):
    def inside() -> None:
        where = Whereabouts(disk / "a.ktrace")
        refuge = Refuge(where, 1 << 30, Moved())
        writer = TraceWriter(where.path, refuge=refuge)
        errors: list[BaseException] = []
        threads: list[threading.Thread] = []

        def follow() -> None:
            try:
                with Trace.open(where) as trace:
                    while not trace.finished:
                        last = trace.refresh()
                        if last:
                            assert trace.event(last).packet_id == (last - 1) // 11 + 1
                            assert trace.packet(trace.event(1).packet_id).skb
                    assert len(trace) == 20_000
            except BaseException as error:
                errors.append(error)

        def look() -> None:
            if not threads:
                threads.extend(threading.Thread(target=follow) for _ in range(3))
                for one in threads:
                    one.start()

        write(writer, looked=look)
        writer.close(SUMMARY)
        for one in threads:
            one.join()
        assert not errors, errors
        refuge.close()
        assert os.listdir(disk) == ["a.ktrace"]

    made.on_small_disk(disk, 4 * MB, inside)


def test_what_does_not_fit_into_the_new_place_stays_in_the_file_only(disk):
    def inside() -> None:
        where, moves = Whereabouts(disk / "a.ktrace"), Moved()
        refuge = Refuge(where, 4 * MB, moves)
        writer = TraceWriter(where.path, refuge=refuge)
        rows = write(writer, 60_000)
        (move,) = moves
        assert 1 < move.first_no < move.events
        writer.close(SUMMARY)
        with Trace.open(where) as trace:
            assert trace.first_no > move.first_no, "it is bounded as --max-size is"
            assert len(trace) == 60_000
            assert trace.rows(trace.first_no, 60_000).tobytes() == rows[trace.first_no - 1 :].tobytes()
            assert int(trace.hits().sum()) == 60_000
            assert where.path.stat().st_size <= 4 * MB
        with Trace.open(disk / "a.ktrace") as left:
            assert left.first_no == 1
            same(left, rows)
        refuge.close()

    made.on_small_disk(disk, 12 * MB, inside)


def test_without_a_refuge_the_file_is_one_and_says_why_it_ends(disk):
    def inside() -> tuple[str, int]:
        writer = TraceWriter(disk / "a.ktrace")
        with pytest.raises(UserError, match=r"cannot be written any further: .*full") as raised:
            write(writer)
        writer.close(None)
        assert os.listdir(disk) == ["a.ktrace"]
        assert (disk / "a.ktrace").stat().st_size > MB, "the log did not take the room of the file"
        with Trace.open(disk / "a.ktrace") as trace:
            assert trace.summary.ended_by == DISK_FULL
            trace.event(len(trace))
            return raised.value.message, len(trace)

    message, events = made.on_small_disk(disk, 2 * MB, inside)
    assert f"it holds {events:,} events" in message


def test_a_file_that_was_deleted_meanwhile_is_not_made_again(disk):
    def inside() -> None:
        where, moves = Whereabouts(disk / "a.ktrace"), Moved()
        refuge = Refuge(where, 1 << 30, moves)
        writer = TraceWriter(where.path, refuge=refuge)

        def look() -> None:
            where.path.unlink(missing_ok=True)

        with pytest.raises(UserError, match="cannot be written any further"):
            write(writer, looked=look)
        writer.close(None)
        refuge.close()
        assert not moves
        assert not where.path.exists()

    made.on_small_disk(disk, 4 * MB, inside)


def test_rotated_files_end_where_the_disk_is_full_and_the_trace_that_is_shown_goes_on(disk, tmp_path):
    def inside() -> None:
        told: list[UserError] = []
        files = RotatingWriter(disk / "a.ktrace", MB)
        rows = write(TeeSink(TraceWriter(tmp_path / "shown.ktrace"), GivingUp(files, told.append)), 30_000)
        (error,) = told
        assert "full" in error.message
        with Trace.open(tmp_path / "shown.ktrace") as trace:
            same(trace, rows)
            assert len(trace) == len(rows)
        names = sorted(os.listdir(disk), key=lambda name: (len(name), name))
        assert len(names) >= 2
        assert all(name.endswith(".ktrace") for name in names), names
        parts = []
        for name in names:
            with Trace.open(disk / name) as trace:
                assert trace.summary.ended_by == ("rotation" if name != names[-1] else DISK_FULL)
                parts.append(trace.rows(1, len(trace)))
        stored = np.concatenate(parts)
        assert stored.tobytes() == rows[: len(stored)].tobytes()

    made.on_small_disk(disk, 8 * MB, inside)


def test_a_record_that_was_asked_for_later_ends_without_harm(disk, tmp_path):
    def inside() -> None:
        writer = TraceWriter(tmp_path / "shown.ktrace")
        recorders = []

        def look() -> None:
            if not recorders:
                recorders.append(Recorder(tmp_path / "shown.ktrace", disk / "kept.ktrace", lambda: False))
                recorders[0].start()

        rows = write(writer, looked=look)
        writer.close(SUMMARY)
        with pytest.raises(UserError, match="full"):
            recorders[0].finish()
        assert os.listdir(disk) == ["kept.ktrace"]
        with Trace.open(disk / "kept.ktrace") as trace:
            assert trace.summary.ended_by == DISK_FULL
            assert 0 < len(trace) < len(rows)

    made.on_small_disk(disk, 2 * MB, inside)


def test_a_limit_on_files_is_met_in_the_new_place_as_well_and_bounds_it(disk):
    def inside() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * MB, 10 * MB))
        where, moves = Whereabouts(disk / "a.ktrace"), Moved()
        refuge = Refuge(where, 1 << 30, moves)
        writer = TraceWriter(where.path, refuge=refuge)
        rows = write(writer, 100_000, each=2000)
        writer.close(SUMMARY)
        assert len(moves) == 1
        with Trace.open(where) as trace:
            assert len(trace) == 100_000
            last = rows[trace.first_no - 1 :]
            assert trace.rows(trace.first_no, len(trace)).tobytes() == last.tobytes()
        with Trace.open(disk / "a.ktrace") as left:
            assert len(left) == moves[0].events > 0
            same(left, rows)
        refuge.close()

    made.on_small_disk(disk, 200 * MB, inside)


def test_the_program_prints_all_says_once_that_the_file_ends_and_fails(disk, tmp_path):
    recording = TraceWriter(tmp_path / "source.ktrace")
    write(recording, 4000, noise=lambda rng, rows: rng.integers(0, 1 << 62, rows["regs"].shape))
    recording.close(SUMMARY)

    def inside() -> tuple[list[bytes], bytes, int, int]:
        recorded = [*PROGRAM, "-r", tmp_path / "source.ktrace", "--json"]
        with subprocess.Popen(recorded, stdout=subprocess.PIPE) as source:
            shown = [*PROGRAM, "-r", "-", "--json", "-o", disk / "a.ktrace"]
            got = subprocess.run(shown, stdin=source.stdout, capture_output=True, check=False)
        assert os.listdir(disk) == ["a.ktrace"]
        with Trace.open(disk / "a.ktrace") as trace:
            assert trace.summary.ended_by == DISK_FULL
            held = len(trace)
        again = subprocess.run([*PROGRAM, "-r", disk / "a.ktrace", "--json"], capture_output=True, check=True)
        assert len(again.stdout.splitlines()) == held + 2
        assert b"the disk was full" in again.stderr
        return got.stdout.splitlines(), got.stderr, got.returncode, held

    lines, said, status, held = made.on_small_disk(disk, 500_000, inside)
    assert len(lines) == 4000 + 2
    assert 0 < held < 4000
    assert said.count(b"recording into") == 1
    assert f"it holds the first {held:,} events, and the capture goes on without it".encode() in said
    assert status == 1
