"""A trace as a stream of frames: how a capture elsewhere reaches the program that shows it.

The stream begins with ``MAGIC`` and a version (u32). Each frame is a header of 8 bytes (u8 kind, u8 flags,
u16 0, u32 number of bytes that follow; little-endian) and those bytes; with flag 1 they are packed with zstd.
``Kind`` says what they are.
"""

from __future__ import annotations

import enum
import json
import struct
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import codec, records
from ktcpdump_tui.trace.layout import event_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui.model import Instruction, Summary, TraceHeader
    from ktcpdump_tui.trace.sink import TraceSink

MAGIC: Final = b"\x89ktrace\n"
VERSION: Final = 1

#: Bytes of a frame as sent; a reader refuses more.
MAX_FRAME: Final = 1 << 28

#: Frames smaller than this are sent as they are.
_PACK_FROM: Final = 512

#: Bytes of something that is no stream which are shown: usually the other side's error message.
_SHOWN: Final = 200

_START: Final = struct.Struct("<8sI")
_FRAME: Final = struct.Struct("<BBHI")
_PACKED: Final = 1


class Kind(enum.IntEnum):
    """What a frame holds."""

    HEADER = 1  # JSON
    PLAN = 2  # JSON (records.plan_to_json)
    BLOB = 3  # u16 length of the name, name (UTF-8), bytes
    EVENTS = 4  # whole rows
    NOTES = 5  # whole notes
    PROGRESS = 6  # JSON object: totals by name
    SUMMARY = 7  # JSON; the last frame of a stream
    FLUSH = 8  # nothing: what came so far should be shown


