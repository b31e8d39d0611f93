"""Variables and watch expressions for the outputs without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ktcpdump_tui.tui.values import TraceValues

if TYPE_CHECKING:
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace


class EventValues:
    """What a trace knows of variables at its events (headless.output.Values)."""

    def __init__(self, trace: Trace) -> None:
        self._values = TraceValues.of(trace)

    def locals(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope; of several of one name the innermost."""
        if self._values is None:
            return {}
        found: dict[str, Any] = {}
        for variable in self._values.variables(event):
            found.setdefault(variable.name, variable.value)
        return found
