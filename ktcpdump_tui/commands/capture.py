"""A capture without a screen: a table, JSON or packets on stdout, or the trace itself as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import counts, signals_stop
from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.commands.outputs import make_outputs
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.selection import Selection

if TYPE_CHECKING:
    from ktcpdump_tui.commands.session import Session
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.trace import Trace


def capture(session: Session) -> int:
    """Print what ``session`` captures; return the exit status. Raises what ended the capture early."""
    with signals_stop(session):
        session.start()
        with session.open_trace() as trace:
            limits = _limits(session.options, trace)
            with make_outputs(session.options, trace) as outputs:
                follow(trace, outputs, limits, session)
            if limits.reached:
                session.abandon()
            session.join()
            if trace.summary is not None and session.options.replay is None:
                for line in counts(trace.summary):
                    session.console.say(line)
    if session.error is not None:
        raise session.error
    return 0 if session.record_error is None else 1  # it was said when it happened


def stream(session: Session) -> int:
    """Let ``session`` write to stdout; the other side shows the counts."""
    if session.options.control:
        from ktcpdump_tui.commands.control import Listener

        Listener(session).start()
    with signals_stop(session):
        session.start()
        session.join()
    if session.error is not None:
        raise session.error
    return 0


def _limits(options: Options, trace: Trace) -> Limits:
    """Return what is left to select and to count here: nothing, where the capture itself does it."""
    if options.replay is None:
        return Limits()
    return Limits(options.events, options.packets, Selection(options.expression, trace, make_judge))
