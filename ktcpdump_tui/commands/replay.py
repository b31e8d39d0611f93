"""A recorded trace: on a screen, as table or JSON, or two of its packets compared."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import say, signals_stop
from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.headless.selection import Selection
from ktcpdump_tui.options import PROGRAM
from ktcpdump_tui.trace.full_disk import DISK_FULL
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from ktcpdump_tui.commands.session import Session
    from ktcpdump_tui.options import Options


def replay(options: Options) -> int:
    """Show the trace ``options`` name; return the exit status. UserError where it cannot be read."""
    assert options.replay is not None
    with Trace.open(Path(options.replay).expanduser()) as trace:
        if not trace.finished:
            say(f"{PROGRAM}: {options.replay} has no end: the capture was cut off, or still goes on")
        elif trace.summary is not None and trace.summary.ended_by == DISK_FULL:
            say(f"{PROGRAM}: {options.replay} ends where the disk was full, after event {len(trace):,}")
        if options.compare is not None:
            return _compare(options, trace, *options.compare)
        if options.write not in (None, "-") and not (options.no_tui or options.json):
            return _convert(options, trace)
        selection = Selection(options.expression, trace, make_judge)
        if options.headless:
            from ktcpdump_tui.commands.outputs import make_outputs
            from ktcpdump_tui.headless.runner import Limits, follow

            limits = Limits(options.events, options.packets, selection)
            with make_outputs(options, trace) as outputs:
                follow(trace, outputs, limits)
            return 0
        from ktcpdump_tui.commands.screen import show_trace

        return show_trace(options, trace)


def compare_stream(session: Session) -> int:
    """Take a stream to its end, and print where the paths of two of its packets part."""
    assert session.options.compare is not None
    with signals_stop(session):
        session.start()
        with session.open_trace() as trace:
            session.join()
            if session.error is not None:
                raise session.error
            trace.refresh()
            return _compare(session.options, trace, *session.options.compare)


def _convert(options: Options, trace: Trace) -> int:
    """Write the selected events of a trace to a file in the format of its suffix, and nothing to stdout."""
    from ktcpdump_tui.export import Showing, export
    from ktcpdump_tui.headless.runner import Limits

    assert options.write is not None
    showing = Showing.of(trace, options.watches, options.locals)
    limits = Limits(options.events, options.packets, Selection(options.expression, trace, make_judge))
    everything = not (options.events or options.packets or options.expression)
    numbers = (event.no for event in limits.take(trace.events(trace.first_no, len(trace))))
    written = export(trace, options.write, None if everything else numbers, showing=showing)
    events = "1 event" if written == 1 else f"{written} events"
    say(f"{events} written to {options.write}")
    return 0


def _compare(options: Options, trace: Trace, a: int, b: int) -> int:
    """Print where the paths of two packets part. UsageError where a trace has no such packet."""
    from ktcpdump_tui.commands.sources import source_text
    from ktcpdump_tui.headless.comparison import comparison_lines
    from ktcpdump_tui.headless.output import write_lines
    from ktcpdump_tui.trace.compare import compare

    with contextlib.ExitStack() as stack:
        other = trace
        if options.compare_with is not None:
            other = stack.enter_context(Trace.open(Path(options.compare_with).expanduser()))
        for of, packet in ((trace, a), (other, b)):
            numbers = {one.id for one in of.packets()}
            if packet not in numbers:
                raise UsageError(
                    f"--compare: there is no packet {packet} in {'this trace' if of is trace else of.path}",
                    f"its packets are 1 to {max(numbers)}" if numbers else "it has no packets",
                )
        found = compare(trace, a, b, None if other is trace else other)
        write_lines(sys.stdout, comparison_lines(found, source_text(options.sources, trace)))
    return 0
