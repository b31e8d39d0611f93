"""Where a capture puts what it saw: a trace file, a stream to another program, or several of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from ktcpdump_tui.model import Instruction, Summary, TraceHeader


class TraceSink(Protocol):
    """Takes a capture: header first, then plan, blobs, events, notes and progress in any order, close last.

    A sink is used by one thread at a time.
    """

    def write_header(self, header: TraceHeader) -> None:
        """Store what the trace says of itself; once, before anything else."""

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Store the instructions events refer to by index; a later call replaces it (source lines added)."""

    def put_blob(self, name: str, data: bytes) -> None:
        """Store or replace the bytes called ``name`` (names in use: trace/blobs.py)."""

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Take any number of whole rows of ``layout.event_dtype(header.stack_bytes)``."""

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Take any number of whole notes (``layout.NOTE_HEADER`` ...)."""

    def write_progress(self, counts: dict[str, int]) -> None:
        """Take the current totals by name; names beginning with ``lost`` are lost events."""

    def flush(self) -> None:
        """Make everything taken so far visible to readers."""

    def close(self, summary: Summary | None) -> None:
        """Finish; ``summary`` None means that the capture was cut off. A second call does nothing."""


class PassingSink:
    """Passes everything on to another sink; a base for those that look at some of it, or change it."""

    def __init__(self, sink: TraceSink) -> None:
        self._sink = sink

    def write_header(self, header: TraceHeader) -> None:
        """Pass the header on."""
        self._sink.write_header(header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass the plan on."""
        self._sink.write_plan(instructions)

    def put_blob(self, name: str, data: bytes) -> None:
        """Pass a blob on."""
        self._sink.put_blob(name, data)

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Pass events on."""
        self._sink.write_events(rows)

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Pass notes on."""
        self._sink.write_notes(notes)

    def write_progress(self, counts: dict[str, int]) -> None:
        """Pass totals on."""
        self._sink.write_progress(counts)

    def flush(self) -> None:
        """Flush."""
        self._sink.flush()

    def close(self, summary: Summary | None) -> None:
        """Close."""
        self._sink.close(summary)


class GivingWay(PassingSink):
    """Passes everything on, and calls ``wait`` before events and notes: whoever is in a hurry goes first."""

    def __init__(self, sink: TraceSink, wait: Callable[[], None]) -> None:
        super().__init__(sink)
        self._wait = wait

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Wait, and pass events on."""
        self._wait()
        super().write_events(rows)

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Wait, and pass notes on."""
        self._wait()
        super().write_notes(notes)


class GivingUp(PassingSink):
    """Passes everything on until that fails; says so then, closes, and lets the rest go by."""

    def __init__(self, sink: TraceSink, failed: Callable[[UserError], None]) -> None:
        super().__init__(sink)
        self._failed = failed
        self._over = False

    def _pass(self, what: Callable[..., None], *arguments: Any) -> None:
        if self._over:
            return
        try:
            what(*arguments)
        except UserError as error:
            self._over = True
            with contextlib.suppress(UserError):  # it is the same one again
                super().close(None)
            self._failed(error)

    def write_header(self, header: TraceHeader) -> None:
        """Pass the header on."""
        self._pass(super().write_header, header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass the plan on."""
        self._pass(super().write_plan, instructions)

    def put_blob(self, name: str, data: bytes) -> None:
        """Pass a blob on."""
        self._pass(super().put_blob, name, data)

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Pass events on."""
        self._pass(super().write_events, rows)

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Pass notes on."""
        self._pass(super().write_notes, notes)

    def write_progress(self, counts: dict[str, int]) -> None:
        """Pass totals on."""
        self._pass(super().write_progress, counts)

    def flush(self) -> None:
        """Flush."""
        self._pass(super().flush)

    def close(self, summary: Summary | None) -> None:
        """Close."""
        self._pass(super().close, summary)


class TeeSink:
    """Gives everything to several sinks, in order; an error of one reaches the caller at once."""

    def __init__(self, *sinks: TraceSink) -> None:
        self._sinks = sinks

    def write_header(self, header: TraceHeader) -> None:
        """Pass the header on."""
        for sink in self._sinks:
            sink.write_header(header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass the plan on."""
        for sink in self._sinks:
            sink.write_plan(instructions)

    def put_blob(self, name: str, data: bytes) -> None:
        """Pass a blob on."""
        for sink in self._sinks:
            sink.put_blob(name, data)

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Pass events on."""
        for sink in self._sinks:
            sink.write_events(rows)

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Pass notes on."""
        for sink in self._sinks:
            sink.write_notes(notes)

    def write_progress(self, counts: dict[str, int]) -> None:
        """Pass totals on."""
        for sink in self._sinks:
            sink.write_progress(counts)

    def flush(self) -> None:
        """Flush all."""
        for sink in self._sinks:
            sink.flush()

    def close(self, summary: Summary | None) -> None:
        """Close all, the later ones too where an earlier one fails."""
        errors: list[Exception] = []
        for sink in self._sinks:
            try:
                sink.close(summary)
            except Exception as error:  # every sink gets its close; the first error goes on
                errors.append(error)
        if errors:
            raise errors[0]
