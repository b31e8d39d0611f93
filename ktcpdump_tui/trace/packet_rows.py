"""Statements that keep the table of packets, from events and from notes, in whatever order they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ktcpdump_tui.trace.schema import to_signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.notes import Birth, Free

_EVENTS = """
INSERT INTO packet (id, skb, first_seen, first_no, last_no) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET first_no = coalesce(first_no, excluded.first_no), last_no = excluded.last_no
"""
_BIRTHS = """
INSERT INTO packet (id, skb, first_seen, parent, origin) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET skb = excluded.skb, first_seen = excluded.first_seen,
    parent = excluded.parent, origin = excluded.origin
"""
_FREES = """
INSERT INTO packet (id, skb, first_seen, freed_at, dropped, reason, location) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET freed_at = excluded.freed_at, dropped = excluded.dropped,
    reason = excluded.reason, location = excluded.location
"""

Statement = tuple[str, list[tuple[Any, ...]]]


class PacketRows:
    """Builds (statement, values) pairs for the ``packet`` table; packet 0 is no packet."""

    def from_events(self, rows: Array, first_no: int) -> Statement:
        """Return what event rows say: the packet exists, its first and last event's number."""
        packets, first = np.unique(rows["packet"], return_index=True)
        last = len(rows) - 1 - np.unique(rows["packet"][::-1], return_index=True)[1]
        order = np.argsort(first, kind="stable")
        first, last = first[order], last[order]
        columns: Iterable[tuple[int, int, int, int, int]] = zip(
            packets[order].tolist(),
            rows["skb"][first].astype("<i8").tolist(),
            rows["ts"][first].astype("<i8").tolist(),
            (first + first_no).tolist(),
            (last + first_no).tolist(),
            strict=True,
        )
        return _EVENTS, [values for values in columns if values[0]]

    def from_births(self, births: list[Birth]) -> Statement:
        """Return what BIRTH notes say."""
        return _BIRTHS, [
            (b.packet, to_signed(b.skb), to_signed(b.ts), b.parent or None, b.origin)
            for b in births
            if b.packet
        ]

    def from_frees(self, frees: list[Free]) -> Statement:
        """Return what FREE notes say."""
        return _FREES, [
            (
                f.packet, to_signed(f.skb), to_signed(f.ts), to_signed(f.ts), f.how, f.reason,
                to_signed(f.location),
            )
            for f in frees
            if f.packet
        ]  # fmt: skip
