"""Where events go without a screen, by the options."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, Output, TableOutput
from ktcpdump_tui.headless.runner import Growing, Limits, follow
from ktcpdump_tui.headless.table import Table
from ktcpdump_tui.trace.pcap import packet_writer
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ktcpdump_tui.headless.output import Values
    from ktcpdump_tui.options import Options


@contextlib.contextmanager
def make_outputs(options: Options, trace: Trace) -> Iterator[list[Output]]:
    """Yield the outputs ``options`` ask for: one on stdout, and packets in a file."""
    values = _values(options, trace)
    outputs: list[Output] = []
    if options.json:
        outputs.append(JsonOutput(JsonLines(options.watches, options.locals, values), sys.stdout))
    elif options.write != "-":
        outputs.append(TableOutput(Table(options.watches, values), sys.stdout))
    if options.write is None:
        yield outputs
        return
    writer = packet_writer(options.write)
    try:
        yield [*outputs, writer]
    except BaseException:
        # What was written so far stays readable.
        with contextlib.suppress(UserError, OSError):
            writer.end(None)
        raise


class PacketsBeside(threading.Thread):
    """Writes the packets of a trace to a file while something else shows it.

    ``finish`` waits for the end and raises what went wrong.
    """

    def __init__(self, path: Path, file: str, capture: Growing | None = None) -> None:
        super().__init__(name="packets", daemon=True)
        self._path, self._capture = path, capture
        self._writer = packet_writer(file)
        self._error: BaseException | None = None

    def run(self) -> None:
        """Follow the trace with a reader of its own."""
        try:
            with Trace.open(self._path) as trace:
                follow(trace, [self._writer], Limits(), self._capture)
        except BaseException as error:
            self._error = error
            with contextlib.suppress(UserError, OSError):
                self._writer.end(None)

    def finish(self) -> None:
        """Wait until the last packet is written."""
        self.join()
        if self._error is not None:
            raise self._error


def _values(options: Options, trace: Trace) -> Values:
    from ktcpdump_tui.headless.values import EventValues

    return EventValues(trace, options.watches)
