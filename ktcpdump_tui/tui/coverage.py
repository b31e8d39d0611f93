"""Which source lines were executed how often, and what is known of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.lean import dataclass
from ktcpdump_tui.model import LineState

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def coverage(
    hits: Mapping[tuple[str, int], int],
    states: Mapping[tuple[str, int], LineState],
    packet_hits: Mapping[tuple[str, int], int],
) -> dict[str, dict[int, LineMark]]:
    """Return the marks of all lines that have instructions in the plan: {file: {line: mark}}."""
    marks: dict[str, dict[int, LineMark]] = {}
    for (file, line), state in states.items():
        marks.setdefault(file, {})[line] = LineMark(
            state, hits.get((file, line), 0), packet_hits.get((file, line), 0)
        )
    return marks


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
