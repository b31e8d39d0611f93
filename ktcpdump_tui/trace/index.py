"""Look-up tables a reader grows as a trace grows: where a packet's events are, where a state note is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array

#: Pending pairs are merged when there are more than this, and more than an eighth of the merged ones.
_PENDING: Final = 4096


class PairIndex:
    """Maps a u32 key to the ascending numbers of the blocks it occurs in."""

    def __init__(self) -> None:
        self._keys: Array = np.empty(0, "<u4")
        self._blocks: Array = np.empty(0, "<u4")
        self._pending: list[tuple[int, Array]] = []
        self._pending_pairs = 0

    def add(self, block: int, keys: Array) -> None:
        """Take the ascending ``keys`` of ``block``; blocks come in ascending order."""
        self._pending.append((block, keys))
        self._pending_pairs += len(keys)
        if self._pending_pairs > max(_PENDING, len(self._keys) // 8):
            self._merge()

    def blocks(self, key: int) -> Array:
        """Return the ascending numbers of the blocks with ``key``."""
        low, high = np.searchsorted(self._keys, [key, key + 1])
        late = [block for block, keys in self._pending if _has(keys, key)]
        return np.concatenate((self._blocks[low:high], np.array(late, "<u4")))

    def keys(self) -> Array:
        """Return all keys, ascending."""
        return np.unique(np.concatenate((self._keys, *(keys for _, keys in self._pending))))

    def _merge(self) -> None:
        keys = np.concatenate((self._keys, *(keys for _, keys in self._pending)))
        blocks = np.concatenate(
            (self._blocks, *(np.full(len(keys), block, "<u4") for block, keys in self._pending))
        )
        order = np.argsort(keys, kind="stable")  # stable: the blocks of a key stay in ascending order
        self._keys, self._blocks = keys[order], blocks[order]
        self._pending, self._pending_pairs = [], 0


#: Where a state note is: note block, offset in the unpacked block.
_PLACE: Final[np.dtype[Any]] = np.dtype([("id", "<u8"), ("block", "<u4"), ("offset", "<u4")])


class StateIndex:
    """Maps the id of a state to the note block it is in and its offset there."""

    def __init__(self) -> None:
        self._places: Array = np.empty(0, _PLACE)
        self._pending: list[Array] = []
        self._pending_count = 0

    def add(self, block: int, states: Array) -> None:
        """Take the (``id``, ``offset``) pairs of a note block, sorted by id."""
        places = np.empty(len(states), _PLACE)
        places["id"], places["block"], places["offset"] = states["id"], block, states["offset"]
        self._pending.append(places)
        self._pending_count += len(places)
        if self._pending_count > max(_PENDING, len(self._places) // 8):
            merged = np.concatenate((self._places, *self._pending))
            self._places = merged[np.argsort(merged["id"], kind="stable")]
            self._pending, self._pending_count = [], 0

    def find(self, number: int) -> tuple[int, int] | None:
        """Return (note block, offset) of the last note with that id, or None."""
        for places in (*reversed(self._pending), self._places):
            at = int(np.searchsorted(places["id"], number, side="right")) - 1
            if at >= 0 and int(places["id"][at]) == number:
                return int(places["block"][at]), int(places["offset"][at])
        return None


def _has(ascending: Array, key: int) -> bool:
    at = int(np.searchsorted(ascending, key))
    return at < len(ascending) and int(ascending[at]) == key
