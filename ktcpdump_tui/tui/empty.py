"""What an empty list says: what is being waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.tui.ports import CaptureState

if TYPE_CHECKING:
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.list_filter import ListFilter
    from ktcpdump_tui.tui.ports import CaptureControl


def waiting_for(trace: Trace, control: CaptureControl | None, chosen: ListFilter) -> str:
    """Return why no event is listed, in a sentence."""
    events = len(trace) - trace.first_no + 1
    if chosen.criteria and events:
        if not chosen.complete:
            return (
                f"looking for what {chosen.text} selects: {chosen.scanned:,} of {events:,} events looked at"
            )
        return f"{chosen.text} selects none of {events:,} events: \\ lists all"
    if control is None:
        return "the trace holds no event"
    if control.state is CaptureState.STARTING:
        return "probes are being attached"
    expression = f", filter {trace.header.expression}" if trace.header.expression else ""
    counts = trace.counts()
    seen = counts.get("passed", 0) + counts.get("packets", 0)
    probes = sum(1 for instruction in trace.plan if instruction.probe is ProbeState.ATTACHED)
    ended = control.state is CaptureState.ENDED
    if seen and "passed" in counts:
        return f"no packet matched{'' if ended else ' yet'}: {seen:,} seen{expression}"
    if ended:
        return f"the capture ended, and no packet of it matched at {probes:,} probes{expression}"
    return f"no packet matched yet: {probes:,} probes wait{expression}"