class StreamWriter:
    """A ``TraceSink`` that writes frames to a binary stream and flushes it at every ``flush``.

    OSErrors of the stream (BrokenPipeError) reach the caller as they are. ``close`` leaves the stream open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._closed = False
        self._lock = threading.Lock()  # a frame is one piece, whichever thread sends it
        stream.write(_START.pack(MAGIC, VERSION))

    def write_header(self, header: TraceHeader) -> None:
        """Send the header."""
        self._send(Kind.HEADER, records.header_to_json(header).encode())
        self.flush()

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Send the plan."""
        self._send(Kind.PLAN, records.plan_to_json(instructions).encode())
        self.flush()

    def put_blob(self, name: str, data: bytes) -> None:
        """Send a blob."""
        encoded = name.encode()
        self._send(Kind.BLOB, struct.pack("<H", len(encoded)) + encoded + data)

    def write_events(self, rows: bytes | memoryview | np.ndarray[Any, Any]) -> None:
        """Send whole rows."""
        data = np.ascontiguousarray(rows).tobytes() if isinstance(rows, np.ndarray) else bytes(rows)
        if data:
            self._send(Kind.EVENTS, data)

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Send whole notes."""
        if len(notes):
            self._send(Kind.NOTES, bytes(notes))

    def write_progress(self, counts: dict[str, int]) -> None:
        """Send totals."""
        self._send(Kind.PROGRESS, json.dumps(counts).encode())

    def flush(self) -> None:
        """Have everything sent so far shown at the other end."""
        if not self._closed:
            self._send(Kind.FLUSH, b"")
            self._stream.flush()

    def close(self, summary: Summary | None) -> None:
        """Send the summary, if there is one, and flush."""
        if self._closed:
            return
        if summary is not None:
            self._send(Kind.SUMMARY, records.summary_to_json(summary).encode())
        self._stream.flush()
        self._closed = True

    def _send(self, kind: Kind, data: bytes) -> None:
        flags = 0
        if len(data) >= _PACK_FROM:
            data, flags = codec.compress(data), _PACKED
        with self._lock:
            self._stream.write(_FRAME.pack(kind, flags, 0, len(data)) + data)


def pump(stream: BinaryIO, sink: TraceSink, source: str = "the stream") -> Summary | None:
    """Feed ``sink`` from a stream that a ``StreamWriter`` wrote, until it ends, and close the sink.

    Returns the summary. Where the stream ends without one (the other side was killed), is cut off or is
    garbage, the sink is closed with summary None, so that what came is kept, and a UserError says so;
    ``source`` names the stream in it.
    """
    try:
        summary = _pump(stream, sink, source)
    except BaseException:
        sink.close(None)
        raise
    sink.close(summary)
    return summary


def _pump(stream: BinaryIO, sink: TraceSink, source: str) -> Summary:
    start = _read(stream, _START.size)
    if len(start) < _START.size and MAGIC.startswith(start[: len(MAGIC)]):
        raise UserError(f"{source} ended before its first frame", "see what the other side printed")
    magic, version = _START.unpack(start) if len(start) == _START.size else (start, 0)
    if magic != MAGIC:
        while b"\n" not in start and len(start) < _SHOWN and (more := stream.read(1)):
            start += more
        shown = start.split(b"\n", 1)[0].decode("utf-8", "replace")
        raise UserError(f"{source} is not a trace of ktcpdump-tui; it begins with {shown!r}")
    if version > VERSION:
        raise UserError(
            f"{source} comes from a newer ktcpdump-tui (stream version {version}, this one reads {VERSION})",
            "pip install --upgrade ktcpdump-tui",
        )
    reader = _Frames(sink)
    while True:
        head = _read(stream, _FRAME.size)
        if not head:
            raise UserError(f"{source} ended without a summary: the other side was cut off")
        if len(head) < _FRAME.size:
            raise UserError(f"{source} was cut off inside a frame")
        kind, flags, _, size = _FRAME.unpack(head)
        if size > MAX_FRAME:
            raise UserError(f"{source} is damaged: a frame of {size} bytes")
        data = _read(stream, size)
        if len(data) < size:
            raise UserError(f"{source} was cut off inside a frame")
        try:
            summary = reader.take(kind, codec.decompress(data) if flags & _PACKED else data)
        except (ValueError, struct.error) as error:
            raise UserError(f"{source} is damaged: {error}") from error
        if summary is not None:
            return summary


class _Frames:
    """Gives frames to a sink; ValueError where a frame is not what it should be."""

    def __init__(self, sink: TraceSink) -> None:
        self._sink = sink
        self._row_bytes = 0
        self._ways: dict[int, Callable[[bytes], Summary | None]] = {
            Kind.HEADER: self._header,
            Kind.PLAN: self._plan,
            Kind.BLOB: self._blob,
            Kind.EVENTS: self._take_events,
            Kind.NOTES: self._notes,
            Kind.PROGRESS: self._progress,
            Kind.SUMMARY: records.summary_from_json,
            Kind.FLUSH: self._flush,
        }

    def take(self, kind: int, data: bytes) -> Summary | None:
        """Give one frame on; kinds of a later version are left out. Returns the summary when it comes."""
        way = self._ways.get(kind)
        return way(data) if way else None

    def _header(self, data: bytes) -> None:
        header = records.header_from_json(data)
        self._row_bytes = event_dtype(header.stack_bytes).itemsize
        self._sink.write_header(header)

    def _plan(self, data: bytes) -> None:
        self._sink.write_plan(records.plan_from_json(data))

    def _blob(self, data: bytes) -> None:
        (length,) = struct.unpack_from("<H", data)
        self._sink.put_blob(data[2 : 2 + length].decode(), data[2 + length :])

    def _take_events(self, data: bytes) -> None:
        if not self._row_bytes:
            raise ValueError("events come before the header")
        if len(data) % self._row_bytes:
            raise ValueError("an event is cut off")
        self._sink.write_events(data)

    def _notes(self, data: bytes) -> None:
        if not self._row_bytes:
            raise ValueError("notes come before the header")
        self._sink.write_notes(data)

    def _progress(self, data: bytes) -> None:
        counts = records.loads(data)
        if not isinstance(counts, dict) or not all(isinstance(value, int) for value in counts.values()):
            raise ValueError("the totals are not numbers")
        self._sink.write_progress(counts)

    def _flush(self, _: bytes) -> None:
        self._sink.flush()


def _read(stream: BinaryIO, size: int) -> bytes:
    """Return ``size`` bytes, fewer only where the stream ends; works on unbuffered streams too."""
    parts = []
    while size:
        part = stream.read(min(size, 1 << 20))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
