"""Nothing that is found on disk brings the reader down, or makes it write."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest
import synthetic_trace as made

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace import schema
from ktcpdump_tui.trace.criteria import Criteria
from ktcpdump_tui.trace.depth import Depths
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.trace.stepping import Stepper
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter


def write_whole(path: Path, events: int) -> None:
    writer = TraceWriter(path)
    writer.write_header(made.header(64))
    writer.write_plan(made.plan())
    writer.put_blob("drop_reasons", b'{"2": "NOT_SPECIFIED"}')
    writer.write_notes(
        b"".join(made.state(n, n) + made.birth(n, n) + made.free(n, n, 5, 2, True) for n in range(1, 8))
    )
    rows = made.rows(events, 64)
    rows["seq"][500:] += 1
    writer.write_events(rows)
    writer.close(Summary(1, 1, 1, 1, 0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.ktrace"
    write_whole(path, 9000)
    return path


def use(path: Path) -> None:
    """Read everything there is; only a UserError may come out of it."""
    with contextlib.suppress(UserError), Trace.open(path) as trace:
        last = len(trace)
        for no in {trace.first_no, last // 2, last}:
            if trace.first_no <= no <= last:
                for part in (
                    lambda no=no: trace.event(no),
                    lambda no=no: Stepper(trace).step(no),
                    lambda no=no: trace.rows(no, no),
                ):
                    with contextlib.suppress(UserError):
                        part()
        for part in (
            lambda: list(trace.packets()),
            trace.line_states,
            trace.counts,
            trace.losses,
            lambda: trace.blob("drop_reasons"),
            lambda: trace.drops(),
            lambda: PostFilter(trace, Criteria.parse("netns:4 is:changed fn:f*")).scan(),
            lambda: PostFilter(trace, Criteria.parse("icmp"), lambda packet, *_: len(packet) > 1).scan(),
            lambda: Depths(trace).of(np.arange(trace.first_no, last + 1), trace.heads(trace.first_no, last)),
            lambda: trace.line_hits(1),
        ):
            with contextlib.suppress(UserError, KeyError):  # KeyError: there is no such packet (any more)
                part()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "a.ktrace"
    write_whole(path, 700)
    return path


@pytest.mark.parametrize("seed", range(20))
def test_ten_thousand_damaged_files_are_read_in_part_or_refused_in_one_sentence(small, tmp_path, seed):
    rng = random.Random(seed)
    content = small.read_bytes()
    path = tmp_path / "a.ktrace"
    before_all = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(500):
        data = bytearray(content)
        kind = rng.randrange(4)
        if kind == 0:
            del data[rng.randrange(len(data)) :]
        elif kind == 1:
            for _ in range(rng.choice([1, 10, 300])):
                data[rng.randrange(100 if rng.random() < 0.1 else 0, len(data))] = rng.randrange(256)
        elif kind == 2:
            start = rng.randrange(len(data))
            data[start : start + rng.randrange(1, 5000)] = bytes(rng.randrange(1, 5000))
        else:
            data += os.urandom(rng.randrange(1, 40000))
        path.write_bytes(data)
        before = hashlib.sha256(data).digest()
        signal.setitimer(signal.ITIMER_REAL, 30)  # a hang ends the test
        use(path)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert hashlib.sha256(path.read_bytes()).digest() == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.ktrace"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_all < 300_000


def alter(path: Path, statement: str, *values) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(statement, values)
        database.commit()


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("UPDATE meta SET value = '[]' WHERE key = 'header'", ()),
        ("UPDATE meta SET value = '{\"stack_bytes\": -8}' WHERE key = 'header'", ()),
        ("DELETE FROM meta WHERE key = 'header'", ()),
        ("UPDATE meta SET value = x'00' WHERE key = 'summary'", ()),
        ("UPDATE plan SET data = x'00'", ()),
        ("UPDATE event_block SET count = 1 << 40", ()),
        ("UPDATE event_block SET tally = x'0100'", ()),
        ("UPDATE event_block SET loss = x'01'", ()),
        ("UPDATE event_block SET first_no = first_no + 1 WHERE id = 2", ()),
        ("DELETE FROM event_block WHERE id = 2", ()),
        ("UPDATE note_block SET state_ids = x'01'", ()),
        ("DROP TABLE counts", ()),
    ],
)
def test_hostile_contents_are_refused(whole, tmp_path, statement, values):
    path = tmp_path / "a.ktrace"
    shutil.copy(whole, path)
    alter(path, statement, *values)
    with pytest.raises(UserError, match="damaged") as raised:
        Trace.open(path)
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event_data SET head = zeroblob(100)",
        "UPDATE event_data SET body = zeroblob(100)",
        "UPDATE event_data SET body = 'text'",
        "UPDATE event_data SET head = body",
        "UPDATE note_block SET data = zeroblob(10)",
        "UPDATE note_block SET size = 1 << 40",
    ],
)
def test_a_damaged_block_is_named_and_the_others_stay_readable(whole, tmp_path, statement):
    path = tmp_path / "a.ktrace"
    shutil.copy(whole, path)
    alter(path, statement + " WHERE id = 1")
    with Trace.open(path) as trace:
        assert len(trace) == 9000
        with pytest.raises(UserError, match="damaged"):
            trace.event(10)


def test_a_hostile_size_takes_no_memory(whole, tmp_path):
    import zstandard

    path = tmp_path / "a.ktrace"
    shutil.copy(whole, path)
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes((1 << 29) + 1))
    alter(path, "UPDATE blob SET data = ?", bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Trace.open(path) as trace, pytest.raises(UserError, match="drop_reasons"):
        trace.blob("drop_reasons")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_files_that_are_no_traces(whole, tmp_path):
    path = tmp_path / "x.ktrace"
    with pytest.raises(UserError, match="No such file"):
        Trace.open(path)
    with pytest.raises(UserError, match="Is a directory"):
        Trace.open(tmp_path)
    for content, message in (
        (b"", "is empty"),
        (b"\xd4\xc3\xb2\xa1" * 50, "is not a trace"),
        (b"SQ", "not a trace"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            Trace.open(path)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(UserError, match="not a trace"):
        Trace.open(path)
    shutil.copy(whole, path)
    alter(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(UserError, match=r"newer ktcpdump-tui \(trace version 2, this one reads 1\)"):
        Trace.open(path)


def test_a_finished_trace_opens_where_nothing_can_be_written(whole):
    read, write = os.pipe()

    def as_nobody(path: Path) -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        with Trace.open(path) as trace:
            os.write(write, b"ok" if len(trace) == 9000 else b"no")

    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        path = Path(folder) / "a.ktrace"
        shutil.copy(whole, path)
        Path(folder).chmod(0o555)
        child = made.fork(lambda: as_nobody(path))
        os.waitpid(child, 0)
        os.close(write)
        assert os.read(read, 2) == b"ok"
        os.close(read)
        Path(folder).chmod(0o755)
