"""Keeping a trace within --max-size: the oldest events go first, and what is left stays whole.

Numbers stay as they are, so the first event of a trimmed trace has a number above 1. How often each
instruction ran, and how many events were lost, is kept for the removed events too. State notes go when no
event refers to them any more, or when they alone take half of the room; packets go with their last event.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.trace.index import STATE_IDS
from ktcpdump_tui.trace.losses import unpack_losses
from ktcpdump_tui.trace.tally import Tally, add_hits

if TYPE_CHECKING:
    import sqlite3

    from ktcpdump_tui.trace.codec import Array

#: Part of the room that is left to SQLite's log beside the file, and its largest size in bytes.
_LOG_SHARE: Final = 4
_LOG_MOST: Final = 16 << 20

#: Part of the room that an unpacked block may have; one of events and one of notes come before the next trim.
_BLOCK_SHARE: Final = 32


@dataclass(slots=True)
class _Block:
    id: int
    first_no: int
    tally: Tally
    lost: int
    oldest_note: int  # the note block with the oldest state these events refer to


class Trimmer:
    """Removes the oldest blocks of a trace that is being written; ``max_size`` in bytes."""

    def __init__(self, database: sqlite3.Connection, max_size: int) -> None:
        self._db = database
        self._page_size = int(database.execute("PRAGMA page_size").fetchone()[0])
        log = min(_LOG_MOST, max_size // _LOG_SHARE)
        #: Unpacked bytes of a block at most.
        self.block_bytes = max_size // _BLOCK_SHARE
        reserve = 3 * min(self.block_bytes, 1 << 20)
        self._pages = max(1, (max_size - log - reserve) // self._page_size)
        #: Bytes after which the writer has to commit, so that the log keeps to its room.
        self.commit_bytes = log // 2
        database.execute(f"PRAGMA wal_autocheckpoint = {max(1, log // 4 // self._page_size)}")
        database.execute(f"PRAGMA journal_size_limit = {log}")
        self._events: deque[_Block] = deque()
        self._notes: deque[tuple[int, Array]] = deque()
        self._hits = np.zeros(0, "<u8")
        self._lost = 0

    def resume(self) -> None:
        """Take stock of the blocks that are there already; their states stay until the last of them goes."""
        meta = dict(self._db.execute("SELECT key, value FROM meta WHERE key LIKE 'removed_%'"))
        self._hits = np.frombuffer(meta.get("removed_hits", b""), "<u8").copy()
        self._lost = int(meta.get("removed_lost", 0))
        for number, states in self._db.execute("SELECT id, state_ids FROM note_block ORDER BY id"):
            self._notes.append((number, np.frombuffer(states, STATE_IDS)["id"]))
        oldest = self._notes[0][0] if self._notes else 1
        for number, first_no, count, tally, loss in self._db.execute(
            "SELECT id, first_no, count, tally, loss FROM event_block ORDER BY id"
        ):
            lost = int(unpack_losses(loss)["lost"].sum())
            self._events.append(_Block(number, first_no, Tally.unpack(tally, count), lost, oldest))

    def event_block(self, number: int, first_no: int, tally: Tally, losses: Array, states: Array) -> None:
        """Take note of an event block that was stored, or stored again with more events in it."""
        if self._events and self._events[-1].id == number:
            self._events.pop()
        self._events.append(
            _Block(number, first_no, tally, int(losses["lost"].sum()), self._oldest_note(distinct(states)))
        )

    def note_block(self, number: int, ids: Array) -> None:
        """Take note of a note block that was stored, with the sorted ids of its states."""
        if self._notes and self._notes[-1][0] == number:
            self._notes.pop()
        self._notes.append((number, ids))

    def trim(self, current_block: int, current_notes: int) -> None:
        """Remove the oldest blocks until the file fits; the two blocks being filled always stay."""
        removed = False
        while self._events and self._events[0].id < current_block and self._used() > self._pages:
            self._remove(self._events.popleft())
            removed = True
            needed = min((block.oldest_note for block in self._events), default=current_notes)
            self._remove_notes(min(needed, current_notes))
        while (
            len(self._notes) > 1
            and self._notes[0][0] < current_notes
            and self._used() > self._pages
            and self._note_pages() > self._pages // 2
        ):
            self._remove_notes(self._notes[0][0] + 1)
        if removed:
            self._db.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('removed_hits', ?), ('removed_lost', ?)",
                (self._hits.tobytes(), self._lost),
            )

    def _used(self) -> int:
        pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
        return pages - int(self._db.execute("PRAGMA freelist_count").fetchone()[0])

    def _note_pages(self) -> int:
        packed = self._db.execute(
            "SELECT total(length(data) + length(state_ids)) FROM note_block"
        ).fetchone()[0]
        return int(packed) // self._page_size

    def _oldest_note(self, states: Array) -> int:
        missing = states[states > 0]
        oldest = self._notes[-1][0] if self._notes else 1
        for number, ids in reversed(self._notes):
            if not len(missing):
                break
            here = np.isin(missing, ids)
            if here.any():
                oldest = number
                missing = missing[~here]
        return oldest

    def _remove(self, block: _Block) -> None:
        self._hits = add_hits(self._hits, block.tally)
        self._lost += block.lost
        next_no = block.first_no + int(block.tally.packet_counts.sum())
        self._db.execute("DELETE FROM event_block WHERE id = ?", (block.id,))
        self._db.execute("DELETE FROM event_data WHERE id = ?", (block.id,))
        self._db.execute("DELETE FROM loss_fix WHERE no < ?", (next_no,))
        ids = [(packet, next_no) for packet in block.tally.packets.tolist()]
        row = self._db.execute(
            "SELECT max(row) FROM packet WHERE id = ?", (int(block.tally.packets[-1]),)
        ).fetchone()[0]
        self._db.executemany("DELETE FROM packet WHERE id = ? AND last_no < ?", ids)
        if row is not None:
            # Packets before it that never had an event (only a birth or an end) are as old.
            self._db.execute(
                "DELETE FROM packet WHERE row < ? AND last_no IS NULL AND freed_at IS NOT NULL", (row,)
            )

    def _remove_notes(self, before: int) -> None:
        while self._notes and self._notes[0][0] < before:
            self._notes.popleft()
        self._db.execute("DELETE FROM note_block WHERE id < ?", (before,))
