"""Variables and watch expressions at the events of a trace, as they go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ktcpdump_tui.debuginfo.expressions import compile_expression
from ktcpdump_tui.trace.values import TraceValues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.expressions import Watched
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace


class EventValues:
    """What a trace knows of variables at its events (``output.Values``).

    Events are given in order. UsageError at once where a watch is no expression, and with the first event
    where it has no meaning anywhere in the trace.
    """

    def __init__(self, trace: Trace, watches: Sequence[str]) -> None:
        self._trace = trace
        self._watches = tuple(watches)
        self._known: TraceValues | None = None
        for watch in watches:
            compile_expression(watch)

    @property
    def _values(self) -> TraceValues:
        """What the trace carries: with the first event it is all there."""
        if self._known is None:
            values = TraceValues(self._trace)
            for watch in self._watches:
                if values.tables:
                    values.expression(watch).check(values.tables)
            self._known = values
        return self._known

    def passes(self, event: Event) -> None:
        """Take note of an event, shown or not."""
        self._values.passes(event)

    def watch(self, event: Event, expression: str) -> Watched:
        """Evaluate a watch expression."""
        return self._values.evaluate(expression, event)

    def locals(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope; of several of one name the innermost."""
        found: dict[str, Any] = {}
        for variable in self._values.variables(event):
            found.setdefault(variable.name, variable.value)
        return found

    def call(self, event: Event) -> str | None:
        """Return what a call goes to, by the event's registers and memory where only they tell."""
        return self._values.call(event)
