"""Nothing committed is lost, and nothing that is found on disk brings the reader down."""

from __future__ import annotations

import mmap
import os
import random
import resource
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = Summary(1, 1, 1, 1, 0)


def write_forever(path: Path, told: int) -> None:
    """Write until killed, telling after each flush how many events are committed."""
    writer = TraceWriter(path)
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    total = 0
    while True:
        writer.write_notes(made.state(total + 1, 1) + made.birth(total + 1, total))
        writer.write_events(made.rows(700, first=total))
        total += 700
        writer.flush()
        os.write(told, total.to_bytes(8, "little"))


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.11, 0.23])
def test_a_killed_writer_loses_nothing_committed(tmp_path, delay):
    path = tmp_path / "a.ktrace"
    listen, tell = os.pipe()
    child = made.fork(lambda: write_forever(path, tell))
    os.close(tell)
    assert os.read(listen, 8)  # it is at work
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = b"".join(iter(lambda: os.read(listen, 1 << 16), b""))
    os.close(listen)
    committed = int.from_bytes(told[-8:], "little") if told else 700
    with Trace.open(path) as trace:
        assert not trace.finished
        assert trace.summary is None
        assert len(trace) >= committed
        assert trace.rows(1, len(trace)).tobytes() == made.rows(len(trace)).tobytes()
        assert trace.plan == made.plan()
        assert trace.event(1).len == 84
    with Trace.open(path) as again:  # reading it changed nothing
        assert len(again) >= committed


def write_steadily(path: Path, sent: mmap.mmap) -> None:
    """Write small batches until killed; ``sent`` holds when the last one was handed over, and the first."""
    writer = TraceWriter(path)
    writer.write_header(made.header(8))
    writer.write_plan(made.plan())
    total = 0
    while True:
        rows = made.rows(50, 8, first=total)
        # A core's time: what the machine gave to others meanwhile is not the writer's delay.
        rows["ts"] = time.process_time_ns()
        writer.write_events(rows)
        now = int(rows["ts"][0]).to_bytes(8, "little")
        if not total:
            sent[8:] = now
        sent[:8] = now
        total += 50


def test_a_hundred_killed_writers_lose_at_most_their_last_200_ms(tmp_path):
    rng = random.Random(5)
    for number in range(100):
        path = tmp_path / f"{number}.ktrace"
        with mmap.mmap(-1, 16) as sent:
            child = made.fork(lambda path=path, sent=sent: write_steadily(path, sent))
            while not int.from_bytes(sent[:8], "little"):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            last, first = (int.from_bytes(sent[at : at + 8], "little") for at in (0, 8))
        with Trace.open(path) as trace:
            assert not trace.finished, "it says that it was cut off"
            # The writer's start took time too, before there was anything to lose.
            stored = int(trace.heads(len(trace), len(trace))["ts"][0]) if len(trace) else first
            assert last - stored <= 200_000_000, number
        for left in tmp_path.iterdir():
            left.unlink()


def test_readers_in_threads_and_processes_follow_the_writer(tmp_path):
    path = tmp_path / "a.ktrace"
    total, errors = 30_000, []

    def follow() -> None:
        rng = random.Random(os.getpid())
        with Trace.open(path) as trace:
            while not trace.finished:
                last = trace.refresh()
                if last:
                    no = rng.randint(1, last)
                    assert int(trace.rows(no, no)["ts"][0]) == int(made.rows(1, first=no - 1)["ts"][0])
                    assert int(trace.hits().sum()) == last
            assert len(trace) == total

    def in_thread() -> None:
        try:
            follow()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=in_thread)
    read, write = os.pipe()
    wait, go = os.pipe()

    def in_process() -> None:
        os.read(wait, 1)
        follow()
        os.write(write, b"ok")

    child = made.fork(in_process)  # before this process has a connection: SQLite's must not be carried over
    os.close(write)
    writer = TraceWriter(path)
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    os.write(go, b"!")
    thread.start()
    for at in range(0, total, 300):
        writer.write_events(made.rows(300, first=at))
        writer.flush()
    writer.close(SUMMARY)
    thread.join(60)
    os.waitpid(child, 0)
    assert os.read(read, 2) == b"ok"
    for end in (read, wait, go):
        os.close(end)
    assert not errors
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.ktrace"}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot write the trace .*nowhere"):
        TraceWriter(tmp_path / "nowhere" / "a.ktrace")
    with pytest.raises(UserError, match="cannot write the trace"):
        TraceWriter(tmp_path)


def test_a_full_disk_ends_the_writing_and_keeps_what_was_stored(tmp_path):
    path = tmp_path / "a.ktrace"
    writer = TraceWriter(path)
    writer.write_header(made.header())
    noise = np.random.default_rng(1)
    writer._db.execute("PRAGMA max_page_count = 200")
    total = 0
    with pytest.raises(UserError, match="full") as raised:
        while True:
            rows = made.rows(1000, first=total)
            rows["stack"] = noise.integers(0, 256, rows["stack"].shape, "u1")
            writer.write_events(rows)
            writer.flush()
            total += 1000
    assert "--max-size" in raised.value.remedy
    with pytest.raises(UserError, match="full"):
        writer.write_events(made.rows(1))
    writer.close(SUMMARY)
    with Trace.open(path) as trace:
        assert trace.summary.ended_by == "disk full"
        assert trace.summary.events == len(trace) >= total > 0
        trace.event(len(trace))


def test_a_limit_on_the_file_is_like_a_full_disk(tmp_path):
    path = tmp_path / "a.ktrace"
    read, write = os.pipe()

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
        noise = np.random.default_rng(1)
        writer = TraceWriter(path)
        writer.write_header(made.header())
        try:
            for at in range(0, 100_000, 1000):
                rows = made.rows(1000, first=at)
                rows["stack"] = noise.integers(0, 256, rows["stack"].shape, "u1")
                writer.write_events(rows)
                writer.flush()
        except UserError as error:
            os.write(write, error.message.encode())
        writer.close(None)

    child = made.fork(limited)
    os.waitpid(child, 0)
    os.close(write)
    assert b"cannot be written any further" in os.read(read, 1000)
    os.close(read)
    with Trace.open(path) as trace:
        assert len(trace) > 0
        trace.event(len(trace))
