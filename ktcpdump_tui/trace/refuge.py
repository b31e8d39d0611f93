"""Where a capture goes on when the disk of its trace is full: a temporary trace on another disk, bounded."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.trace.losses import unpack_losses
from ktcpdump_tui.trace.tally import Tally, add_hits

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.trace.whereabouts import Whereabouts

#: Bytes that a place must have to be worth it.
LEAST: Final = 16 << 20

#: Bytes of events, and of states, that are taken along at most: half a second, which the rings bridge.
_TAKEN_ALONG: Final = 256 << 20

#: Part of the room of the new place that these may have, and part of what is free there that we take.
_SHARE: Final = 4
_OF_FREE: Final = 2


@dataclass(frozen=True, slots=True)
class Move:
    """What happened: ``error`` is the system's word, ``events`` how many the trace at ``left`` holds.

    ``first_no`` is the number of the oldest event that was taken along.
    """

    left: Path
    error: str
    events: int
    first_no: int


class Refuge:
    """Chooses the place, once, and says so: ``moved`` is called in the writer's thread.

    ``most`` bounds the trace there in bytes. ``close`` deletes it.
    """

    def __init__(self, where: Whereabouts, most: int, moved: Callable[[Move], None]) -> None:
        self._where = where
        self._most = most
        self._moved = moved
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def choose(self, full: Path) -> tuple[Path, int] | None:
        """Return a new file on another disk than ``full``'s, and the bytes it may have; None: nowhere."""
        if self._folder is not None:
            return None
        for place, free in _places(full):
            try:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="ktcpdump-tui-", dir=place, ignore_cleanup_errors=True
                )
            except OSError:
                continue  # not ours to write to
            most = min(self._most, free // _OF_FREE)
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]  # ulimit -f: of each file, wherever it is
            return Path(self._folder.name) / full.name, most if limit < 0 else min(most, limit)
        return None

    def took_over(self, path: Path, move: Move) -> None:
        """Let the readers know."""
        self._where.path = path
        self._moved(move)

    def close(self) -> None:
        """Delete the temporary trace."""
        if self._folder is not None:
            self._folder.cleanup()


def _places(full: Path) -> Iterator[tuple[Path, int]]:
    """Yield the temporary folders on other file systems than ``full``, with the bytes that are free."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for place in (Path(tempfile.gettempdir()), cache, Path("/dev/shm")):  # noqa: S108 - it is a candidate
        try:
            if (
                place.stat().st_dev != full.parent.stat().st_dev
                and (free := shutil.disk_usage(place).free) >= LEAST
            ):
                yield place, free
        except OSError:
            continue  # there is no such folder


def take_along(source: Path, target: sqlite3.Connection, room: int) -> int:
    """Copy a trace into the empty one ``target``: all of it, or its newest events where ``room`` is scarce.

    Numbers stay as they are. Returns the number of the first event that is there. Raises sqlite3.Error.
    """
    budget = min(room // _SHARE, _TAKEN_ALONG)
    target.execute("ATTACH ? AS source", (str(source),))
    try:
        target.execute("BEGIN IMMEDIATE")
        for table in ("meta", "plan", "counts", "blob", "loss_fix"):
            target.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM source.{table}")  # noqa: S608
        first_block = _newest(target, "event_data", "length(head) + length(body)", budget)
        first_note = _newest(target, "note_block", "length(data) + length(state_ids)", budget)
        for table, first in (
            ("event_block", first_block),
            ("event_data", first_block),
            ("note_block", first_note),
        ):
            target.execute(f"INSERT INTO {table} SELECT * FROM source.{table} WHERE id >= ?", (first,))  # noqa: S608
        row = target.execute("SELECT min(first_no) FROM event_block").fetchone()
        first_no = int(row[0] or 1)
        target.execute(
            "INSERT INTO packet SELECT * FROM source.packet WHERE coalesce(last_no, ?1) >= ?1", (first_no,)
        )
        _count_left(target, first_block)
        target.execute("COMMIT")
    finally:
        if target.in_transaction:
            target.rollback()
        target.execute("DETACH source")
    return first_no


def _newest(target: sqlite3.Connection, table: str, size: str, budget: int) -> int:
    """Return the id of the first of the newest rows that fit in ``budget`` bytes; the newest always does."""
    first = 0
    for number, needed in target.execute(f"SELECT id, {size} FROM source.{table} ORDER BY id DESC"):  # noqa: S608
        budget -= needed
        if budget < 0 and first:
            break
        first = number
    return first


def _count_left(target: sqlite3.Connection, first_block: int) -> None:
    """Keep of the events that are not taken along what --max-size keeps of those it removes (trim.py)."""
    meta = dict(target.execute("SELECT key, value FROM meta WHERE key LIKE 'removed_%'"))
    hits = np.frombuffer(meta.get("removed_hits", b""), "<u8").copy()
    lost = int(meta.get("removed_lost", 0))
    blocks = target.execute(
        "SELECT count, tally, loss FROM source.event_block WHERE id < ?", (first_block,)
    ).fetchall()
    if not blocks:
        return
    for count, tally, loss in blocks:
        hits = add_hits(hits, Tally.unpack(tally, count))
        lost += int(unpack_losses(loss)["lost"].sum())
    target.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('removed_hits', ?), ('removed_lost', ?)",
        (hits.tobytes(), lost),
    )
