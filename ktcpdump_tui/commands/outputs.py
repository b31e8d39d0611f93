"""Where events go without a screen, by the options."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, Output, TableOutput
from ktcpdump_tui.headless.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.headless.output import Values
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.trace import Trace


@contextlib.contextmanager
def make_outputs(options: Options, trace: Trace) -> Iterator[list[Output]]:
    """Yield the outputs ``options`` ask for: one on stdout, and packets in a file."""
    values = _values(options, trace)
    outputs: list[Output] = []
    if options.json:
        outputs.append(JsonOutput(JsonLines(options.watches, options.locals, values), sys.stdout))
    elif options.write != "-":
        outputs.append(TableOutput(Table(options.watches, values), sys.stdout))
    yield outputs


def _values(options: Options, trace: Trace) -> Values | None:
    if not (options.watches or options.locals):
        return None
    from ktcpdump_tui.headless.values import EventValues

    return EventValues(trace, options.watches)
