"""The names of kernel addresses in a form that goes into a trace: small, and read without the kernel.

Made from /proc/kallsyms, code and data. What the kernel's own macros put there in thousands (padding, export
tables, trace events, "warned already" flags) is left out: no pointer that people look at leads there.

The form: ``MAGIC``, then zstd of a little-endian u32 (how many), that many i64 (the first address, then the
distance to the next), and as many names with a newline after each. An empty name says that from there on
nothing is known.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import zstandard

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ktcpdump_tui.kernel.symbols import Kallsyms

MAGIC: Final = b"KTNAMES1\n"

#: Below are user space and the offsets of per-CPU variables.
_LOWEST: Final = 1 << 63

#: Beginnings of names that are left out, at most 8 bytes of each.
_UNWANTED: Final = (
    b"__SCT__", b"__SCK__", b"__ksymta", b"__kstrta", b"__crc_", b"__alread", b"__func__", b"__warned",
    b"__UNIQUE", b"__event_", b"event_", b"__bpf_tr", b"__tpstrt", b"__tracei", b"__probes", b"__initca",
    b"__param", b"trace_ev", b"trace_ra", b"perf_tra", b"print_fm", b"__key", b"__setup", b"__p_sys",
    b"__se_sys", b"__syscal", b"_note", b"types__", b"args__", b"str__", b"symbols.", b"_entry", b".L",
    b"descript", b"__compou",
)  # fmt: skip

#: Padding before a function: it may as well be called by the function before it.
_PADDING: Final = (b"__pfx_", b"__cfi_")

#: No object or function is larger: further on an address has no name.
_FURTHEST: Final = 1 << 24
_MOST_BYTES: Final = 256 << 20


def pack_names(kallsyms: Kallsyms) -> bytes:
    """Return the names of all code and data of the running kernel and its modules, some 0.4 MB."""
    addresses, starts, ends = kallsyms.listing()
    text = np.frombuffer(kallsyms.text, np.uint8)
    inside = addresses >= np.uint64(_LOWEST)
    order = np.flatnonzero(inside)
    order = order[np.argsort(addresses[order], kind="stable")]
    # Of several names of one address the kernel lists first the one it prefers (scripts/kallsyms.c).
    first = np.ones(len(order), "?")
    first[1:] = np.diff(addresses[order]) > 0
    order = order[first]
    order = order[~_begin(text, starts[order], _PADDING)]
    named = ~_begin(text, starts[order], _UNWANTED)
    # One nameless entry ends the name before a run of those left out.
    keep = named.copy()
    keep[1:] |= named[:-1]
    order, named = order[keep], named[keep]
    lengths = np.where(named, ends[order] - starts[order], 0)
    names = _gathered(text, starts[order], lengths)
    distances = np.diff(addresses[order], prepend=np.uint64(0)).astype("<i8")
    body = len(order).to_bytes(4, "little") + distances.tobytes() + names
    return MAGIC + zstandard.ZstdCompressor(level=3, write_checksum=True).compress(body)


def _begin(text: NDArray[np.uint8], starts: NDArray[np.int64], words: Sequence[bytes]) -> NDArray[np.bool_]:
    """Tell which of the names at ``starts`` begin with one of ``words`` (no name has a newline)."""
    padded = np.append(text, np.zeros(8, np.uint8))
    heads = np.ndarray((len(text),), "<u8", padded, strides=(1,))[starts]
    found = np.zeros(len(starts), "?")
    for word in words:
        mask, wanted = (1 << 8 * len(word)) - 1, int.from_bytes(word, "little")
        found |= heads & np.uint64(mask) == np.uint64(wanted)
    return found


def _gathered(text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Return the pieces of ``text``, a newline after each."""
    sizes = lengths + 1
    ends = np.cumsum(sizes)
    source = np.repeat(starts - (ends - sizes), sizes) + np.arange(int(ends[-1]) if len(ends) else 0)
    joined = text[np.minimum(source, len(text) - 1)] if len(ends) else np.zeros(0, np.uint8)
    joined[ends - 1] = ord("\n")
    return joined.tobytes()


class AddressNames:
    """Looks addresses up in what ``pack_names`` made."""

    def __init__(self, addresses: NDArray[np.uint64], names: bytes) -> None:
        self._addresses = addresses
        self._text = names

    @classmethod
    def unpack(cls, data: bytes) -> AddressNames:
        """Return the names in ``data``. Raises UserError where it is damaged or of another version."""
        if not data.startswith(MAGIC):
            raise UserError("the trace's symbols are of another version of ktcpdump-tui, or damaged")
        try:
            body = zstandard.ZstdDecompressor().decompress(data[len(MAGIC) :], max_output_size=_MOST_BYTES)
            count = int.from_bytes(body[:4], "little")
            distances = np.frombuffer(body, "<i8", count, 4)
        except (zstandard.ZstdError, ValueError) as error:
            raise UserError("the trace's symbols are damaged: they cannot be read") from error
        names = body[4 + 8 * count :]
        if names.count(b"\n") != count:
            raise UserError("the trace's symbols are damaged: they cannot be read")
        return cls(np.cumsum(distances.astype(np.uint64), dtype=np.uint64), names)

    @classmethod
    def nothing(cls) -> AddressNames:
        """Return the names of a trace that has none."""
        return cls(np.zeros(0, "<u8"), b"")

    def __len__(self) -> int:
        return len(self._addresses)

    def symbolise(self, address: int) -> str | None:
        """Return ``symbol`` or ``symbol+OFFSET`` (decimal) of an address; None where it is in none."""
        if not _LOWEST <= address < 1 << 64:
            return None
        at = int(np.searchsorted(self._addresses, np.uint64(address), side="right")) - 1
        if at < 0:
            return None
        offset = address - int(self._addresses[at])
        name = self._text[int(self._ends[at - 1]) + 1 if at else 0 : int(self._ends[at])]
        if not name or offset >= _FURTHEST:
            return None
        symbol = name.decode("utf-8", "replace")
        return f"{symbol}+{offset}" if offset else symbol

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.frombuffer(self._text, np.uint8) == ord("\n"))
