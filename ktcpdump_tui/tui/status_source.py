"""What the status bar says of a trace and of the capture that fills it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.trace.full_disk import DISK_FULL
from ktcpdump_tui.tui.ports import CaptureState
from ktcpdump_tui.tui.status_bar import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.list_filter import ListFilter
    from ktcpdump_tui.tui.navigator import Navigator
    from ktcpdump_tui.tui.ports import CaptureControl, Log


class StatusSource:
    """Collects a ``Status``; keeps what is needed for the rate of events."""

    def __init__(
        self, trace: Trace, navigator: Navigator, control: CaptureControl | None, listing: ListFilter
    ) -> None:
        self._trace, self._navigator, self._control, self._filter = trace, navigator, control, listing
        self._since = (time.monotonic(), len(trace))
        self._rate: float | None = None
        self._plan: Sequence[Instruction] = ()
        self._probes = (0, 0)
        self._known: tuple[object, ...] = ()

    def changed(self) -> bool:
        """Return whether the trace or its capture is other than at the last call, or cannot be read."""
        trace, control, before = self._trace, self._control, self._known
        try:
            trace.refresh()
        except UserError:
            return True
        self._known = (len(trace), trace.first_no, trace.plan, trace.finished, trace.counts())
        if control is not None:
            self._known += (control.state, control.error)
        return self._known != before

    def status(self, log: Log | None) -> Status:
        """Return how far everything is."""
        navigator, trace, now = self._navigator, self._trace, time.monotonic()
        since, events = self._since
        if now - since >= 1:
            self._rate = (len(trace) - events) / (now - since)
            self._since = (now, len(trace))
        live = self._control is not None and self._control.state is not CaptureState.ENDED
        attached, refused = self._count_probes()
        return Status(
            mode=self._mode(),
            position=navigator.current,
            events=len(trace),
            packets=len(trace.packets()),
            rate=self._rate if live else None,
            lost=self._lost(),
            new=navigator.unseen if self._control is not None else 0,
            only_packet=navigator.rows.only_packet,
            listing=self._filter.text,
            listed=navigator.rows.events,
            complete=self._filter.complete,
            log_lines=log.count if log else 0,
            release=trace.header.release,
            expression=trace.header.expression,
            attached=attached,
            refused=refused,
            truncated=self._truncated(),
        )

    def _count_probes(self) -> tuple[int, int]:
        """Return how many instructions have a probe, and how many the kernel refused."""
        plan = self._trace.plan
        if plan is not self._plan:
            self._plan = plan
            states = [instruction.probe for instruction in plan]
            self._probes = (states.count(ProbeState.ATTACHED), states.count(ProbeState.REFUSED))
        return self._probes

    def _mode(self) -> str:
        if self._control is None:
            if not self._trace.finished:
                return "replay, no end"  # cut off, or still being written
            summary = self._trace.summary
            full = summary is not None and summary.ended_by == DISK_FULL
            return f"replay, {DISK_FULL}" if full else "replay"
        state = self._control.state
        if state is CaptureState.RUNNING and not self._navigator.follow:
            return "paused"
        return str(state)

    def _truncated(self) -> int:
        """Return the number of events with a truncated packet or frame, whichever are more."""
        if self._trace.summary is not None:
            return max(self._trace.summary.truncated.values(), default=0)
        counts = self._trace.counts()
        return max((n for name, n in counts.items() if name.startswith("truncated: ")), default=0)

    def _lost(self) -> dict[str, int]:
        """Return the losses by cause: from the summary, else what is known so far."""
        if self._trace.summary is not None:
            return {cause: number for cause, number in self._trace.summary.lost.items() if number}
        counted = {
            name.removeprefix("lost").lstrip(": "): number
            for name, number in self._trace.counts().items()
            if name.startswith("lost") and number
        }
        if counted:
            return counted
        gaps = int(self._trace.losses()["lost"].sum())
        return {"gaps": gaps} if gaps else {}
