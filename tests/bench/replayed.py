"""The events of a real trace over and over, each time as those of new packets.

What another packet has otherwise is otherwise here too: time, sequence numbers, CPU, packet and state ids,
the addresses of its skb and of its data (in registers and on the stack as well), the stack it runs on, the
IP id and checksum in its bytes. Code, paths, offsets and all else are the real kernel's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ktcpdump_tui.trace import notes
from ktcpdump_tui.trace.codec import HEAD
from ktcpdump_tui.trace.layout import NOTE_HEADER, REGION, STATE_BODY, NoteKind, RegionLabel
from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[1] / "data"

#: Buffers and stacks that packets take turns with, as the kernel's caches hand them out again.
BUFFERS, STACKS = 64, 8
PAGE, STACK = 4096, 16384
#: Nanoseconds between repetitions, beside what one takes.
PAUSE = 20_000


class Replayed:
    """``batch(k)`` gives the notes and rows of repetition ``k`` = 0, 1, ...; each has ``events`` events."""

    def __init__(self, name: str = "four-ways-6.12") -> None:
        with Trace.open(DATA / f"{name}.ktrace") as trace:
            self.header, self.plan = trace.header, list(trace.plan)
            self.blobs = {blob: trace.blob(blob) for blob in trace.blob_names()}
            self._rows = trace.rows(1, len(trace))
            self._notes = b"".join(data for _, _, data in trace.raw_notes())
        self.events = len(self._rows)
        known = list(notes.walk(self._notes))
        self.packets = max(note.packet for note in known)
        self._states = max(notes.state_id(self._notes, note) for note in known if note.kind == NoteKind.STATE)
        self._span = int(self._rows["ts"].max() - self._rows["ts"].min()) + PAUSE
        self._first = int(self._rows["ts"].min())
        self._gaps = np.diff(self._rows["ts"].astype("<i8"), prepend=self._first).astype("f8")
        self._seqs = {
            cpu: int(self._rows["seq"][self._rows["cpu"] == cpu].max())
            for cpu in np.unique(self._rows["cpu"]).tolist()
        }
        self._find_addresses(known)
        self._find_fields(known)

    def _words(self, rows: np.ndarray) -> np.ndarray:
        """Registers and stack of rows as a matrix of u64."""
        return rows.view("u1").reshape(len(rows), rows.dtype.itemsize)[:, HEAD.itemsize :]

    def _find_addresses(self, known: list[notes.Note]) -> None:
        """Find where registers and stacks point into the packets' memory, and into a stack."""
        words = np.ascontiguousarray(self._words(self._rows)).view("<u8")
        ranges = []
        for note in known:
            if note.kind == NoteKind.STATE:
                state = notes.state_at(self._notes, note.start)
                for region in state.regions:
                    if region.label in ("skb", "packet", "shared info"):
                        start = region.address & ~(PAGE - 1) if region.label != "skb" else region.address
                        end = start + (PAGE if region.label != "skb" else 256)
                        ranges.append((start, end))
        moves = np.zeros(words.shape, "?")
        for start, end in set(ranges):
            moves |= (words >= start) & (words < end)
        self._pointers = np.nonzero(moves)
        on_stack = (words >= 0xFFFFC90000000000) & (words < 0xFFFFE90000000000)
        self._stack_pointers = np.nonzero(on_stack)
        self._bodies = words

    def _find_fields(self, known: list[notes.Note]) -> None:
        """Find the numbers in the notes that are others for another packet: as byte offsets."""
        self._packet_at = np.array([note.start + NOTE_HEADER.fields["packet"][1] for note in known])
        body = NOTE_HEADER.itemsize
        self._ts_at = np.array([note.start + NOTE_HEADER.fields["ts"][1] for note in known])
        states = [note for note in known if note.kind == NoteKind.STATE]
        births = [note for note in known if note.kind == NoteKind.BIRTH]
        self._state_at = np.array([note.start + body + STATE_BODY.fields["id"][1] for note in states])
        self._parent_at = np.array(
            [note.start + body + 8 for note in births if notes.birth(self._notes, note).parent], "<i8"
        )
        self._id_at: list[int] = []
        for note in states:
            regions = np.frombuffer(
                self._notes, REGION, 8, note.start + body + STATE_BODY.fields["region"][1]
            )
            for region in regions:
                if region["label"] == RegionLabel.PACKET and region["size"] >= 34:
                    start = note.start + int(region["offset"])
                    link = 14 if self._notes[start + 12 : start + 14] == b"\x08\x00" else 0
                    self._id_at += [start + link + 4, start + link + 5, start + link + 10, start + link + 11]

    def begin(self, sink) -> None:
        """Write header, plan and blobs."""
        sink.write_header(self.header)
        sink.write_plan(self.plan)
        for name, data in self.blobs.items():
            sink.put_blob(name, data)

    def batch(self, repetition: int) -> tuple[bytes, np.ndarray]:
        """Return notes and rows of one more repetition."""
        rng = np.random.default_rng(repetition)
        rows = self._rows.copy()
        # No interval lasts as long as it did before; together they last as long.
        gaps = self._gaps * rng.uniform(0.8, 1.2, len(self._gaps))
        times = (np.cumsum(gaps) * self._gaps.sum() / max(gaps.sum(), 1.0)).clip(0)
        rows["ts"] = self._first + repetition * self._span + times.astype("<u8")
        rows["packet"] += np.uint32(repetition * self.packets)
        rows["state"] += np.where(rows["state"] > 0, np.uint64(repetition * self._states), np.uint64(0))
        for cpu, number in self._seqs.items():
            rows["seq"][rows["cpu"] == cpu] += np.uint64(repetition * number)
        # Each packet has a buffer and a stack of its own.
        buffers = rng.integers(0, BUFFERS, self.packets + 1).astype("<u8") * np.uint64(PAGE)
        stacks = rng.integers(0, STACKS, self.packets + 1).astype("<u8") * np.uint64(2 * STACK)
        of = self._rows["packet"]
        rows["skb"] += buffers[of]
        rows["cfa"] += stacks[of]
        words = self._bodies.copy()
        words[self._pointers] += buffers[of[self._pointers[0]]]
        words[self._stack_pointers] += stacks[of[self._stack_pointers[0]]]
        self._words(rows)[:] = words.view("u1").reshape(len(rows), -1)
        return self._batch_notes(repetition, rng), rows

    def _batch_notes(self, repetition: int, rng: np.random.Generator) -> bytes:
        data = np.frombuffer(self._notes, "u1").copy()
        for places, size, more in (
            (self._packet_at, 4, repetition * self.packets),
            (self._ts_at, 8, repetition * self._span),
            (self._state_at, 8, repetition * self._states),
            (self._parent_at, 4, repetition * self.packets),
        ):
            if len(places):
                where = places[:, None] + np.arange(size)
                values = np.ascontiguousarray(data[where]).view(f"<u{size}") + np.array(more, f"<u{size}")
                data[where] = values.view("u1")
        data[self._id_at] = rng.integers(0, 256, len(self._id_at), "u1")
        return data.tobytes()
