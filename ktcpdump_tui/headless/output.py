"""What takes a trace's events in order: lines on stdout here, packet files elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.headless.jsonlines import JsonLines
    from ktcpdump_tui.headless.table import Table
    from ktcpdump_tui.model import Event, Summary, TraceHeader


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

    def begin(self, header: TraceHeader) -> None:
        """Take the header, before anything else."""

    def events(self, events: Iterable[Event]) -> None:
        """Take the next events, and let them be seen at once."""

    def end(self, summary: Summary | None) -> None:
        """Take the summary, None where the trace has none, and close."""


class TableOutput:
    """Writes the table to a text stream."""

    def __init__(self, table: Table, stream: TextIO) -> None:
        self._table = table
        self._stream = stream

    def begin(self, header: TraceHeader) -> None:  # noqa: ARG002 - the table shows events only
        """Write the titles."""
        self._write([self._table.head()])

    def events(self, events: Iterable[Event]) -> None:
        """Write a line for each event."""
        self._write([self._table.row(event) for event in events])

    def end(self, summary: Summary | None) -> None:
        """Write nothing: the counts go to stderr."""

    def _write(self, lines: list[str]) -> None:
        write_lines(self._stream, lines)


class JsonOutput:
    """Writes JSON lines to a text stream."""

    def __init__(self, lines: JsonLines, stream: TextIO) -> None:
        self._lines = lines
        self._stream = stream

    def begin(self, header: TraceHeader) -> None:
        """Write the header."""
        self._write([self._lines.header(header)])

    def events(self, events: Iterable[Event]) -> None:
        """Write an object for each event."""
        self._write([self._lines.event(event) for event in events])

    def end(self, summary: Summary | None) -> None:
        """Write the summary, if there is one."""
        if summary is not None:
            self._write([self._lines.summary(summary)])

    def _write(self, lines: list[str]) -> None:
        write_lines(self._stream, lines)


def write_lines(stream: TextIO, lines: list[str]) -> None:
    """Write lines and flush. UserError where there is no room; BrokenPipeError as it is."""
    try:
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write to stdout: {error.strerror}", "make room where it leads") from error
