"""EXPRESSION over recorded packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ktcpdump_tui.trace.postfilter import Predicate


def make_judge(expression: str) -> Predicate:
    """Return what judges recorded packets by EXPRESSION; UsageError where it is wrong."""
    from ktcpdump_tui.capture.filter.offline import OfflineFilter

    return OfflineFilter(expression).matches
