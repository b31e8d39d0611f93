"""Look-up tables a reader grows as a trace grows: where a packet's events are, where a state note is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.lean import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.trace.codec import Array

#: (state id, offset in the block) of each state note, sorted by id: what is stored with a block of notes.
STATE_IDS: Final[np.dtype[Any]] = np.dtype([("id", "<u8"), ("offset", "<u4")])

#: Pending pairs are merged when something is asked, and they are more than this and an eighth of the others.
_PENDING: Final = 4096


class PairIndex:
    """Maps a u32 key to the ascending numbers of the blocks it occurs in.

    Readers of a trace that does not change any more share one, each in its thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Key and block of each pair, ascending, as key << 32 | block: one array is sorted where it lies.
        self._pairs: Array = np.empty(0, "<u8")
        self._pending: list[tuple[int, Array]] = []
        self._pending_pairs = 0

    def add(self, block: int, keys: Array) -> None:
        """Take the ascending ``keys`` of ``block``; blocks come in ascending order."""
        self._pending.append((block, keys))
        self._pending_pairs += len(keys)

    def blocks_of_any(self, keys: Sequence[int]) -> Array:
        """Return the ascending numbers of the blocks with any of the ascending ``keys``."""
        self._merge_if_due()
        wanted = np.array(keys, "<u4")
        late = [block for block, here in self._pending if np.isin(wanted, here, assume_unique=True).any()]
        return distinct(np.concatenate((*map(self._merged, keys), np.array(late, "<u4"))))

    def blocks(self, key: int) -> Array:
        """Return the ascending numbers of the blocks with ``key``."""
        self._merge_if_due()
        late = [block for block, keys in self._pending if _has(keys, key)]
        return np.concatenate((self._merged(key), np.array(late, "<u4")))

    def _merged(self, key: int) -> Array:
        """Return the blocks with ``key`` among the merged pairs."""
        # Keys of the array's own type: with others numpy converts the whole array at each call.
        low = self._pairs.searchsorted(np.uint64(key << 32))
        high = self._pairs.searchsorted(np.uint64(key << 32 | 0xFFFFFFFF), "right")
        return self._pairs[low:high].astype("<u4")

    def _merge_if_due(self) -> None:
        with self._lock:
            if self._pending_pairs > max(_PENDING, len(self._pairs) // 8):
                self._merge()

    def _merge(self) -> None:
        pairs = np.empty(len(self._pairs) + self._pending_pairs, "<u8")
        end = len(self._pairs)
        pairs[:end] = self._pairs
        for block, keys in self._pending:
            start, end = end, end + len(keys)
            pairs[start:end] = keys
            pairs[start:end] <<= np.uint64(32)
            pairs[start:end] |= np.uint64(block)
        pairs.sort()
        self._pairs = pairs
        self._pending, self._pending_pairs = [], 0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where state notes are, by ascending id: note block, offset in the unpacked block."""

    ids: Array
    blocks: Array
    offsets: Array


class StateIndex:
    """Maps the id of a state to the note block it is in and its offset there; shared as PairIndex is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = _Places(np.empty(0, "<u8"), np.empty(0, "<u4"), np.empty(0, "<u4"))
        self._pending: list[_Places] = []
        self._pending_count = 0

    def add(self, block: int, states: Array) -> None:
        """Take the (``id``, ``offset``) pairs of a note block, sorted by id."""
        ids, offsets = np.ascontiguousarray(states["id"]), np.ascontiguousarray(states["offset"])
        self._pending.append(_Places(ids, np.full(len(ids), block, "<u4"), offsets))
        self._pending_count += len(ids)

    def _merge_if_due(self) -> None:
        with self._lock:
            if self._pending_count > max(_PENDING, len(self._places.ids) // 8):
                self._merge()

    def _merge(self) -> None:
        parts = (self._places, *self._pending)
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids, kind="stable")
        self._places = _Places(
            ids[order],
            np.concatenate([part.blocks for part in parts])[order],
            np.concatenate([part.offsets for part in parts])[order],
        )
        self._pending, self._pending_count = [], 0

    def find(self, number: int) -> tuple[int, int] | None:
        """Return (note block, offset) of the last note with that id, or None."""
        self._merge_if_due()
        key = np.uint64(number)
        for places in (*reversed(self._pending), self._places):
            at = int(places.ids.searchsorted(key, side="right")) - 1
            if at >= 0 and places.ids[at] == key:
                return int(places.blocks[at]), int(places.offsets[at])
        return None

    def find_all(self, numbers: Array) -> tuple[Array, Array]:
        """Return note block (0: none, they count from 1) and offset of the last note with each id (i8)."""
        self._merge_if_due()
        blocks, offsets = np.zeros(len(numbers), "<i8"), np.zeros(len(numbers), "<i8")
        for places in (self._places, *self._pending):
            if not len(places.ids):
                continue
            at = places.ids.searchsorted(numbers.astype("<u8"), side="right") - 1
            has = (at >= 0) & (places.ids[at] == numbers)
            blocks[has], offsets[has] = places.blocks[at[has]], places.offsets[at[has]]
        return blocks, offsets


def _has(ascending: Array, key: int) -> bool:
    at = int(ascending.searchsorted(np.uint32(key)))
    return at < len(ascending) and int(ascending[at]) == key
