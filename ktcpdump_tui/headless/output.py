"""What takes a trace's events in order: lines on stdout here, packet files elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ktcpdump_tui.trace.outfile import reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.headless.jsonlines import JsonLines
    from ktcpdump_tui.headless.table import Table
    from ktcpdump_tui.model import Event, Summary
    from ktcpdump_tui.trace.trace import Trace


class Watched(Protocol):
    """The value of a watch expression."""

    @property
    def text(self) -> str:
        """The value for people."""

    @property
    def value(self) -> Any:
        """A number, text, or None where it is not in scope or was not captured."""


class Values(Protocol):
    """Variables and watch expressions at events, which are given in order."""

    def passes(self, event: Event) -> None:
        """Take note of an event before it is asked about."""

    def watch(self, event: Event, expression: str) -> Watched:
        """Evaluate a watch expression."""

    def locals(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope as numbers, text or None."""

    def call(self, event: Event) -> str | None:
        """Return the name of what the instruction calls or jumps to, None where it does neither."""


class Output(Protocol):
    """Takes a trace from its header to its summary. BrokenPipeError where nobody reads any more."""

    def begin(self, trace: Trace) -> None:
        """Take the trace whose events come, before anything else."""

    def events(self, events: Sequence[Event]) -> None:
        """Take the next events, and let them be seen at once; none where time passed without one."""

    def end(self, summary: Summary | None) -> None:
        """Take the summary, None where the trace has none, and close; once more does nothing."""


class _Lines:
    """Lines to a text stream, called ``name`` in messages and closed at the end where ``close``."""

    def __init__(self, stream: TextIO, name: str = "stdout", close: bool = False) -> None:
        self._stream = stream
        self._name = name
        self._close = close

    def _write(self, lines: list[str]) -> None:
        if lines:
            write_lines(self._stream, lines, self._name)

    def _end(self) -> None:
        if self._close and not self._stream.closed:
            with reported(self._name):
                self._stream.close()


class TableOutput(_Lines):
    """Writes the table to a text stream."""

    def __init__(self, table: Table, stream: TextIO, name: str = "stdout", close: bool = False) -> None:
        super().__init__(stream, name, close)
        self._table = table

    def begin(self, trace: Trace) -> None:  # noqa: ARG002 - the table shows events only
        """Write the titles."""
        self._write([self._table.head()])

    def events(self, events: Sequence[Event]) -> None:
        """Write a line for each event."""
        self._write([self._table.row(event) for event in events])

    def end(self, summary: Summary | None) -> None:  # noqa: ARG002 - the counts go to stderr
        """Write nothing more."""
        self._end()


class JsonOutput(_Lines):
    """Writes JSON lines to a text stream."""

    def __init__(self, lines: JsonLines, stream: TextIO, name: str = "stdout", close: bool = False) -> None:
        super().__init__(stream, name, close)
        self._lines = lines

    def begin(self, trace: Trace) -> None:
        """Write the header."""
        self._write([self._lines.header(trace.header)])

    def events(self, events: Sequence[Event]) -> None:
        """Write an object for each event."""
        self._write([self._lines.event(event) for event in events])

    def end(self, summary: Summary | None) -> None:
        """Write the summary, if there is one."""
        if summary is not None and not self._stream.closed:
            self._write([self._lines.summary(summary)])
        self._end()


def write_lines(stream: TextIO, lines: list[str], name: str = "stdout") -> None:
    """Write lines and flush. UserError where there is no room; BrokenPipeError as it is."""
    with reported(name):
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
