"""Where events go without a screen, by the options."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.export import Showing, open_export
from ktcpdump_tui.headless.jsonlines import JsonLines
from ktcpdump_tui.headless.output import JsonOutput, Output, TableOutput
from ktcpdump_tui.headless.runner import Growing, Limits, follow
from ktcpdump_tui.headless.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.trace import Trace


@contextlib.contextmanager
def make_outputs(options: Options, trace: Trace) -> Iterator[list[Output]]:
    """Yield the outputs ``options`` ask for: one on stdout, and a file in the format of its suffix."""
    showing = Showing.of(trace, options.watches, options.locals)
    outputs: list[Output] = []
    if options.json:
        lines = JsonLines(options.watches, options.locals, showing.values, trace)
        outputs.append(JsonOutput(lines, sys.stdout))
    elif options.write != "-":
        outputs.append(TableOutput(Table(options.watches, showing.values), sys.stdout))
    if options.write is None:
        yield outputs
        return
    writer = open_export(options.write, showing)
    try:
        yield [*outputs, writer]
    except BaseException:
        # What was written so far stays readable.
        with contextlib.suppress(UserError, OSError):
            writer.end(None)
        raise


class FileBeside(threading.Thread):
    """Writes the events of a trace to a file (``-w``) while a screen shows it.

    ``finish`` waits for the end and raises what went wrong.
    """

    def __init__(self, trace: Trace, options: Options, capture: Growing | None = None) -> None:
        super().__init__(name="export", daemon=True)
        assert options.write is not None
        self._capture = capture
        self._error: BaseException | None = None
        # A reader of its own; a name that cannot be written is told before the screen is drawn.
        self._trace = trace.reopen()
        try:
            showing = Showing.of(self._trace, options.watches, options.locals)
            self._writer = open_export(options.write, showing)
        except BaseException:
            self._trace.close()
            raise

    def run(self) -> None:
        """Follow the trace."""
        with self._trace:
            try:
                follow(self._trace, [self._writer], Limits(), self._capture)
            except BaseException as error:
                self._error = error
                with contextlib.suppress(UserError, OSError):
                    self._writer.end(None)

    def finish(self) -> None:
        """Wait until the last packet is written."""
        self.join()
        if self._error is not None:
            raise self._error
