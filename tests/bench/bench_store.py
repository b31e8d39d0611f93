"""Two ways to store the same events in SQLite: a row per event, or blocks of packed rows (what we do).

Both get the events of a real capture as those of ever new packets (replayed.py), in the same batches, with
the commits the capture's worker makes, and both keep packet states apart from events. The rows have the
indices that stepping asks for: events of a packet, events of an instruction. In ``rows`` registers and stack
are a blob as it is, in ``packed rows`` each is packed with zstd. What is measured is the CPU time and the
time by the clock of the same questions, answered the same (that is checked), in one run; each design in a
process of its own, whose memory is compared.

Run with: pytest -s tests/bench/bench_store.py. KTCPDUMP_BENCH_EVENTS sets the size (1,000,000).
"""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.codec import HEAD
from ktcpdump_tui.trace.schema import PAGE_SIZE
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter
from tests.bench.replayed import Replayed

EVENTS = int(os.environ.get("KTCPDUMP_BENCH_EVENTS", "1000000"))
AT_ONCE = 500
FLUSH_EVERY = 0.05
QUESTIONS = 400

_COLUMNS = list(HEAD.names or ())
_TABLES = f"""
CREATE TABLE event (no INTEGER PRIMARY KEY, {", ".join(_COLUMNS)}, body BLOB);
CREATE INDEX by_packet ON event (packet, no);
CREATE INDEX by_insn ON event (insn, no);
CREATE TABLE note (id INTEGER PRIMARY KEY, data BLOB);
"""


