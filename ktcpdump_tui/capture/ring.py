"""Reading a BPF ring buffer by its memory (kernel/bpf/ringbuf.c), whole batches at a time.

libbpf's reader calls back once per record, which in Python costs more than everything else together.
The memory is simple: one page with the consumer's position (ours to write), one with the producer's,
then the data, mapped twice in a row so that no record is ever split.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

#: include/uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ.
BUSY: Final = 1 << 31
DISCARD: Final = 1 << 30
HEADER_BYTES: Final = 8

_PAGE: Final = mmap.PAGESIZE


def aligned(size: int) -> int:
    """Return ``size`` bytes rounded up to 8, as the kernel does for each record."""
    return (size + 7) & ~7


class Ring:
    """The memory of one ring buffer map of ``size`` data bytes behind ``fd``."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._consumer_map = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer_map = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        # Aligned 8-byte loads and stores through ctypes are single instructions: no torn positions.
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_map)
        self._memory: npt.NDArray[np.uint8] = np.frombuffer(self._producer_map, np.uint8)
        self._producer: npt.NDArray[np.uint64] = self._memory[:8].view(np.uint64)
        self._data = self._memory[_PAGE:]

    @property
    def pending(self) -> int:
        """Bytes written and not yet consumed."""
        return int(self._producer[0]) - self._consumer.value

    def close(self) -> None:
        """Unmap the buffer; nothing can be read any more."""
        del self._consumer, self._memory, self._producer, self._data
        self._consumer_map.close()
        self._producer_map.close()


class RowRing(Ring):
    """A ring buffer whose records all are one ``row`` each."""

    def __init__(self, fd: int, size: int, row: np.dtype[Any]) -> None:
        super().__init__(fd, size)
        self.row = row
        self._stride = HEADER_BYTES + aligned(row.itemsize)
        self._none = np.empty(0, row)

    def read(self, most: int = 1 << 16) -> npt.NDArray[Any]:
        """Return up to ``most`` finished rows as a one-dimensional array of ``row``, and consume them."""
        consumed = self._consumer.value
        count = min((int(self._producer[0]) - consumed) // self._stride, most)
        if count <= 0:
            return self._none
        start = consumed % self.size
        # A batch may go once round the end: the second mapping makes it contiguous.
        count = min(count, self.size // self._stride)
        records = self._data[start : start + count * self._stride].reshape(count, self._stride)
        lengths = np.ascontiguousarray(records[:, :4]).view(np.uint32)[:, 0]
        busy = np.flatnonzero(lengths & np.uint32(BUSY))
        if len(busy):
            count = int(busy[0])
        rows = (
            records[:count, HEADER_BYTES : HEADER_BYTES + self.row.itemsize].copy().reshape(-1).view(self.row)
        )
        self._consumer.value = consumed + count * self._stride
        return rows


class RecordRing(Ring):
    """A ring buffer of records of any size."""

    def read(self) -> bytes:
        """Return all finished records one after the other, each padded to 8 bytes, and consume them."""
        consumed = self._consumer.value
        end = int(self._producer[0])
        parts: list[bytes] = []
        while consumed < end:
            at = consumed % self.size
            length = int(self._data[at : at + 4].view(np.uint32)[0])
            if length & BUSY:
                break
            size = length & ~(BUSY | DISCARD)
            if not length & DISCARD:
                parts.append(self._data[at + HEADER_BYTES : at + HEADER_BYTES + aligned(size)].tobytes())
            consumed += HEADER_BYTES + aligned(size)
        self._consumer.value = consumed
        return b"".join(parts)
