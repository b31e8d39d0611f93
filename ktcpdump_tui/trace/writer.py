"""Writing a trace file: whole arrays of events in, packed blocks in SQLite out."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import codec, notes, records, schema
from ktcpdump_tui.trace.full_disk import DISK_FULL, Leaving, refused
from ktcpdump_tui.trace.index import STATE_IDS
from ktcpdump_tui.trace.layout import NoteKind, event_dtype
from ktcpdump_tui.trace.losses import LOSS, LossCounter, apply_fixes
from ktcpdump_tui.trace.packet_rows import PacketRows
from ktcpdump_tui.trace.refuge import Move, take_along
from ktcpdump_tui.trace.summing_up import summary_so_far
from ktcpdump_tui.trace.tally import Tally
from ktcpdump_tui.trace.trim import Trimmer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction, ProbeState, Summary, TraceHeader
    from ktcpdump_tui.trace.refuge import Refuge

#: Unpacked bytes of one block: large enough to pack well, small enough that a jump unpacks in 2 ms.
BLOCK_BYTES: Final = 1 << 20

#: Longest time between events taken and events committed while events come in, seconds.
COMMIT_SECONDS: Final = 0.1

#: Seconds that readers get to follow to another file, or to end, when the writer closes.
PATIENCE: Final = 0.3

#: Packed bytes after which is committed at the latest: keeps SQLite's log small.
COMMIT_BYTES: Final = 8 << 20


class TraceWriter:
    """The one writer of a trace file (a ``TraceSink``).

    ``max_size`` is the number of bytes the file may have (see trim.py); None means no limit. All methods may
    be called from different threads. UserError where the file cannot be made or the disk is full; what was
    committed before stays readable, in one file that says so. With a ``refuge`` the writer goes on there
    instead: every event is then in the one trace or the other, or in both.
    """

    def __init__(self, path: Path | str, max_size: int | None = None, refuge: Refuge | None = None) -> None:
        self.path = Path(path)
        self._db = schema.create(self.path)
        self._refuge = refuge
        self._left: Leaving | None = None
        #: What was done since the last commit, for the place where the writer goes on.
        self._undone: list[tuple[str, list[tuple[Any, ...]]]] = []
        self._probes: tuple[ProbeState, ...] = ()
        self._lock = threading.RLock()
        self._failed: UserError | None = None
        self._closed = False
        self._in_transaction = False
        self._committed_at = time.monotonic()
        self._packets = PacketRows()
        self._losses = LossCounter()
        self._bound(max_size)
        self._block_bytes = min(BLOCK_BYTES, self._trimmer.block_bytes) if self._trimmer else BLOCK_BYTES
        self._uncommitted = 0
        self._plan_version = 0
        # The event block being filled: its rows, how many there are, how many are accounted for and stored.
        self._rows = np.empty(0, event_dtype(0))
        self._used = self._accounted = self._stored = 0
        self._block, self._first_no = 1, 1
        self._block_losses = np.empty(0, LOSS)
        # The note block being filled.
        self._notes = bytearray()
        self._notes_stored = 0
        self._note_block = 1
        self._state_ids: list[tuple[int, int]] = []

    @property
    def events(self) -> int:
        """Number of events taken so far."""
        return self._first_no - 1 + self._used

    @property
    def size(self) -> int:
        """Bytes the file has with what was stored so far, committed or not."""
        with self._lock, self._guard():
            return int(self._db.execute("PRAGMA page_count").fetchone()[0]) * schema.PAGE_SIZE

    def write_header(self, header: TraceHeader) -> None:
        """Store the header and make it visible; readers can open the trace from now on."""
        with self._lock:
            self._set_meta("header", records.header_to_json(header))
            self._set_meta("finished", 0)
            kind = event_dtype(header.stack_bytes)
            self._rows = np.empty(
                max(16, min(self._block_bytes // kind.itemsize, codec.MAX_BLOCK_ROWS)), kind
            )
            self.flush()

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Store or replace the plan and make it visible."""
        with self._lock:
            self._probes = tuple(one.probe for one in instructions)
            self._plan_version += 1
            data = codec.compress(records.plan_to_json(instructions).encode())
            self._execute("INSERT OR REPLACE INTO plan (id, data) VALUES (1, ?)", (data,))
            self._set_meta("plan_version", self._plan_version)
            self.flush()

    def put_blob(self, name: str, data: bytes) -> None:
        """Store or replace a named blob."""
        with self._lock:
            packed = codec.compress(data)
            self._execute("INSERT OR REPLACE INTO blob (name, data) VALUES (?, ?)", (name, packed))

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Take whole rows, in the order in which they were sent; ValueError where they are not whole."""
        with self._lock, self._guard():
            if not len(self._rows):
                raise ValueError("events before the header")
            if not isinstance(rows, np.ndarray):
                rows = np.frombuffer(rows, self._rows.dtype)
            elif rows.dtype != self._rows.dtype:
                raise ValueError("the rows' stack window is not the header's")
            taken = 0
            while taken < len(rows):
                count = min(len(self._rows) - self._used, len(rows) - taken)
                self._rows[self._used : self._used + count] = rows[taken : taken + count]
                self._used += count
                taken += count
                if self._used == len(self._rows):
                    self._store_events()
                    self._next_event_block()
                    self._commit_if_due()
            self._commit_if_due()

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Take whole notes; ValueError where they are not whole."""
        with self._lock, self._guard():
            start = len(self._notes)
            self._take_notes(notes, start)
            self._notes += notes
            if len(self._notes) >= self._block_bytes:
                self._store_notes()
                self._next_note_block()
            self._commit_if_due()

    def write_progress(self, counts: dict[str, int]) -> None:
        """Store totals by name."""
        with self._lock:
            totals = list(counts.items())
            self._executemany("INSERT OR REPLACE INTO counts (name, value) VALUES (?, ?)", totals)
            self._commit_if_due()

    def flush(self) -> None:
        """Commit everything taken so far."""
        with self._lock:
            if self._closed:
                return
            self._store_notes()
            self._store_events()
            self._commit()
            self._committed_at = time.monotonic()
            self._uncommitted = 0

    def close(self, summary: Summary | None) -> None:
        """Commit, and leave one file without companions (or let the last reader do that: Trace.close)."""
        with self._lock:
            if self._closed:
                return
            try:
                if self._failed is None:
                    if summary is not None:
                        self._set_meta("summary", records.summary_to_json(summary))
                        self._set_meta("finished", 1)
                    self.flush()
            finally:
                self._closed = True
                stopped = None if self._failed is None else self._summary_here()
                for one in (self._left, Leaving(self._db, self.path, stopped)):
                    if one is not None:
                        # Where readers are at work the log is complete, and theirs to fold in at their end.
                        one.settle(PATIENCE)
                        one.close()

    def _store_events(self) -> None:
        rows = self._rows[: self._used]
        if self._stored == self._used:
            return
        fresh = rows[self._accounted :]
        found, fixes = self._losses.feed(fresh, self._first_no + self._accounted)
        here = apply_fixes(np.concatenate((self._block_losses, found)), fixes)
        self._block_losses = here
        earlier = [(no, lost) for no, lost in fixes.items() if no < self._first_no]
        self._executemany("INSERT INTO loss_fix (no, lost) VALUES (?, ?)", earlier)
        self._executemany(*self._packets.from_events(fresh, self._first_no + self._accounted))
        tally = Tally.of(rows)
        self._execute(
            "INSERT OR REPLACE INTO event_block (id, first_no, count, t_first, t_last, tally, loss)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._block, self._first_no, self._used,
                schema.to_signed(int(rows["ts"].min())), schema.to_signed(int(rows["ts"].max())),
                tally.pack(), here.tobytes(),
            ),
        )  # fmt: skip
        head, body = codec.pack_heads(rows), codec.pack_bodies(rows)
        self._execute(
            "INSERT OR REPLACE INTO event_data (id, head, body) VALUES (?, ?, ?)", (self._block, head, body)
        )
        self._uncommitted += len(head) + len(body)
        if self._trimmer:
            self._trimmer.event_block(self._block, self._first_no, tally, here, rows["state"])
            self._trim(self._trimmer)
        self._accounted = self._stored = self._used

    def _next_event_block(self) -> None:
        self._first_no += self._used
        self._block += 1
        self._used = self._accounted = self._stored = 0
        self._block_losses = np.empty(0, LOSS)

    def _take_notes(self, buffer: bytes | memoryview, start: int) -> None:
        births, frees = [], []
        ids = []
        for note in notes.walk(buffer):
            if note.kind == NoteKind.STATE:
                ids.append((notes.state_id(buffer, note), start + note.start))
            elif note.kind == NoteKind.BIRTH:
                births.append(notes.birth(buffer, note))
            elif note.kind == NoteKind.FREE:
                frees.append(notes.free(buffer, note))
        self._state_ids += ids
        self._executemany(*self._packets.from_births(births))
        self._executemany(*self._packets.from_frees(frees))

    def _store_notes(self) -> None:
        if self._notes_stored == len(self._notes):
            return
        ids = np.sort(np.array(self._state_ids, STATE_IDS), order="id", kind="stable")
        data = codec.compress(self._notes)
        self._execute(
            "INSERT OR REPLACE INTO note_block (id, size, state_ids, data) VALUES (?, ?, ?, ?)",
            (self._note_block, len(self._notes), ids.tobytes(), data),
        )
        self._uncommitted += len(data)
        if self._trimmer:
            self._trimmer.note_block(self._note_block, ids["id"])
            self._trim(self._trimmer)
        self._notes_stored = len(self._notes)

    def _next_note_block(self) -> None:
        self._note_block += 1
        self._notes = bytearray()
        self._notes_stored = 0
        self._state_ids = []

    def _set_meta(self, key: str, value: str | int | bytes) -> None:
        self._execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def _commit_if_due(self) -> None:
        late = time.monotonic() - self._committed_at >= COMMIT_SECONDS
        if late or self._uncommitted >= self._commit_bytes:
            self.flush()

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        self._executemany(statement, [values])

    def _executemany(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        if not values:
            return
        with self._guard():
            try:
                self._do(statement, values)
            except sqlite3.Error as error:
                self._go_on_elsewhere(error)
                self._do(statement, values)
            if self._refuge is not None:
                self._undone.append((statement, values))

    def _do(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        if not self._in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._in_transaction = True
        self._db.executemany(statement, values)

    def _commit(self) -> None:
        with self._guard():
            if self._in_transaction:
                try:
                    self._db.execute("COMMIT")
                except sqlite3.Error as error:
                    self._go_on_elsewhere(error)
                    self._db.execute("COMMIT")
                self._in_transaction = False
                self._undone.clear()
        if self._left is not None and self._left.settle():
            self._left = None

    def _trim(self, trimmer: Trimmer) -> None:
        with self._guard():
            try:
                trimmer.trim(self._block, self._note_block)
            except sqlite3.Error as error:
                self._go_on_elsewhere(error)  # with a trimmer of its own, at the next block

    def _go_on_elsewhere(self, error: sqlite3.Error) -> None:
        """Do in the refuge what was not committed, and go on there; raises ``error`` where there is none."""
        place = self._refuge.choose(self.path) if self._refuge is not None and refused(error) else None
        if self._refuge is None or place is None:
            raise error
        with contextlib.suppress(sqlite3.Error):
            self._db.rollback()
        path, most = place
        if not self.path.exists():
            raise error  # deleted meanwhile: there is nothing to copy, and nothing may be made in its place
        try:
            database = schema.create(path)
            first_no = take_along(self.path, database, most)
        except (UserError, sqlite3.Error) as failed:
            raise error from failed
        here = self._summary_here()
        self._left = Leaving(self._db, self.path, here)
        move = Move(self.path, str(error), here.events, first_no)
        self._db, self.path, self._in_transaction = database, path, False
        for statement, values in self._undone:
            self._do(statement, values)
        self._bound(most)
        assert self._trimmer is not None
        self._trimmer.resume()
        self._refuge.took_over(path, move)

    def _bound(self, max_size: int | None) -> None:
        self._trimmer = Trimmer(self._db, max_size) if max_size is not None else None
        self._commit_bytes = self._trimmer.commit_bytes if self._trimmer else COMMIT_BYTES

    def _summary_here(self) -> Summary:
        """Return what the file holds, which ends here."""
        events, counts = 0, {}
        with contextlib.suppress(sqlite3.Error):
            events = int(
                self._db.execute("SELECT max(first_no + count - 1) FROM event_block").fetchone()[0] or 0
            )
            counts = dict(self._db.execute("SELECT name, value FROM counts"))
        return summary_so_far(self._probes, counts, events, DISK_FULL)

    def _guard(self) -> _Guard:
        return _Guard(self)

    def fail(self, error: sqlite3.Error) -> UserError:
        """Stop writing for good after ``error``; what was not committed is given up."""
        with contextlib.suppress(sqlite3.Error):
            self._db.rollback()
        self._in_transaction = False
        events = self._summary_here().events
        self._failed = UserError(
            f"the trace {self.path} cannot be written any further: {error}; it holds {events:,} events",
            "make room on its disk, or bound the trace with --max-size BYTES; what was stored stays readable",
        )
        return self._failed

    @property
    def failed(self) -> UserError | None:
        """The error that ended the writing, if one did."""
        return self._failed


class _Guard:
    """Turns the database's errors into the one a user reads, and keeps a failed writer from going on."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        if self._writer.failed:
            raise self._writer.failed

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise self._writer.fail(error) from error
