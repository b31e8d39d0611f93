"""The post-filter of the trace list: its events are found in a thread, and listed while more are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.trace.criteria import Criteria
from ktcpdump_tui.trace.postfilter import PostFilter
from ktcpdump_tui.tui.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App

    from ktcpdump_tui.trace.postfilter import Predicate
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.event_list import EventList

    Array = np.ndarray[Any, np.dtype[Any]]

#: Seconds of scanning after which what was found is shown.
SLICE: Final = 0.1


@dataclass(frozen=True, slots=True)
class FilterOrder:
    """Look for more events that ``criteria`` select, at least as far as event ``until``."""

    criteria: Criteria
    until: int


@dataclass(frozen=True, slots=True)
class Found:
    """The numbers found so far, ascending, and how far the trace was looked through."""

    numbers: Array
    scanned: int
    complete: bool


class ListFilter:
    """Which events the list shows. Made and asked in the interface's thread.

    ``make_judge`` turns an EXPRESSION into what judges packets, UsageError where it is wrong. ``changed`` is
    called when more is known, ``failed`` with what went wrong in the thread.
    """

    def __init__(
        self,
        rows: EventList,
        open_trace: Callable[[], Trace],
        make_judge: Callable[[str], Predicate] | None,
    ) -> None:
        self._rows = rows
        self._open_trace, self._make_judge = open_trace, make_judge
        self._background: Background[FilterOrder, Found] | None = None
        self._changed: Callable[[], None] = lambda: None
        # In the thread:
        self._trace: Trace | None = None
        self._filter: PostFilter | None = None
        # In the interface:
        self.text = ""
        self.criteria = Criteria()
        self.scanned = 0
        self.complete = True

    def start(
        self, app: App[Any], changed: Callable[[], None], failed: Callable[[Exception], None]
    ) -> Background[Any, Any]:
        """Start the thread, and return it."""
        self._changed = changed
        self._background = Background(app, "filter", self._look, self._looked, failed)
        self.look()
        return self._background

    def check(self, text: str) -> Criteria:
        """Return what ``text`` selects; UsageError where it is wrong."""
        criteria = Criteria.parse(text)
        if criteria.expression:
            if self._make_judge is None:
                raise UsageError("packets cannot be judged here", "use fn:, file:, cpu:, packet: ...")
            self._make_judge(criteria.expression)
        return criteria

    def judge(self, criteria: Criteria) -> Predicate | None:
        """Return a judge of packets for criteria that ``check`` gave; None where they have no expression."""
        return self._make_judge(criteria.expression) if criteria.expression and self._make_judge else None

    def apply(self, text: str) -> None:
        """List what ``text`` selects, all events where it is empty. UsageError where it is wrong."""
        self.criteria = self.check(text)
        self.text = text.strip()
        self.scanned, self.complete = 0, not self.criteria
        self._rows.show_selected(np.empty(0, "<i8") if self.criteria else None)
        self.look()

    def look(self) -> None:
        """Look at what is new in the trace, if there is a filter."""
        if self.criteria and self._background is not None and not self._background.busy:
            self._background.order(FilterOrder(self.criteria, self._rows.last))

    def _look(self, order: FilterOrder) -> Found:
        if self._trace is None:
            self._trace = self._open_trace()
        if order.until > len(self._trace):
            self._trace.refresh()
        if self._filter is None or self._filter.criteria is not order.criteria:
            judge = self.judge(order.criteria)
            self._filter = PostFilter(self._trace, order.criteria, judge)
        complete = self._filter.scan(SLICE)
        return Found(self._filter.numbers(0, len(self._filter)), self._filter.scanned, complete)

    def _looked(self, order: FilterOrder, found: Found) -> None:
        if order.criteria is not self.criteria:
            return
        self.scanned, self.complete = found.scanned, found.complete
        self._rows.show_selected(found.numbers)
        self._changed()
        if not found.complete and self._background is not None:
            self._background.order(FilterOrder(order.criteria, order.until))
