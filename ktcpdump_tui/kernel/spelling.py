"""Which of many thousand names was meant: edit distance over all of them at once, with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import re

    from numpy.typing import NDArray


def closest(
    name: str,
    text: bytes,
    starts: NDArray[Any],
    ends: NDArray[Any],
    count: int = 5,
    unwanted: re.Pattern[str] | None = None,
) -> list[str]:
    """Return up to ``count`` of the names at ``text[start:end]`` that are nearest to ``name``.

    Nearness is the number of characters inserted, deleted, replaced or swapped with their neighbour
    (optimal string alignment); names further away than a third of ``name``'s length are not offered.
    Names that begin with ``name`` come after those that are one slip away.
    """
    wanted = np.frombuffer(name.encode(), np.uint8)
    limit = max(2, len(wanted) // 3)
    lengths = ends - starts
    near = np.flatnonzero(np.abs(lengths - len(wanted)) <= limit)
    characters = np.frombuffer(text, np.uint8)
    found: dict[str, float] = {}
    if len(near):
        distances = _distances(wanted, characters, starts[near], lengths[near])
        for at in np.flatnonzero(distances <= limit):
            start = int(starts[near[at]])
            word = text[start : start + int(lengths[near[at]])].decode(errors="replace")
            found.setdefault(word, float(distances[at]))
    for word in _beginning_with(name, text, starts, ends, count):
        found.setdefault(word, 1.5)
    words = [word for word in found if word != name and not (unwanted and unwanted.match(word))]
    return sorted(words, key=lambda word: (found[word], len(word), word))[:count]


def _beginning_with(
    name: str, text: bytes, starts: NDArray[Any], ends: NDArray[Any], count: int
) -> list[str]:
    """Return some of the names that begin with ``name``, without ``.cold`` and other parts."""
    if len(name) < 3:
        return []
    found: list[str] = []
    needle = b" " + name.encode()
    at = text.find(needle)
    while at >= 0 and len(found) < count:
        line = int(np.searchsorted(starts, at + 1))
        if line < len(starts) and starts[line] == at + 1:
            word = text[at + 1 : int(ends[line])].decode(errors="replace")
            if "." not in word:
                found.append(word)
        at = text.find(needle, at + 1)
    return found


def _distances(
    wanted: NDArray[np.uint8], text: NDArray[np.uint8], starts: NDArray[Any], lengths: NDArray[Any]
) -> NDArray[np.uint8]:
    """Return the optimal string alignment distance of ``wanted`` to each word; all words step by step."""
    width = int(lengths.max())
    # words in columns, so that each step works on contiguous memory
    places = np.minimum(starts[None, :] + np.arange(width)[:, None], len(text) - 1)
    words = text[places]
    rows = len(wanted) + 1
    before = np.zeros((rows, len(starts)), np.uint8)
    last = np.repeat(np.arange(rows, dtype=np.uint8)[:, None], len(starts), axis=1)
    result: NDArray[np.uint8] = last[-1].copy()
    for column in range(width):
        now = np.empty_like(last)
        now[0] = column + 1
        differs = words[column][None, :] != wanted[:, None]
        replaced = last[:-1] + differs
        for row in range(1, rows):
            best = np.minimum(np.minimum(now[row - 1], last[row]) + np.uint8(1), replaced[row - 1])
            if row > 1 and column > 0:
                swapped = (words[column] == wanted[row - 2]) & (words[column - 1] == wanted[row - 1])
                best = np.where(swapped, np.minimum(best, before[row - 2] + np.uint8(1)), best)
            now[row] = best
        before, last = last, now
        done = lengths == column + 1
        result[done] = now[-1][done]
    return result
