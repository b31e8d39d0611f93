"""A trace, or some of its events, as another trace file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import notes
from ktcpdump_tui.trace.layout import NoteKind
from ktcpdump_tui.trace.summing_up import summary_so_far
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ktcpdump_tui.model import Summary
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.trace import Trace

    #: Told how many events were written, and of how many.
    Progress = Callable[[int, int], None]

#: Events copied at once.
BATCH: Final = 4096


def check_new(path: Path, replace_it: bool = False) -> Path:
    """Return the absolute path of a file that may be written; UserError with the reason where it may not."""
    path = path.expanduser().absolute()
    if path.is_dir():
        raise UserError(f"{path} is a folder", f"name a file in it: {path / 'capture.ktrace'}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}", f"mkdir -p {path.parent}")
    if path.exists() and not replace_it:
        raise UserError(f"{path} exists already", "name another file, or add ! to the command to replace it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path} cannot be written: permission denied", "name a file you may write")
    return path


def save(
    trace: Trace, path: Path, numbers: Sequence[int] | Array | None = None, progress: Progress | None = None
) -> int:
    """Write ``trace`` as it was refreshed last to ``path``; return how many events that are.

    ``numbers`` are those of the events wanted, ascending; None means all that are there. What is known of
    their packets, of the packets these were made of, and the plan go with them. Where events were lost stays
    visible: losses between events that are kept add up. The file appears under its name when it is complete,
    replacing what was there; where anything fails, or ``progress`` raises (that is how it is cancelled),
    nothing is left behind. UserError where it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        writer = TraceWriter(part)
        try:
            count = _copy(trace, writer, numbers, progress)
        except BaseException:
            with contextlib.suppress(UserError):  # the first error is the one to tell
                writer.close(None)
            raise
        try:
            part.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", "name another file") from error
    except BaseException:
        for left in (part, *(part.with_name(part.name + end) for end in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
        raise
    return count


def _copy(
    trace: Trace, writer: TraceWriter, numbers: Sequence[int] | Array | None, progress: Progress | None
) -> int:
    chosen = np.arange(trace.first_no, len(trace) + 1) if numbers is None else np.asarray(numbers, "<i8")
    writer.write_header(trace.header)
    copy_plan(trace, writer)
    for name in trace.blob_names():
        writer.put_blob(name, trace.blob(name) or b"")
    packets, states = _needed(trace, chosen)
    for _, _, data in trace.raw_notes():
        writer.write_notes(_chosen_notes(data, None if numbers is None else packets, states))
    numberer = _Numberer(trace)
    for done in range(0, len(chosen), BATCH):
        some = chosen[done : done + BATCH]
        for first, last in _runs(some):
            writer.write_events(numberer.renumber(trace.rows(first, last), first))
        if progress is not None:
            progress(min(done + BATCH, len(chosen)), len(chosen))
    writer.write_progress(trace.counts())
    writer.close(_summary(trace, len(chosen), None if numbers is None else len(packets - {0})))
    return len(chosen)


def copy_plan(trace: Trace, writer: TraceWriter) -> None:
    """Write the plan of ``trace``."""
    writer.write_plan(list(trace.plan))


def _needed(trace: Trace, chosen: Array) -> tuple[set[int], set[int]]:
    """Return the packets of some events with all they were made of, and the events' states."""
    packets: set[int] = set()
    states: set[int] = set()
    for done in range(0, len(chosen), BATCH):
        for first, last in _runs(chosen[done : done + BATCH]):
            heads = trace.heads(first, last)
            packets.update(distinct(heads["packet"]).tolist())
            states.update(distinct(heads["state"]).tolist())
    waiting = list(packets)
    while waiting:
        try:
            parent = trace.packet(waiting.pop()).parent
        except KeyError:
            continue
        if parent is not None and parent not in packets:
            packets.add(parent)
            waiting.append(parent)
    return packets, states


def _chosen_notes(data: bytes, packets: set[int] | None, states: set[int]) -> bytes:
    """Return the notes of ``packets`` (None: of all), and of them the states that events name."""
    if packets is None:
        return data
    kept = []
    for note in notes.walk(data):
        if note.kind == NoteKind.STATE:
            wanted = notes.state_id(data, note) in states
        else:
            wanted = note.packet in packets
        if wanted:
            kept.append(data[note.start : note.start + note.size])
    return b"".join(kept)


class _Numberer:
    """Gives events sequence numbers per CPU in which the same events are missing as in the trace."""

    def __init__(self, trace: Trace) -> None:
        losses = trace.losses()
        self._losses = {
            cpu: (of["no"], np.concatenate((np.zeros(1, "<u8"), np.cumsum(of["lost"], dtype="<u8"))))
            for cpu in distinct(losses["cpu"]).tolist()
            for of in (losses[losses["cpu"] == cpu],)
        }
        self._taken: dict[int, int] = {}

    def renumber(self, rows: Array, first_no: int) -> Array:
        """Return the rows of events ``first_no`` and following with other numbers in ``seq``."""
        rows = rows.copy()
        for cpu in distinct(rows["cpu"]).tolist():
            at = np.flatnonzero(rows["cpu"] == cpu)
            lost: Any = np.zeros(len(at), "<u8")
            if cpu in self._losses:
                numbers, sums = self._losses[cpu]
                lost = sums[np.searchsorted(numbers, at + first_no, side="right")]
            taken = self._taken.get(cpu, 0)
            rows["seq"][at] = np.arange(taken + 1, taken + len(at) + 1, dtype="<u8") + lost
            self._taken[cpu] = taken + len(at)
        return rows


def _summary(trace: Trace, events: int, packets: int | None) -> Summary:
    """Return the summary of a copy: the trace's own, or its counts so far; ``packets`` None are all."""
    if trace.summary is not None:
        return replace(
            trace.summary, events=events, packets=trace.summary.packets if packets is None else packets
        )
    known = len(trace.packets()) if packets is None else packets
    return summary_so_far((one.probe for one in trace.plan), trace.counts(), events, "saved", known)


def _runs(numbers: Array) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each run of neighbours."""
    if len(numbers):
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            yield int(run[0]), int(run[-1])
