"""Which source lines were executed how often, and what is known of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.model import LineState
from ktcpdump_tui.trace.lines import STATES, PlanLines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktcpdump_tui.trace.codec import Array

#: A glyph for each state, so that they differ without colours too; and the style's name.
GLYPHS: Final = {
    LineState.EXECUTED: ("▌", "executed"),
    LineState.NOT_EXECUTED: ("○", "not_executed"),
    LineState.NOT_PROBED: ("·", "not_probed"),
    LineState.UNKNOWN: ("?", "unknown"),
}


@dataclass(frozen=True, slots=True)
class LineMark:
    """What the gutter says of a line.

    ``hits`` counts its most executed instruction, ``packet_hits`` the same for the packet looked at alone.
    """

    state: LineState
    hits: int
    packet_hits: int = 0


class Coverage:
    """The marks of all lines that have instructions in the plan; a mark is made when it is looked at."""

    def __init__(self, lines: PlanLines, hits: Array, packet_hits: Array, *, lost: bool) -> None:
        """``hits`` and ``packet_hits`` count executions per instruction; ``lost``: whether any event was."""
        self._places = lines.places
        self._counts, self._packet_counts = lines.counts(hits), lines.counts(packet_hits)
        self._states = lines.states(self._counts, lost)

    def of(self, file: str) -> FileMarks:
        """Return the marks of a file's lines."""
        return FileMarks(self._places.get(file, {}), self._states, self._counts, self._packet_counts)


class FileMarks:
    """The marks of one file's lines."""

    def __init__(self, places: Mapping[int, int], states: Array, counts: Array, packet_counts: Array) -> None:
        self._places, self._states = places, states
        self._counts, self._packet_counts = counts, packet_counts

    def get(self, line: int) -> LineMark | None:
        """Return a line's mark, None where the plan has no instruction of it."""
        place = self._places.get(line)
        if place is None:
            return None
        return LineMark(
            STATES[self._states[place]], int(self._counts[place]), int(self._packet_counts[place])
        )


_NONE: Final = np.zeros(0, "<u8")

#: The marks where there is no plan.
NOTHING: Final = Coverage(PlanLines(()), _NONE, _NONE, lost=False)


def short_count(number: int) -> str:
    """Return a count in at most four characters: 999, 9.9k, 999k, 9.9M ..."""
    if number < 1000:
        return str(number)
    value = float(number)
    for unit in "kMGTP":
        value /= 1000
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            return f"{value:.0f}{unit}"
    return "many"
