"""A recording that begins a new file when one is full (--rotate), each file a trace of its own.

A packet that is still under way goes on in the next file under the same id: its birth and its latest states
are repeated there, so that each file can be read without the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import notes as decode
from ktcpdump_tui.trace.full_disk import DISK_FULL, say_why
from ktcpdump_tui.trace.layout import NoteKind
from ktcpdump_tui.trace.summing_up import summary_so_far
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ktcpdump_tui.model import Instruction, Summary, TraceHeader

#: States repeated of a packet: events that are still in the ring may refer to older ones than the last.
_STATES: Final = 4
#: Packets under way that are remembered; with more the ones heard of longest ago are not repeated.
_PACKETS: Final = 16384


class RotatingWriter:
    """Writes FILE.ktrace, then FILE-1.ktrace, FILE-2.ktrace ... (a ``TraceSink``).

    A file is followed by the next one when it has about ``size`` bytes; of more than ``keep`` files the
    oldest are deleted (None: all stay). UserError as for
    TraceWriter.
    """

    def __init__(self, path: Path | str, size: int, keep: int | None = None) -> None:
        self.path = Path(path)
        self._size, self._keep = size, keep
        self._number = 0
        self._files: deque[Path] = deque()
        self._header: TraceHeader | None = None
        self._plan: Sequence[Instruction] = ()
        self._blobs: dict[str, bytes] = {}
        self._packets: OrderedDict[int, _Packet] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._writer = self._open()

    def write_header(self, header: TraceHeader) -> None:
        """Pass on, and keep."""
        self._header = header
        self._writer.write_header(header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass on, and keep."""
        self._plan = instructions
        self._writer.write_plan(instructions)

    def put_blob(self, name: str, data: bytes) -> None:
        """Pass on, and keep."""
        self._blobs[name] = data
        self._writer.put_blob(name, data)

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Pass on; begin the next file where this one is full."""
        self._writer.write_events(rows)
        if self._writer.size >= self._size:
            self._rotate()

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Pass on, and keep what the next file needs of them."""
        self._writer.write_notes(notes)
        for note in decode.walk(notes):
            self._remember(note, bytes(notes[note.start : note.start + note.size]))

    def write_progress(self, counts: dict[str, int]) -> None:
        """Pass on, and keep."""
        self._counts = counts
        self._writer.write_progress(counts)

    def flush(self) -> None:
        """Pass on."""
        self._writer.flush()

    def close(self, summary: Summary | None) -> None:
        """Pass on."""
        self._writer.close(summary)

    def _open(self) -> TraceWriter:
        name = f"{self.path.stem}-{self._number}{self.path.suffix}" if self._number else self.path.name
        writer = TraceWriter(self.path.with_name(name))
        self._files.append(writer.path)
        while self._keep is not None and len(self._files) > self._keep:
            self._files.popleft().unlink(missing_ok=True)
        return writer

    def _rotate(self) -> None:
        assert self._header is not None, "events come after the header"
        full = self._writer
        full.close(self._summary(full.events, "rotation"))  # first: its log makes room
        try:
            self._number += 1
            self._writer = self._open()
            self._begin(self._header)
        except UserError:
            say_why(full.path, self._summary(full.events, DISK_FULL))
            raise

    def _begin(self, header: TraceHeader) -> None:
        self._writer.write_header(header)
        self._writer.write_plan(self._plan)
        for name, data in self._blobs.items():
            self._writer.put_blob(name, data)
        for packet in self._packets.values():
            self._writer.write_notes(packet.birth + b"".join(packet.states))
        self._writer.write_progress(self._counts)

    def _summary(self, events: int, ended_by: str) -> Summary:
        """Return what is known where a file ends and the capture goes on."""
        return summary_so_far((one.probe for one in self._plan), self._counts, events, ended_by)

    def _remember(self, note: decode.Note, data: bytes) -> None:
        if note.kind == NoteKind.BIRTH:
            self._packets[note.packet] = _Packet(data)
            while len(self._packets) > _PACKETS:
                self._packets.popitem(last=False)
        elif note.kind == NoteKind.STATE and (packet := self._packets.get(note.packet)):
            packet.states.append(data)
        elif note.kind == NoteKind.FREE:
            self._packets.pop(note.packet, None)


class _Packet:
    """The notes to repeat of a packet that is under way."""

    def __init__(self, birth: bytes) -> None:
        self.birth = birth
        self.states: deque[bytes] = deque(maxlen=_STATES)
