"""What a block of events is about: its packets and its instructions, each with how often.

Stored per block (little-endian u32: number of packets, number of instructions, packet ids, their counts,
instruction indices, their counts; ids and indices ascending), so that questions such as "where are the
events of packet 7" and "how often did this line run" never unpack events.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from ktcpdump_tui.trace.codec import Array


@dataclass(frozen=True, slots=True)
class Tally:
    """Ascending u32 arrays: ``packets`` with ``packet_counts``, ``insns`` with ``insn_counts``."""

    packets: Array
    packet_counts: Array
    insns: Array
    insn_counts: Array

    @classmethod
    def of(cls, rows: Array) -> Tally:
        """Count the packets and instructions of event rows (anything with ``packet`` and ``insn``)."""
        packets, packet_counts = np.unique(rows["packet"], return_counts=True)
        insns, insn_counts = np.unique(rows["insn"], return_counts=True)
        return cls(packets, packet_counts.astype("<u4"), insns, insn_counts.astype("<u4"))

    def pack(self) -> bytes:
        """Return the stored form."""
        sizes = np.array([len(self.packets), len(self.insns)], "<u4")
        parts = (sizes, self.packets, self.packet_counts, self.insns, self.insn_counts)
        return b"".join(part.astype("<u4", copy=False).tobytes() for part in parts)

    @classmethod
    def unpack(cls, data: bytes, events: int) -> Tally:
        """Return what ``pack`` stored for a block of ``events`` events; ValueError where it is damaged."""
        if len(data) < 8 or len(data) % 4:
            raise ValueError("a block's tally is cut off")
        numbers = np.frombuffer(data, "<u4")
        packets, insns = int(numbers[0]), int(numbers[1])
        if len(numbers) != 2 + 2 * packets + 2 * insns:
            raise ValueError("a block's tally has the wrong size")
        ends = (2, 2 + packets, 2 + 2 * packets, 2 + 2 * packets + insns, len(numbers))
        parts = [numbers[start:end] for start, end in itertools.pairwise(ends)]
        if int(parts[1].sum(dtype="u8")) != events or int(parts[3].sum(dtype="u8")) != events:
            raise ValueError("a block's tally does not add up")
        if not _ascends(parts[0]) or not _ascends(parts[2]):
            raise ValueError("a block's tally is not in order")
        return cls(parts[0], parts[1], parts[2], parts[3])


_NONE: Final = np.zeros(0, "<u4")
NOTHING: Final = Tally(_NONE, _NONE, _NONE, _NONE)


def _ascends(numbers: Array) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


#: Instructions a reader counts at most; a plan is far smaller (--max-probes).
MAX_INSNS: Final = 1 << 22


def add_hits(hits: Array, *tallies: Tally) -> Array:
    """Return ``hits`` (u64 per instruction) with those of ``tallies`` added, made longer where needed."""
    if not tallies:
        return hits
    insns = np.concatenate([tally.insns for tally in tallies])
    counts = np.concatenate([tally.insn_counts for tally in tallies])
    known = insns < MAX_INSNS
    # Sums of u32 are exact in bincount's doubles.
    added = np.bincount(insns[known], counts[known], len(hits)).astype("<u8")
    added[: len(hits)] += hits
    return added