class Rows:
    """A row per event."""

    name = "rows"

    def __init__(self, path: Path, replayed: Replayed) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        self._no = 0
        self._insert = f"INSERT INTO event VALUES (?, {', '.join('?' * len(_COLUMNS))}, ?)"
        self._lines = lines_of(replayed)
        self._size = replayed.header.stack_bytes + 144

    def body(self, data: bytes) -> bytes:
        """What is stored of registers and stack."""
        return data

    def unpacked(self, data: bytes) -> bytes:
        """What was stored."""
        return data

    def write_notes(self, data: bytes) -> None:
        self._db.execute("INSERT INTO note (data) VALUES (?)", (zstandard.compress(data, 1),))

    def write_events(self, rows: np.ndarray) -> None:
        columns: list[list[Any]] = [list(range(self._no + 1, self._no + len(rows) + 1))]
        for name in _COLUMNS:
            values = rows[name]
            columns.append((values.astype("<i8") if values.dtype.kind == "u" else values).tolist())
        data = np.ascontiguousarray(rows.view("u1").reshape(len(rows), -1)[:, HEAD.itemsize :]).tobytes()
        columns.append([self.body(data[at : at + self._size]) for at in range(0, len(data), self._size)])
        self._db.executemany(self._insert, zip(*columns, strict=True))
        self._no += len(rows)

    def flush(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def close(self) -> None:
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def open(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self._db.execute("PRAGMA cache_size = -4096")

    def page(self, no: int) -> list[int]:
        got = self._db.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM event WHERE no BETWEEN ? AND ?", (no, no + 99)
        )
        return [row[5] for row in got]

    def event(self, no: int) -> bytes:
        row = self._db.execute("SELECT body FROM event WHERE no = ?", (no,)).fetchone()
        return self.unpacked(row[0])

    def stepi(self, no: int) -> int | None:
        """The packet's next event."""
        row = self._db.execute(
            "SELECT min(no) FROM event WHERE no > ? AND packet = (SELECT packet FROM event WHERE no = ?)",
            (no, no),
        ).fetchone()
        return row[0]

    def step(self, no: int) -> int | None:
        """The packet's next event on another line."""
        packet, insn = self._db.execute("SELECT packet, insn FROM event WHERE no = ?", (no,)).fetchone()
        line = self._lines[insn]
        for number, here in self._db.execute(
            "SELECT no, insn FROM event WHERE packet = ? AND no > ? ORDER BY no", (packet, no)
        ):
            if self._lines[here] != line:
                return int(number)
        return None

    def at(self, insn: int, no: int) -> int | None:
        """The next event of an instruction: a breakpoint."""
        row = self._db.execute("SELECT min(no) FROM event WHERE insn = ? AND no > ?", (insn, no)).fetchone()
        return row[0]

    def hits(self) -> dict[int, int]:
        return dict(self._db.execute("SELECT insn, count(*) FROM event GROUP BY insn"))

    def of_cpu(self) -> int:
        """How many events a filter without an index selects."""
        return int(self._db.execute("SELECT count(*) FROM event WHERE cpu = 1").fetchone()[0])


class PackedRows(Rows):
    """A row per event, registers and stack packed."""

    name = "packed rows"

    def body(self, data: bytes) -> bytes:
        return zstandard.compress(data, 1)

    def unpacked(self, data: bytes) -> bytes:
        return zstandard.decompress(data)


class Blocks:
    """Blocks of packed rows: the trace as it is."""

    name = "blocks"

    def __init__(self, path: Path, replayed: Replayed) -> None:
        self._writer = TraceWriter(path)
        self._writer.write_header(replayed.header)
        self._lines = np.array(lines_of(replayed))
        self.write_notes, self.write_events = self._writer.write_notes, self._writer.write_events
        self.flush = self._writer.flush

    def close(self) -> None:
        self._writer.close(Summary(EVENTS, 0, 0, 0, 0))

    def open(self, path: Path) -> None:
        self._trace = Trace.open(path)

    def page(self, no: int) -> list[int]:
        heads = self._trace.heads(no, no + 99)
        got: list[int] = heads["insn"].tolist()
        return got

    def event(self, no: int) -> bytes:
        row = self._trace.rows(no, no)
        return row.tobytes()[HEAD.itemsize :]

    def stepi(self, no: int) -> int | None:
        packet = int(self._trace.heads(no, no)["packet"][0])
        for numbers, _ in self._trace.chunks(no, packet=packet):
            return int(numbers[0])
        return None

    def step(self, no: int) -> int | None:
        head = self._trace.heads(no, no)
        line = self._lines[head["insn"][0]]
        for numbers, heads in self._trace.chunks(no, packet=int(head["packet"][0])):
            other = np.flatnonzero(self._lines[heads["insn"]] != line)
            if len(other):
                return int(numbers[other[0]])
        return None

    def at(self, insn: int, no: int) -> int | None:
        for numbers, _ in self._trace.chunks(no, insns=[insn]):
            return int(numbers[0])
        return None

    def hits(self) -> dict[int, int]:
        counts = self._trace.hits()
        return {insn: int(counts[insn]) for insn in np.flatnonzero(counts).tolist()}

    def of_cpu(self) -> int:
        return sum(len(numbers) for numbers, _ in self._trace.chunks(0, cpu=1))


def lines_of(replayed: Replayed) -> list[int]:
    """A number for the line of each instruction."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(one.addr2line or one.ksym, len(numbers)) for one in replayed.plan]


def measure(kind: type[Rows] | type[Blocks], path: Path) -> dict[str, Any]:
    """Store and ask in a child process; return times in s of a core, sizes in bytes, and the answers."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(_measured(kind, path), pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found: dict[str, Any] = pickle.load(pipe)
    os.waitpid(child, 0)
    return found


def _measured(kind: type[Rows] | type[Blocks], path: Path) -> dict[str, Any]:
    replayed = Replayed()
    store = kind(path, replayed)
    core = clock = flushed = 0.0
    for done in range(0, EVENTS, replayed.events):
        notes, rows = replayed.batch(done // replayed.events)
        rows = rows[: EVENTS - done]
        started, since = time.process_time(), time.perf_counter()
        store.write_notes(notes)
        for at in range(0, len(rows), AT_ONCE):
            store.write_events(rows[at : at + AT_ONCE])
            if (now := clock + time.perf_counter() - since) - flushed >= FLUSH_EVERY:
                flushed = now
                store.flush()
        core += time.process_time() - started
        clock += time.perf_counter() - since
    started, since = time.process_time(), time.perf_counter()
    store.close()
    found: dict[str, Any] = {
        "ingest": core + time.process_time() - started,
        "clock": clock + time.perf_counter() - since,
        "size": path.stat().st_size,
        "answers": {},
    }
    before = resident()
    rng = random.Random(1)
    numbers = [rng.randint(1, EVENTS - 2000) for _ in range(QUESTIONS)]
    insns = list(rng.choices(range(len(replayed.plan)), k=QUESTIONS))
    store.open(path)
    for what, ask in (
        ("page", lambda n: store.page(numbers[n])),
        ("event", lambda n: store.event(numbers[n])),
        ("stepi", lambda n: store.stepi(numbers[n])),
        ("step", lambda n: store.step(numbers[n])),
        ("breakpoint", lambda n: store.at(insns[n], numbers[n])),
    ):
        times, answers = [], []
        for number in range(QUESTIONS):
            started = time.thread_time()
            answers.append(ask(number))
            times.append(time.thread_time() - started)
        found[what] = np.percentile(np.array(times) * 1000, (50, 99)).tolist()
        found["answers"][what] = answers
    for what, count in (("hits", store.hits), ("filter", store.of_cpu)):
        started = time.thread_time()
        found["answers"][what] = count()
        found[what] = (time.thread_time() - started) * 1000
    found["memory"] = resident() - before
    return found


def resident() -> float:
    """Memory of this process in MB (proc(5): statm counts pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def test_a_row_per_event_against_blocks(tmp_path: Path) -> None:
    found = {kind.name: measure(kind, tmp_path / kind.name) for kind in (Rows, PackedRows, Blocks)}
    blocks = found["blocks"]
    for name, one in found.items():
        print(f"\n    {name}, {EVENTS:,} events: {EVENTS / one['ingest']:,.0f} events/s of a core", end="")
        print(f" ({EVENTS / one['clock']:,.0f} by the clock), {one['size'] / EVENTS:.1f} bytes/event", end="")
        print(f", {one['memory']:.0f} MB to read it\n       ms of a core, p50 / p99:", end="")
        for what in ("page", "event", "stepi", "step", "breakpoint"):
            print(f" {what} {one[what][0]:.2f} / {one[what][1]:.2f};", end="")
        print(f" hits of all {one['hits']:.0f}; filter without an index {one['filter']:.0f}", end="")
        if one is not blocks:
            print(
                f"\n       in multiples of blocks: ingest {one['ingest'] / blocks['ingest']:.1f} x,"
                f" size {one['size'] / blocks['size']:.1f} x, step p99"
                f" {one['step'][1] / blocks['step'][1]:.2f} x, filter {one['filter'] / blocks['filter']:.1f}",
                end="",
            )
        for what, answers in one["answers"].items():
            assert answers == blocks["answers"][what], f"{name}: another answer to {what}"
    assert blocks["ingest"] < found["rows"]["ingest"]
    assert blocks["size"] < found["packed rows"]["size"]
