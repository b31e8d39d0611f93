"""Follows a trace, while it grows or afterwards, and feeds outputs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.trace.blobs import lines_pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ktcpdump_tui.headless.output import Output
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

#: Events decoded before they are written.
BATCH: Final = 512
#: Seconds after which a capture is looked at again although it announced nothing.
LOOK_AGAIN: Final = 0.5


class Growing(Protocol):
    """A capture as far as whoever follows its trace needs it."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will be written."""

    def wait(self, seconds: float) -> None:
        """Wait until something new was written, the capture ended, or the time is over."""


class Limits:
    """Which events are shown: those of the packets ``selects`` says, until N of them or of their packets."""

    def __init__(
        self,
        events: int | None = None,
        packets: int | None = None,
        selects: Callable[[Event], bool] | None = None,
    ) -> None:
        self._events = events
        self._packets = packets
        self._selects = selects
        self._shown = 0
        self._seen: set[int] = set()
        self.reached = False

    def take(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield the events to be shown; sets ``reached`` with the last one."""
        for event in events:
            if self._selects is not None and not self._selects(event):
                continue
            if self._packets is not None and event.packet_id not in self._seen:
                if len(self._seen) == self._packets:
                    self.reached = True
                    return
                self._seen.add(event.packet_id)
            self._shown += 1
            yield event
            if self._shown == self._events:
                self.reached = True
                return

    @property
    def shown(self) -> int:
        """How many events were shown."""
        return self._shown


def follow(trace: Trace, outputs: Sequence[Output], limits: Limits, capture: Growing | None = None) -> None:
    """Feed ``outputs`` until the trace, the capture or the limits end.

    Without ``capture`` the trace is taken as it is. The summary goes out only with a trace that has one.
    """
    for output in outputs:
        output.begin(trace)
    following = 0
    while not limits.reached:
        # Asked before the trace is read: what was written before the end is then seen.
        ended = capture is None or capture.ended
        last = trace.refresh()
        following = max(following, trace.first_no - 1)
        if not ended:
            last = _with_lines(trace, following + 1, last)
        while following < last and not limits.reached:
            until = min(last, following + BATCH)
            batch = list(limits.take(trace.events(following + 1, until)))
            if batch:
                for output in outputs:
                    output.events(batch)
            following = until
        if ended:
            break
        for output in outputs:
            output.events(())
        if capture is not None:
            capture.wait(LOOK_AGAIN)
    for output in outputs:
        output.end(trace.summary)


def _with_lines(trace: Trace, first: int, last: int) -> int:
    """Return up to which of the events no line is still being looked up."""
    if first <= last and (pending := lines_pending(trace)):
        for event in trace.events(first, last):
            if event.instruction.index in pending:
                return event.no - 1
    return last
