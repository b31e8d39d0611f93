"""A trace, or some of its events, written to a file at once."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.export.formats import Showing, check_export
from ktcpdump_tui.trace.outfile import reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ktcpdump_tui.headless.output import Output
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

    #: Told how many events were written, and of how many (None where that is not known).
    Progress = Callable[[int, int | None], None]

#: Events decoded before they are written: bounds the memory, and the time until a cancel is noticed.
BATCH: Final = 512


def export(
    trace: Trace,
    path: Path | str,
    events: Iterable[int] | None = None,
    progress: Progress | None = None,
    showing: Showing | None = None,
) -> int:
    """Write events of ``trace`` to ``path`` in the format of its suffix; return how many were written.

    ``events`` are the numbers of the events to write, ascending; None means all that are there. The trace is
    taken as it was refreshed last, and is used in the calling thread only. The file appears under its name
    when it is complete, replacing what was there; where anything fails, or ``progress`` raises (that is how
    it is cancelled), nothing is left behind. UserError where it cannot be written or a package is missing.
    """
    path = Path(path).expanduser()
    chosen = check_export(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with reported(str(path)):
        if path.is_dir():
            raise UserError(
                f"{path} is a folder", f"name a file in it: {path / ('trace' + chosen.suffixes[0])}"
            )
        stream = part.open("wb")
    try:
        output = chosen.make(stream, str(path), True, showing or Showing.of(trace))
        try:
            written = _write(trace, output, events, progress)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                output.end(None)
            raise
        with reported(str(path)):
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return written


def _write(trace: Trace, output: Output, events: Iterable[int] | None, progress: Progress | None) -> int:
    total = len(events) if isinstance(events, Sized) else None
    if events is None:
        total = max(len(trace) - trace.first_no + 1, 0)
    output.begin(trace)
    written = 0
    for batch in _batches(trace, events):
        output.events(batch)
        written += len(batch)
        if progress is not None:
            progress(written, total)
    output.end(trace.summary)
    return written


def _batches(trace: Trace, events: Iterable[int] | None) -> Iterator[list[Event]]:
    """Yield the events, some at a time."""
    if events is None:
        for first in range(trace.first_no, len(trace) + 1, BATCH):
            yield list(trace.events(first, min(first + BATCH - 1, len(trace))))
        return
    numbers = iter(events)
    while some := list(itertools.islice(numbers, BATCH)):
        batch: list[Event] = []
        for first, last in _runs(some):
            batch += trace.events(first, last)
        yield batch


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each run of neighbours: they are read together."""
    first = last = int(numbers[0])
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = int(number)
        last = int(number)
    yield first, last
