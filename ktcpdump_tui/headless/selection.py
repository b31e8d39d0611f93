"""EXPRESSION over recorded packets: decided once per packet, as the kernel side does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.trace.pcap import wire_length

if TYPE_CHECKING:
    from ktcpdump_tui.capture.filter.offline import OfflineFilter
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace


class Selection:
    """Tells which events are of selected packets.

    A packet is judged as it was when it was first seen, and followed from then on although its headers
    change; what was cloned, copied or cut from a selected packet is selected. UsageError where
    ``expression`` is wrong; the empty one selects everything.
    """

    def __init__(self, expression: str, trace: Trace) -> None:
        self._trace = trace
        self._decided: dict[int, bool] = {}
        self._filter: OfflineFilter | None = None
        if expression:
            from ktcpdump_tui.capture.filter.offline import OfflineFilter

            self._filter = OfflineFilter(expression)

    def __call__(self, event: Event) -> bool:
        """Tell whether ``event`` is of a selected packet."""
        if self._filter is None:
            return True
        decided = self._decided.get(event.packet_id)
        if decided is None:
            decided = self._decided[event.packet_id] = self._decide(event, self._filter)
        return decided

    def _decide(self, event: Event, judge: OfflineFilter) -> bool:
        if event.packet_id:
            try:
                parent = self._trace.packet(event.packet_id).parent
            except KeyError:
                parent = None
            if parent is not None and self._decided.get(parent):
                return True
        return judge.matches(event.packet, event.link, wire_length(event))
