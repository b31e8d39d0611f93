"""Comparing two packets: the first is chosen with a key, the second with the same key."""

from __future__ import annotations

from typing import Any

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.tui.trace_app import TraceApp


class CompareApp(TraceApp):
    """A TraceApp that compares packets."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._first_of_two: int | None = None

    def action_compare(self) -> None:
        """Choose the current packet for a comparison; with a second one, compare."""
        no = self.navigator.current
        packet = int(self.trace.heads(no, no)[0]["packet"]) if no else 0
        if not packet:
            self.notice("there is no packet here to compare")
        elif self._first_of_two is None:
            self._first_of_two = packet
            self.notice(f"packet {packet} is chosen: go to another one and press the key again to compare")
        elif self._first_of_two == packet:
            self._first_of_two = None
            self.notice(f"packet {packet} is no longer chosen")
        else:
            first, self._first_of_two = self._first_of_two, None
            self.compare(first, packet)

    def compare(self, a: int, b: int) -> None:
        """Show two packets side by side; UsageError where one of them is not in the trace."""
        from ktcpdump_tui.tui.compare_screen import CompareScreen
        from ktcpdump_tui.tui.comparison import CompareReader

        for packet in (a, b):
            if self.trace.packet_span(packet) is None:
                raise UsageError(f"there is no event of a packet {packet}", ":compare 1 2")
        reader = CompareReader(self.open_trace, self.make_values, self.sources)
        packets = self.trace.packet(a), self.trace.packet(b)
        self.push_screen(CompareScreen(packets, reader, self.fail), self._chosen)

    def _chosen(self, no: int | None) -> None:
        if no is not None:
            self.go(no)
