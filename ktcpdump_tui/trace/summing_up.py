"""The summary of a trace that ends before its capture does: a file of --rotate, a copy, a full disk."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ktcpdump_tui.model import ProbeState, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LOST, _TRUNCATED = "lost: ", "truncated: "


def summary_so_far(
    probes: Iterable[ProbeState],
    counts: Mapping[str, int],
    events: int,
    ended_by: str,
    packets: int | None = None,
) -> Summary:
    """Return a summary by the plan's probes and the totals by name; ``packets`` None: as counted."""
    states = Counter(probes)
    attached, refused = states[ProbeState.ATTACHED], states[ProbeState.REFUSED]
    return Summary(
        events=events,
        packets=counts.get("packets", 0) if packets is None else packets,
        probes_asked=attached + refused,
        probes_attached=attached,
        probes_refused=refused,
        lost=_of(counts, _LOST),
        ended_by=ended_by,
        derived=counts.get("derived", 0),
        truncated=_of(counts, _TRUNCATED),
    )


def _of(counts: Mapping[str, int], what: str) -> dict[str, int]:
    return {name.removeprefix(what): number for name, number in counts.items() if name.startswith(what)}
