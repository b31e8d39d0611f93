"""The frame stream: what goes in comes out, and whatever else comes out is said in one sentence."""

from __future__ import annotations

import io
import os
import random
import threading

import pytest
import synthetic_trace as made

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.stream import MAGIC, StreamWriter, pump
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

SUMMARY = Summary(5000, 7, 20, 19, 1, {"lost: ring buffer full": 3}, "--duration")


def stream_of(rows, summary=SUMMARY) -> bytes:
    stream = io.BytesIO()
    sink = StreamWriter(stream)
    sink.write_header(made.header())
    sink.write_plan(made.plan())
    sink.put_blob("types", bytes(range(256)) * 9)
    sink.write_notes(b"".join(made.state(n, n) + made.birth(n, n) for n in range(1, 8)))
    for at in range(0, len(rows), 700):
        sink.write_events(rows[at : at + 700])
        sink.write_progress({"lost: ring buffer full": at})
        sink.flush()
    sink.close(summary)
    sink.close(summary)
    return stream.getvalue()


class Slow(io.RawIOBase):
    """A pipe that gives what it likes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._rng = data, random.Random(3)

    def read(self, size: int = -1) -> bytes:
        size = self._rng.randint(1, max(1, min(size, 5000)))
        part, self._data = self._data[:size], self._data[size:]
        return part


@pytest.mark.parametrize("kind", [io.BytesIO, Slow])
def test_a_stream_becomes_the_trace_that_was_written(tmp_path, kind):
    rows = made.rows(5000)
    data = stream_of(rows)
    assert len(data) < rows.nbytes / 5
    assert pump(kind(data), TraceWriter(tmp_path / "a.ktrace")) == SUMMARY
    with Trace.open(tmp_path / "a.ktrace") as trace:
        assert (trace.header, trace.plan, trace.summary) == (made.header(), made.plan(), SUMMARY)
        assert trace.rows(1, 5000).tobytes() == rows.tobytes()
        assert trace.blob("types") == bytes(range(256)) * 9
        assert trace.event(4000).len == 84
        assert trace.counts() == {"lost: ring buffer full": 4900}


def test_events_are_there_as_soon_as_they_were_flushed(tmp_path):
    read, write = os.pipe()
    path = tmp_path / "a.ktrace"
    with os.fdopen(write, "wb") as out, os.fdopen(read, "rb", buffering=0) as into:
        thread = threading.Thread(target=pump, args=(into, TraceWriter(path)))
        sink = StreamWriter(out)
        sink.write_header(made.header())
        thread.start()
        sink.write_events(made.rows(3))
        sink.flush()
        trace = None
        while trace is None or trace.refresh() < 3:
            try:
                trace = trace or Trace.open(path)
            except UserError:
                continue  # the header is on its way
        assert trace.event(3).comm == "ping"
        sink.close(SUMMARY)
        thread.join(30)
        trace.refresh()
        assert trace.finished
        trace.close()


def test_a_stream_that_is_cut_off_anywhere_keeps_what_came(tmp_path):
    data = stream_of(made.rows(5000))
    rng = random.Random(1)
    for size in [0, 5, 12, 15, *(rng.randrange(len(data)) for _ in range(25)), len(data) - 1]:
        path = tmp_path / "a.ktrace"
        with pytest.raises(UserError, match=r"ended|cut off") as raised:
            pump(io.BytesIO(data[:size]), TraceWriter(path), source="the capture in the guest")
        assert raised.value.message.startswith("the capture in the guest ")
        if size > 2000:
            with Trace.open(path) as trace:
                assert not trace.finished
                assert trace.rows(1, len(trace)).tobytes() == made.rows(len(trace)).tobytes()


def test_garbage_is_named(tmp_path):
    path = tmp_path / "a.ktrace"
    for data, message in (
        (b"bash: ktcpdump-tui: command not found\n", "begins with 'bash: ktcpdump-tui: command not found'"),
        (b'{"type": "header"}\n', "not a trace"),
        (MAGIC + (9).to_bytes(4, "little"), r"newer ktcpdump-tui \(stream version 9"),
        (
            MAGIC + (1).to_bytes(4, "little") + b"\x04\0\0\0\xff\xff\xff\xff",
            "damaged: a frame of 4294967295 bytes",
        ),
        (
            MAGIC + (1).to_bytes(4, "little") + b"\x04\0\0\0\x08\0\0\0" + bytes(8),
            "events come before the header",
        ),
        (MAGIC + (1).to_bytes(4, "little") + b"\x01\0\0\0\x02\0\0\0{}", "damaged"),
        (MAGIC + (1).to_bytes(4, "little") + b"\x01\x01\0\0\x02\0\0\0{}", "compressed"),
        (MAGIC + (1).to_bytes(4, "little") + b"\x63\0\0\0\0\0\0\0", "ended without a summary"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            pump(io.BytesIO(data), TraceWriter(path))
        assert "\n" not in raised.value.message


@pytest.mark.parametrize("seed", range(8))
def test_a_mutated_stream_ends_in_an_error_or_a_trace(tmp_path, seed):
    data = stream_of(made.rows(1500))
    rng = random.Random(seed)
    for _ in range(12):
        mutated = bytearray(data)
        for _ in range(rng.choice([1, 5])):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            pump(io.BytesIO(bytes(mutated)), TraceWriter(tmp_path / "a.ktrace"))
        except UserError as error:
            assert "\n" not in error.message
