"""The trace file: an SQLite database, its tables, and how it is opened for writing and for reading.

``PRAGMA application_id`` is ``KTRC``, ``PRAGMA user_version`` the schema's version. That is 1 to this day:
the tables are those of the first program that wrote any, and one value was added (2 in ``packet.dropped``:
merged into another packet, which older programs show as dropped). Blobs and keys of header, plan and summary
that were added since are passed over by older programs and done without by newer ones (records.py). A change
that an older program would misread gets the next number, and files of before a reader of their own. Tables:

=============  =====================================================================================
meta           ``header`` (JSON), ``summary`` (JSON), ``finished`` (0/1), ``plan_version`` (counts
               up), ``removed_hits`` (packed u64 per instruction of blocks that --max-size removed)
plan           one row: the instructions as zstd-packed JSON (records.plan_to_json)
event_block    what is known of each block of events without unpacking it: numbers, times,
               ``tally`` (tally.py: which packets and instructions, how often), ``loss`` (losses.py)
event_data     the block's rows, packed: ``head`` and ``body`` (codec.py)
note_block     ``state_ids``: u64 id and u32 offset of each state note, sorted by id; ``data``: the notes,
               zstd-packed
packet         one row per packet, in the order in which they were heard of
loss_fix       losses found smaller when a late event arrived: event number -> events lost before it
counts         totals by name
blob           named bytes, zstd-packed (names: blobs.py)
=============  =====================================================================================

The last block of events and of notes is replaced as it fills up. While it is written a trace is in WAL mode,
so readers neither wait nor make the writer wait; a finished trace is one file.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID: Final = 0x4B545243  # "KTRC"
VERSION: Final = 1
PAGE_SIZE: Final = 16384

#: Pages of the log after which they go into the file (SQLite's own default), and part of a small disk's room.
LOG_PAGES: Final = 1000
_LOG_SHARE: Final = 16

#: What reading a damaged database raises: SQLite's errors, and text or numbers that Python cannot take.
READ_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError, OverflowError)

TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE plan (id INTEGER PRIMARY KEY CHECK (id = 1), data BLOB NOT NULL);
CREATE TABLE event_block (
    id INTEGER PRIMARY KEY, first_no INTEGER NOT NULL, count INTEGER NOT NULL,
    t_first INTEGER NOT NULL, t_last INTEGER NOT NULL, tally BLOB NOT NULL, loss BLOB NOT NULL);
CREATE TABLE event_data (id INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE note_block (
    id INTEGER PRIMARY KEY, size INTEGER NOT NULL, state_ids BLOB NOT NULL, data BLOB NOT NULL);
CREATE TABLE packet (
    row INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, skb INTEGER NOT NULL, first_seen INTEGER NOT NULL,
    parent INTEGER, origin INTEGER, freed_at INTEGER, dropped INTEGER, reason INTEGER, location INTEGER,
    first_no INTEGER, last_no INTEGER);
CREATE TABLE loss_fix (id INTEGER PRIMARY KEY, no INTEGER NOT NULL, lost INTEGER NOT NULL);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blob (name TEXT PRIMARY KEY, data BLOB NOT NULL);
"""


def to_signed(value: int) -> int:
    """Return a u64 as the signed number SQLite stores."""
    return value - (1 << 64) if value >= 1 << 63 else value


def to_unsigned(value: int) -> int:
    """Return the u64 that was stored as a signed number."""
    return value & ((1 << 64) - 1)


def create(path: Path) -> sqlite3.Connection:
    """Make an empty trace at ``path``, replacing what is there, and return the writer's connection.

    UserError where the file cannot be written.
    """
    database = None
    try:
        for old in (path, *_companions(path)):
            old.unlink(missing_ok=True)
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        # A crash of the program loses nothing committed; a crash of the machine may lose the last moments.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA busy_timeout = 5000")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("PRAGMA journal_mode = WAL")  # only now: what marks a trace is in the file itself
        # Blocks are replaced as they fill up, so the log grows faster than the file: not over a small disk.
        pages = max(1, min(LOG_PAGES, shutil.disk_usage(path).free // PAGE_SIZE // _LOG_SHARE))
        database.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        database.execute(f"PRAGMA journal_size_limit = {pages * PAGE_SIZE}")
        database.executescript(f"BEGIN; {TABLES} COMMIT;")
    except (OSError, sqlite3.Error) as error:
        if database is not None:
            database.close()
            for begun in (path, *_companions(path)):
                begun.unlink(missing_ok=True)
        raise UserError(
            f"cannot write the trace {path}: {error}",
            "name a file in a folder you may write to: -o FILE.ktrace",
        ) from error
    return database


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to the trace at ``path``; the file is never written to.

    UserError where it cannot be read, is no trace, or is of a newer version.
    """
    try:
        with path.open("rb") as file:
            start = file.read(100)
    except OSError as error:
        raise UserError(f"cannot read the trace {path}: {error.strerror}") from error
    # SQLite file format, section 1.3: magic, then application_id at offset 68.
    if start[:16] != b"SQLite format 3\0" or int.from_bytes(start[68:72], "big") != APPLICATION_ID:
        what = "is empty" if not start else "is not a trace of ktcpdump-tui"
        raise UserError(f"{path} {what}", "record one with: ktcpdump-tui -o FILE.ktrace")
    version = int.from_bytes(start[60:64], "big")
    if version > VERSION:
        raise UserError(
            f"{path} was written by a newer ktcpdump-tui (trace version {version}, this one reads {VERSION})",
            "pip install --upgrade ktcpdump-tui",
        )
    # Without a log the file is complete and at rest: "immutable" then needs no companion files, so that a
    # trace in a folder that cannot be written to opens as well.
    at_rest = not has_log(path)
    uri = f"file:{quote(str(path.absolute()))}?mode=ro" + ("&immutable=1" if at_rest else "")
    try:
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA busy_timeout = 5000")
        database.execute("PRAGMA cache_size = -4096")  # KiB; decoded blocks are cached by the reader
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except READ_ERRORS as error:
        remedy = None if at_rest else f"copy {path} and {path}-wal together to a folder you may write to"
        raise UserError(f"cannot read the trace {path}: {error}", remedy) from error
    return database


def make_single_file(path: Path) -> bool:
    """Turn a finished trace that readers kept in WAL mode into one file; False while others still read it."""
    for attempt in range(4):
        if not has_log(path):
            return True
        # Two readers that end at once are in each other's way: the next attempt comes at another moment.
        time.sleep(attempt * random.uniform(0.01, 0.1))  # noqa: S311
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.05)) as database,
        ):
            database.execute("PRAGMA journal_mode = DELETE")
    return False


def has_log(path: Path) -> bool:
    """Tell whether a trace is being written, or was not brought to one file yet."""
    return _companions(path)[0].exists()


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
