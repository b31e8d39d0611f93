"""A capture without a screen: a table, JSON or packets on stdout, or the trace itself as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import counts, signals_stop
from ktcpdump_tui.commands.outputs import make_outputs
from ktcpdump_tui.headless.runner import Limits, follow

if TYPE_CHECKING:
    from ktcpdump_tui.commands.session import Session


def capture(session: Session) -> int:
    """Print what ``session`` captures; return the exit status. Raises what ended the capture early."""
    with signals_stop(session):
        session.start()
        with session.open_trace() as trace:
            with make_outputs(session.options, trace) as outputs:
                follow(trace, outputs, Limits(), session)
            session.join()
            if trace.summary is not None:
                session.console.say("\n".join(counts(trace.summary)))
    if session.error is not None:
        raise session.error
    return 0


def stream(session: Session) -> int:
    """Let ``session`` write to stdout; the other side shows the counts."""
    with signals_stop(session):
        session.start()
        session.join()
    if session.error is not None:
        raise session.error
    return 0
