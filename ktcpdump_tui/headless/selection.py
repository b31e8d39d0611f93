"""Which events of a recorded packet are printed: the post-filter of the screen, asked event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.trace.criteria import Criteria
from ktcpdump_tui.trace.postfilter import PostFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.postfilter import Predicate
    from ktcpdump_tui.trace.trace import Trace


class Selection:
    """Tells which events a filter selects: ``text`` as criteria.py describes it, the empty one all of them.

    Events are asked about in ascending order; where the trace grows, after its refresh. ``make_judge`` gives
    what judges packets by EXPRESSION. UsageError where ``text`` is wrong.
    """

    def __init__(self, text: str, trace: Trace, make_judge: Callable[[str], Predicate]) -> None:
        criteria = Criteria.parse(text)
        judge = make_judge(criteria.expression) if criteria.expression else None
        self._found = PostFilter(trace, criteria, judge) if criteria else None

    def __call__(self, event: Event) -> bool:
        """Tell whether ``event`` is selected."""
        found = self._found
        if found is None:
            return True
        while found.scanned < event.no:
            found.scan(enough=len(found) + 1)
        return event.no in found
