"""Leaving a trace on a full disk as one file that opens, with what was committed.

A trace that is written has a log beside it (FILE-wal), whose pages go into the file when it is finished.
Where the disk is full the file cannot grow by them; but a page that is beyond the file's end is in the log,
so what the log takes is room enough. SQLite makes a checkpoint only with both there at once, hence ``_Log``,
by SQLite's documents "Database File Format" (section 4: the log) and "WAL-mode File Format" (its index).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.trace import records

if TYPE_CHECKING:
    from pathlib import Path

    from ktcpdump_tui.model import Summary

#: What a summary says in ``ended_by`` where the disk was full before the capture ended.
DISK_FULL: Final = "disk full"

#: SQLite's result codes (their low byte) that mean that the disk takes no more: SQLITE_READONLY (a file
#: system is made so after errors), SQLITE_IOERR (EDQUOT, EFBIG, EIO), SQLITE_FULL (ENOSPC), SQLITE_CANTOPEN.
_REFUSED: Final = frozenset({8, 10, 13, 14})

#: Bytes of the log's header and of the header of each page in it.
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24

#: Where the log's index has the number of pages in the log that are committed, and of all pages (u32).
_INDEX_FRAMES: Final = slice(16, 20)
_INDEX_PAGES: Final = slice(20, 24)

#: Where the file says whether it has a log (1: no) for writing and for reading.
_LOG_MARKS: Final = 18


def refused(error: sqlite3.Error) -> bool:
    """Tell whether ``error`` means that the disk takes no more."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSED


class Leaving:
    """A trace that is written no more, on its way to one file.

    ``summary`` goes into it where there is room for that (there is: it changes a page that is there). Readers
    keep the log open, so ``settle`` may have to be called again until it returns True. ``close`` lets it be
    as it is: file and log together are the trace as well.
    """

    def __init__(self, database: sqlite3.Connection, path: Path, summary: Summary | None) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = database
        self._summary = summary

    def settle(self, patience: float = 0.0) -> bool:
        """Make it one file; False where others read it even after ``patience`` seconds. Once more is fine."""
        deadline = time.monotonic() + patience
        while self._db is not None and not self._attempt(self._db):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as far as readers let it
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _attempt(self, database: sqlite3.Connection) -> bool:
        try:
            database.execute("PRAGMA busy_timeout = 0")
            database.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            if not refused(error):
                return False  # readers
            # It failed where it writes, so it was alone: nobody reads the file.
            try:
                log = _Log(self.path)
                self.close()
                log.fold()
            except OSError:
                self.close()
                return True  # the log stays beside the file
        self.close()
        if self._summary is not None:
            say_why(self.path, self._summary)
        return True


def say_why(path: Path, summary: Summary) -> None:
    """Put ``summary`` into a trace at rest, where its page has the room; without a header it is deleted."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database,
    ):
        if not database.execute("SELECT 1 FROM meta WHERE key = 'header'").fetchone():
            path.unlink(missing_ok=True)
            return
        # In place and without a journal beside it: there is room for neither on a full disk.
        database.execute("PRAGMA journal_mode = MEMORY")
        database.execute("BEGIN IMMEDIATE")
        for key, value in (("summary", records.summary_to_json(summary)), ("finished", 1)):
            database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
        database.execute("COMMIT")


class _Log:
    """The log of a trace nobody else has open, read while its writer's connection still is; OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log, self._index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
        with self._index.open("rb") as file:
            index = file.read(_INDEX_PAGES.stop)
        self._frames = int.from_bytes(index[_INDEX_FRAMES], "little")
        self._pages = int.from_bytes(index[_INDEX_PAGES], "little")
        self._data = self._log.read_bytes()

    def fold(self) -> None:
        """Write the log's committed pages into the file, and remove the log. OSError: all is as it was."""
        if not self._log.exists():
            return  # there was room after all when the connection was closed
        page_size = int.from_bytes(self._data[8:12], "big")
        step = _FRAME_HEADER + page_size
        latest: dict[int, int] = {}
        for at in range(_LOG_HEADER, _LOG_HEADER + self._frames * step, step):
            latest[int.from_bytes(self._data[at : at + 4], "big")] = at + _FRAME_HEADER
        with self._path.open("r+b") as file:
            os.truncate(self._log, 0)
            try:
                os.posix_fallocate(file.fileno(), 0, self._pages * page_size)
            except OSError:
                self._log.write_bytes(self._data)  # the room is as it was (a limit on the file's size)
                raise
            for number in sorted(latest):
                file.seek((number - 1) * page_size)
                file.write(self._data[latest[number] : latest[number] + page_size])
            file.seek(_LOG_MARKS)
            file.write(b"\x01\x01")
            file.truncate(self._pages * page_size)
            file.flush()
            os.fsync(file.fileno())
        for companion in (self._log, self._index):
            companion.unlink(missing_ok=True)
