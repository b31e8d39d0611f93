"""How blocks of events are packed on disk, and unpacked without trusting what is found there.

A row's first fields (``ts`` to ``comm``: its head, 72 bytes) are what lists, stepping and filters need; the
registers and the stack window (its body) are 5-6 times as much and needed for one event at a time. So a
block keeps them apart. Heads are stored field by field with ``ts`` and ``seq`` as differences from the row
before; bodies are stored row by row: neighbouring rows share most of their stack, which zstd finds as one
long match. Measured on the events of real captures (tests/bench/bench_store.py, bench_trace.py).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import zstandard

from ktcpdump_tui.trace.layout import event_dtype

#: Level 1 packs a row in 0.2 us; level 3 gains a tenth in size for twice the time.
LEVEL: Final = 1

#: Largest number of rows in one block; a reader refuses more, whatever the file says.
MAX_BLOCK_ROWS: Final = 1 << 16

#: Largest unpacked size of a plan or blob a reader accepts, in bytes.
MAX_BLOB_BYTES: Final = 1 << 29

_DIFFERENCES: Final = ("ts", "seq")

Array = np.ndarray[Any, np.dtype[Any]]


def head_dtype() -> np.dtype[Any]:
    """Return the layout of a row's head: the fields of ``event_dtype`` before ``regs``."""
    whole = event_dtype(0)
    names = [name for name in whole.names or () if name not in ("regs", "stack")]
    return np.dtype([(name, whole[name]) for name in names])


HEAD: Final = head_dtype()


def body_bytes(stack_bytes: int) -> int:
    """Return the size of a row's body: registers and stack window."""
    return event_dtype(stack_bytes).itemsize - HEAD.itemsize


def compress(data: bytes | memoryview | bytearray) -> bytes:
    """Return ``data`` as one zstd frame that records its own size."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(data)


def decompress(data: bytes, size: int | None = None) -> bytes:
    """Return the content of a zstd frame.

    ``size`` is the number of bytes it must have; ValueError where the frame is damaged, says another size,
    or is larger than ``MAX_BLOB_BYTES``.
    """
    try:
        announced = zstandard.frame_content_size(data)
        if announced < 0 or announced > MAX_BLOB_BYTES or (size is not None and announced != size):
            raise ValueError(f"a compressed part announces {announced} bytes instead of {size}")
        content = zstandard.ZstdDecompressor().decompress(data, max_output_size=max(announced, 1))
    except zstandard.ZstdError as error:
        raise ValueError(f"a compressed part is damaged ({error})") from error
    if len(content) != announced:
        raise ValueError(f"a compressed part holds {len(content)} bytes instead of {announced}")
    return content


def pack_heads(rows: Array) -> bytes:
    """Return the heads of event rows (any dtype with the fields of ``HEAD``), packed."""
    columns = []
    for name in HEAD.names or ():
        column = np.ascontiguousarray(rows[name])
        if name in _DIFFERENCES and len(column):
            column = np.concatenate((column[:1], column[1:] - column[:-1]))
        columns.append(column.tobytes())
    return compress(b"".join(columns))


def unpack_heads(data: bytes, count: int) -> Array:
    """Return ``count`` rows of ``HEAD``; ValueError where ``data`` is damaged."""
    content = decompress(data, count * HEAD.itemsize)
    rows = np.empty(count, HEAD)
    start = 0
    for name in HEAD.names or ():
        kind = HEAD[name]
        column = np.frombuffer(content, kind, count, start)
        rows[name] = np.cumsum(column, dtype=kind) if name in _DIFFERENCES else column
        start += count * kind.itemsize
    return rows


def pack_bodies(rows: Array) -> bytes:
    """Return the bodies of contiguous event rows, packed."""
    return compress(np.ascontiguousarray(as_bytes(rows)[:, HEAD.itemsize :]).data)


def unpack_bodies(data: bytes, count: int, stack_bytes: int) -> bytes:
    """Return the bodies of ``count`` rows one after another; ValueError where ``data`` is damaged."""
    return decompress(data, count * body_bytes(stack_bytes))


def as_bytes(rows: Array) -> Array:
    """Return contiguous rows as a matrix of bytes, without copying."""
    return rows.view("u1").reshape(len(rows), rows.dtype.itemsize)


def join_rows(heads: Array, bodies: bytes, stack_bytes: int) -> Array:
    """Return whole event rows from heads and bodies."""
    kind = event_dtype(stack_bytes)
    rows = np.empty(len(heads), kind)
    matrix = as_bytes(rows)
    matrix[:, : HEAD.itemsize] = as_bytes(np.ascontiguousarray(heads))
    matrix[:, HEAD.itemsize :] = np.frombuffer(bodies, "u1").reshape(
        len(heads), kind.itemsize - HEAD.itemsize
    )
    return rows
