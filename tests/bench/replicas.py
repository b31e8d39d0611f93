"""A recorded trace over and over again, as if the same packets had come as often: rows, notes, whole traces.

Times, ids of packets and of states, and sequence numbers go on from one round to the next, so that what is
written is what a long capture of the same traffic would have written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace import notes
from ktcpdump_tui.trace.layout import BIRTH_BODY, NOTE_HEADER, NoteKind, event_dtype
from ktcpdump_tui.trace.saving import copy_plan
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: ns between the end of a round and the next one's beginning.
_PAUSE = 1_000_000


class Replicas:
    """The rounds of one recorded trace; round 0 is the trace itself."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        rows = trace.rows(1, len(trace))
        self.base = np.zeros(len(rows), event_dtype(trace.header.stack_bytes))
        for name in self.base.dtype.names or ():
            self.base[name] = rows[name]
        self.base["cpu"] = 0
        self.base["seq"] = np.arange(1, len(rows) + 1)
        self.notes = b"".join(data for _, _, data in trace.raw_notes())
        self.span = int(self.base["ts"].max() - self.base["ts"].min()) + _PAUSE
        self.packets = max(packet.id for packet in trace.packets())
        self.states = max(
            notes.state_id(self.notes, note) for note in notes.walk(self.notes) if note.kind == NoteKind.STATE
        )
        self._places = list(self._numbers())

    def _numbers(self) -> Iterator[tuple[int, str, int]]:
        """Yield where the notes have a number that grows, of what type, and by how much in a round."""
        body = NOTE_HEADER.itemsize
        for note in notes.walk(self.notes):
            yield note.start + int(NOTE_HEADER.fields["ts"][1]), "<u8", self.span
            yield note.start + int(NOTE_HEADER.fields["packet"][1]), "<u4", self.packets
            if note.kind == NoteKind.STATE:
                yield note.start + body, "<u8", self.states
            elif note.kind == NoteKind.BIRTH and notes.birth(self.notes, note).parent:
                yield note.start + body + int(BIRTH_BODY.fields["parent"][1]), "<u4", self.packets

    def rows_of(self, round_number: int) -> np.ndarray:
        """Return a round's rows."""
        rows = self.base.copy()
        rows["ts"] += np.uint64(round_number * self.span)
        rows["seq"] += np.uint64(round_number * len(rows))
        rows["packet"] += np.uint32(round_number * self.packets)
        rows["state"] += np.where(rows["state"] > 0, np.uint64(round_number * self.states), np.uint64(0))
        return rows

    def notes_of(self, round_number: int) -> bytes:
        """Return a round's notes."""
        data = bytearray(self.notes)
        for start, kind, step in self._places:
            place = np.frombuffer(data, kind, 1, start)
            place += np.array(round_number * step, kind)
        return bytes(data)

    def begin(self, path: Path) -> TraceWriter:
        """Return a writer that has all but events and notes."""
        writer = TraceWriter(path)
        writer.write_header(self.trace.header)
        copy_plan(self.trace, writer)
        for name in self.trace.blob_names():
            writer.put_blob(name, self.trace.blob(name) or b"")
        writer.flush()
        return writer


def long_trace(source: Path, path: Path, events: int) -> None:
    """Write a whole trace of at least so many events."""
    with Trace.open(source) as trace:
        replicas = Replicas(trace)
        writer = replicas.begin(path)
        rounds = -(-events // len(replicas.base))
        for number in range(rounds):
            writer.write_notes(replicas.notes_of(number))
            writer.write_events(replicas.rows_of(number))
        states = len(trace.plan)
        summary = Summary(
            rounds * len(replicas.base), rounds * replicas.packets, states, states, 0, {}, "packets"
        )
        writer.close(summary)
