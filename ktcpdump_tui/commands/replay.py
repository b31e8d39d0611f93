"""A recorded trace: on a screen, as table or JSON, or two of its packets compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import say
from ktcpdump_tui.commands.outputs import make_outputs
from ktcpdump_tui.headless.runner import Limits, follow
from ktcpdump_tui.headless.selection import Selection
from ktcpdump_tui.options import PROGRAM
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from ktcpdump_tui.options import Options


def replay(options: Options) -> int:
    """Show the trace ``options`` name; return the exit status. UserError where it cannot be read."""
    assert options.replay is not None
    with Trace.open(Path(options.replay).expanduser()) as trace:
        if not trace.finished:
            say(f"{PROGRAM}: {options.replay} has no end: the capture was cut off, or still goes on")
        selection = Selection(options.expression, trace)
        if options.headless:
            limits = Limits(options.events, options.packets, selection)
            with make_outputs(options, trace) as outputs:
                follow(trace, outputs, limits)
            return 0
        from ktcpdump_tui.commands.screen import show_trace

        return show_trace(options, trace)
