"""Where two sequences of numbers differ, and where they go the same way again.

The sequences are walked side by side as long as they are equal. Where they differ, the nearest place is
looked for where the same follows in both for a while; then the walk goes on.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array

#: Sequences have joined where so many values are the same: fewer may be what both pass by chance.
SAME: Final = 4

#: Values after a difference among which the sequences are looked for that join; beyond, they never do.
_FAR: Final = 200_000


def differences(a: Array, b: Array) -> list[tuple[int, int, int, int]]:
    """Return where two sequences of numbers differ: (start, end in ``a``, start, end in ``b``), in order."""
    found: list[tuple[int, int, int, int]] = []
    grams_a, grams_b = _grams(a, b)
    places: dict[int, list[int]] = {}
    for position, gram in enumerate(grams_b.tolist()):
        places.setdefault(gram, []).append(position)
    i = j = 0
    while True:
        same = _common_prefix(a[i:], b[j:])
        i, j = i + same, j + same
        if i == len(a) and j == len(b):
            return found
        next_i, next_j = _join(grams_a, places, i, j, len(a), len(b))
        found.append((i, next_i, j, next_j))
        i, j = next_i, next_j


def _join(
    grams: Array, places: dict[int, list[int]], i: int, j: int, end_a: int, end_b: int
) -> tuple[int, int]:
    """Return the nearest positions from ``i`` and ``j`` on where the same follows; the ends if none."""
    best, cost = (end_a, end_b), end_a - i + end_b - j
    for skipped, gram in enumerate(grams[i : i + _FAR].tolist()):
        if skipped >= cost:
            break
        positions = places.get(gram, ())
        at = bisect_left(positions, j)
        if at < len(positions) and skipped + positions[at] - j < cost:
            best, cost = (i + skipped, positions[at]), skipped + positions[at] - j
    return best


def _grams(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a number for every run of ``SAME`` values; equal numbers in both results mean equal runs.

    The last runs are shorter; a value of their own fills them up, so that paths can join at the end.
    """
    known: dict[bytes, int] = {}
    results = []
    for values in (a, b):
        padded = np.concatenate((values.astype("<i8"), np.full(SAME - 1, -1, "<i8")))
        data = padded.tobytes()
        numbers = [known.setdefault(data[8 * at : 8 * (at + SAME)], len(known)) for at in range(len(values))]
        results.append(np.array(numbers, "<i8"))
    return results[0], results[1]


def _common_prefix(a: Array, b: Array) -> int:
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length
