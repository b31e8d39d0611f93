"""Look-up tables that grow as a trace grows: where a packet's events are, where a state note is.

All readers of a trace share them, each in its thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array

#: (state id, offset in the block) of each state note, sorted by id: what is stored with a block of notes.
STATE_IDS: Final[np.dtype[Any]] = np.dtype([("id", "<u8"), ("offset", "<u4")])

#: Blocks that are looked at one by one; when more came, they are merged with the others.
_PENDING: Final = 64


class PairIndex:
    """Maps a u32 key to the ascending numbers of the blocks it occurs in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._oldest = 0
        #: Key and block of each pair, ascending, as key << 32 | block: one array is sorted where it lies.
        self._pairs: Array = np.empty(0, "<u8")
        self._pending: list[tuple[int, Array]] = []

    def add(self, block: int, keys: Array) -> None:
        """Take the ascending ``keys`` of ``block``; blocks come in ascending order."""
        with self._lock:
            self._pending.append((block, keys))

    def forget(self, oldest: int) -> None:
        """Blocks before ``oldest`` are gone; their pairs go when the next ones are merged."""
        self._oldest = oldest

    def blocks(self, key: int) -> Array:
        """Return the ascending numbers of the blocks with ``key``; some may be forgotten ones."""
        with self._lock:
            if len(self._pending) > _PENDING:
                self._merge()
            pairs, pending = self._pairs, self._pending[:]
        # Keys of the array's own type: with others numpy converts the whole array at each call.
        low = pairs.searchsorted(np.uint64(key << 32))
        high = pairs.searchsorted(np.uint64(key << 32 | 0xFFFFFFFF), "right")
        late = [block for block, keys in pending if _has(keys, key)]
        return np.concatenate((pairs[low:high].astype("<u4"), np.array(late, "<u4")))

    def _merge(self) -> None:
        kept = self._pairs
        if self._oldest:
            kept = kept[(kept & np.uint64(0xFFFFFFFF)) >= self._oldest]
        end = len(kept)
        pairs = np.empty(end + sum(len(keys) for _, keys in self._pending), "<u8")
        pairs[:end] = kept
        for block, keys in self._pending:
            start, end = end, end + len(keys)
            pairs[start:end] = keys
            pairs[start:end] <<= np.uint64(32)
            pairs[start:end] |= np.uint64(block)
        pairs.sort(kind="stable")  # quick where most of it is in order: later packets have higher ids
        self._pairs, self._pending = pairs, []


@dataclass(frozen=True, slots=True)
class _Places:
    """Where state notes are, by ascending id: note block, offset in the unpacked block."""

    ids: Array
    blocks: Array
    offsets: Array


class StateIndex:
    """Maps the id of a state to the note block it is in and its offset there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = _Places(np.empty(0, "<u8"), np.empty(0, "<u4"), np.empty(0, "<u4"))
        self._pending: list[_Places] = []
        self._last: tuple[int, _Places] | None = None  # the last block, which may still grow
        self._oldest = 0

    def add(self, block: int, states: Array) -> None:
        """Take all (``id``, ``offset``) pairs of a note block, sorted by id; the last block's once more."""
        ids, offsets = np.ascontiguousarray(states["id"]), np.ascontiguousarray(states["offset"])
        with self._lock:
            if self._last is not None and self._last[0] != block:
                self._pending.append(self._last[1])
            self._last = (block, _Places(ids, np.full(len(ids), block, "<u4"), offsets))

    def forget(self, oldest: int) -> None:
        """Note blocks before ``oldest`` are gone; their states go when the next ones are merged."""
        self._oldest = oldest

    def find(self, number: int) -> tuple[int, int] | None:
        """Return (note block, offset) of the last note with that id, or None."""
        key = np.uint64(number)
        for places in reversed(self._parts()):
            at = int(places.ids.searchsorted(key, side="right")) - 1
            if at >= 0 and places.ids[at] == key:
                return int(places.blocks[at]), int(places.offsets[at])
        return None

    def find_all(self, numbers: Array) -> tuple[Array, Array]:
        """Return note block (0: none, they count from 1) and offset of the last note with each id (i8)."""
        blocks, offsets = np.zeros(len(numbers), "<i8"), np.zeros(len(numbers), "<i8")
        for places in self._parts():
            if not len(places.ids):
                continue
            at = places.ids.searchsorted(numbers.astype("<u8"), side="right") - 1
            has = (at >= 0) & (places.ids[at] == numbers)
            blocks[has], offsets[has] = places.blocks[at[has]], places.offsets[at[has]]
        return blocks, offsets

    def _parts(self) -> list[_Places]:
        """Return where to look, the oldest first."""
        with self._lock:
            if len(self._pending) > _PENDING:
                self._merge()
            return [self._places, *self._pending, *((self._last[1],) if self._last else ())]

    def _merge(self) -> None:
        parts = (self._places, *self._pending)
        ids = np.concatenate([part.ids for part in parts])
        blocks = np.concatenate([part.blocks for part in parts])
        order = np.argsort(ids, kind="stable")
        if self._oldest:
            order = order[blocks[order] >= self._oldest]
        offsets = np.concatenate([part.offsets for part in parts])[order]
        self._places = _Places(ids[order], blocks[order], offsets)
        self._pending = []


def _has(ascending: Array, key: int) -> bool:
    at = int(ascending.searchsorted(np.uint32(key)))
    return at < len(ascending) and int(ascending[at]) == key
