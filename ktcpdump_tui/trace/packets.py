"""The packets of a trace, with what ended them in words."""

from __future__ import annotations

import bisect
import json
import time
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np

from ktcpdump_tui.model import Packet
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.layout import FATES, ORIGINS
from ktcpdump_tui.trace.schema import to_unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.database import Database

_COLUMNS: Final = (
    "id, skb, first_seen, parent, origin, freed_at, dropped, reason, location, first_no, last_no"
)
_KEPT: Final = 4096

#: Packets before the newest that are looked at again for how they ended; older ones when the trace is whole.
_UNSETTLED: Final = 20_000

#: Nanoseconds after a packet's end in which its last event may still be on its way to the trace.
_LATE: Final = 2_000_000_000
_NEVER: Final = -(1 << 63)

#: Looks for dropped packets among more than these take no more than this share of the time.
_SHARE: Final = 0.01


class DropNames:
    """Names for drop reasons and drop locations, from the trace's blobs and its plan.

    Blob ``drop_reasons``: JSON object, number of enum skb_drop_reason -> name. Blob ``symbols``: JSON object,
    hex address of a drop location -> [symbol+offset, "file:line" or null]. A location that is not
    there is looked for in the plan: it is the return address of the call that freed the packet, so the
    instruction that ends there or holds it is meant.
    """

    def __init__(self, reasons: bytes | None, symbols: bytes | None, plan: Sequence[Instruction]) -> None:
        self._reasons = _object(reasons)
        self._symbols = {_hex(key): value for key, value in _object(symbols).items()}
        by_address = sorted(plan, key=lambda insn: insn.address)
        self._addresses = [insn.address for insn in by_address]
        self._plan = by_address

    def reason(self, number: int | None) -> str | None:
        """Return the reason's name; its number in text where the name is not known."""
        if number is None:
            return None
        name = self._reasons.get(str(number))
        return str(name) if name is not None else str(number)

    def location(self, address: int | None) -> tuple[str | None, str | None]:
        """Return (symbol+offset, "file:line") of a drop location, each None where not known."""
        if not address:
            return None, None
        named = self._symbols.get(address)
        if isinstance(named, list) and len(named) == 2:
            return str(named[0]) if named[0] else None, str(named[1]) if named[1] else None
        at = bisect.bisect_left(self._addresses, address) - 1
        if at < 0:
            return None, None
        insn = self._plan[at]
        if address > insn.address + (len(insn.code) or 15):
            return None, None
        return insn.ksym, insn.addr2line if insn.source else None


class DropNamesReader:
    """The names as they are known: where packets were dropped gets its names while a capture goes on."""

    def __init__(
        self,
        database: Database,
        blob: Callable[[str], bytes | None],
        plan: Callable[[], Sequence[Instruction]],
    ) -> None:
        self._db, self._blob, self._plan = database, blob, plan
        self._known: DropNames | None = None
        self._made_of: tuple[list[tuple[Any, ...]], Sequence[Instruction]] | None = None
        self._current = False

    def refresh(self) -> None:
        """Look for new names when next asked."""
        self._current = False

    def __call__(self) -> DropNames:
        """Return the names."""
        if self._known is None or not self._current:
            wanted = (blobs.DROP_REASONS, blobs.SYMBOLS)
            packed = self._db.all("SELECT data FROM blob WHERE name IN (?, ?)", wanted)
            plan = self._plan()
            if self._made_of is None or self._made_of[0] != packed or self._made_of[1] is not plan:
                self._known = DropNames(self._blob(wanted[0]), self._blob(wanted[1]), plan)
                self._made_of = (packed, plan)
            self._current = True
        assert self._known is not None
        return self._known


class PacketTable(Sequence[Packet]):
    """The packets in the order in which they were heard of; each is read when it is asked for."""

    def __init__(self, database: Database, names: DropNamesReader) -> None:
        self._db = database
        self._names = names
        self._ids = array("q")
        self._stale = True
        self._last_row = 0
        self._counted, self._counted_row = 0, 0
        self._kept: dict[int, Packet] = {}
        self._drops: Array = np.empty((0, 3), "<i8")
        self._drops_stale = True
        self._drops_next = 0.0

    def refresh(self, trimmed: bool = False) -> None:
        """Have what was added read when it is asked for; with ``trimmed`` all again, as some may be gone."""
        self._kept.clear()
        self._names.refresh()
        self._stale = self._drops_stale = True
        if trimmed:
            self._ids, self._last_row = array("q"), 0
            self._counted, self._counted_row = 0, 0
            self._drops, self._drops_next = self._drops[:0], 0.0

    def _known(self) -> array[int]:
        """Return the ids, in the order in which the packets were heard of."""
        if self._stale:
            self._stale = False
            self._read()
        return self._ids

    def _read(self) -> None:
        for row, number in self._db.all(
            "SELECT row, id FROM packet WHERE row > ? ORDER BY row", (self._last_row,)
        ):
            self._ids.append(number)
            self._last_row = row

    def __len__(self) -> int:
        # Counting a million packets takes a hundredth of the time that their ids take.
        if self._stale:
            row = self._db.one("SELECT count(*), max(row) FROM packet WHERE row > ?", (self._counted_row,))
            if row is not None and row[0]:
                self._counted, self._counted_row = self._counted + row[0], row[1]
            return self._counted
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Packet: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Packet]: ...
    def __getitem__(self, index: int | slice) -> Packet | Sequence[Packet]:
        if isinstance(index, slice):
            return [self.by_id(number) for number in self._known()[index]]
        return self.by_id(self._known()[index])

    def __iter__(self) -> Iterator[Packet]:
        known = self._known()
        for start in range(0, len(known), 1000):
            ids = known[start : start + 1000]
            marks = ",".join("?" * len(ids))
            rows = self._db.all(
                f"SELECT {_COLUMNS} FROM packet WHERE id IN ({marks}) ORDER BY row",  # noqa: S608
                tuple(ids),
            )
            yield from map(self._packet, rows)

    def by_id(self, number: int) -> Packet:
        """Return the packet with that id; KeyError where there is none."""
        kept = self._kept.get(number)
        if kept is None:
            row = self._row(number)
            if row is None:
                raise KeyError(f"no packet {number} in the trace")
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            kept = self._kept[number] = self._packet(row)
        return kept

    def span(self, number: int) -> tuple[int, int] | None:
        """Return the numbers of the packet's first and last event; None where it has none."""
        row = self._row(number)
        return (row[9], row[10]) if row and row[9] is not None else None

    def starts(self, after_row: int) -> list[tuple[int, int, int | None, int | None]]:
        """Return (row, id, parent, first event) of each packet after that row, in order."""
        rows = self._db.all(
            "SELECT row, id, parent, first_no FROM packet WHERE row > ? ORDER BY row", (after_row,)
        )
        return [(row, number, parent, first_no) for row, number, parent, first_no in rows]

    def parents(self, after_row: int) -> list[tuple[int, int, int]]:
        """Return (row, id, parent) of each packet after that row that has a parent, in order."""
        rows = self._db.all(
            "SELECT row, id, parent FROM packet WHERE row > ? AND parent IS NOT NULL ORDER BY row",
            (after_row,),
        )
        return [(row, number, parent) for row, number, parent in rows]

    def drops(self, whole: bool) -> Array:
        """Return (last event's number, id) of the dropped packets that have events, by number (i64).

        Unless the trace is ``whole``, a packet that ends more than _UNSETTLED packets after it began may be
        missing yet, and of more packets than that those dropped in the last half second: a trace of
        millions is not gone through again for each refresh, only what ended since the last one.
        """
        if self._drops_stale:
            begun = time.monotonic()
            if not whole and begun < self._drops_next and len(self) > _UNSETTLED:
                return self._drops[:, :2]
            self._drops_stale = False
            known, since, ended = self._drops, -1, _NEVER
            if not whole and len(known):
                since = len(self) - _UNSETTLED
                ended = int(known[:, 2].max()) - _LATE
            rows = self._db.all(
                "SELECT last_no, id, coalesce(freed_at, 0) AS ended FROM packet"
                " WHERE row > ? AND dropped = 1 AND last_no IS NOT NULL AND ended > ?",
                (since, ended),
            )
            drops = np.concatenate((known[known[:, 2] <= ended], np.array(rows, "<i8").reshape(-1, 3)))
            self._drops = drops[np.argsort(drops[:, 0], kind="stable")]
            self._drops_next = begun + (time.monotonic() - begun) / _SHARE
        return self._drops[:, :2]

    def neighbour(self, number: int, reverse: bool = False) -> tuple[int, int] | None:
        """Return (id, first event) of the packet with events heard of next after this one (or before it)."""
        side, order = ("<", "DESC") if reverse else (">", "ASC")
        row = self._db.one(
            f"SELECT id, first_no FROM packet WHERE first_no IS NOT NULL AND row {side}"  # noqa: S608
            f" coalesce((SELECT row FROM packet WHERE id = ?), 0) ORDER BY row {order} LIMIT 1",
            (number,),
        )
        return (row[0], row[1]) if row else None

    def nearest(self, column: str, no: int, reverse: bool, dropped: bool = False) -> int | None:
        """Return the lowest ``column`` (``first_no``, ``last_no``) above ``no``, or the highest below it."""
        what, side = ("max", "<") if reverse else ("min", ">")
        only = " AND dropped = 1" if dropped else ""
        row = self._db.one(f"SELECT {what}({column}) FROM packet WHERE {column} {side} ?{only}", (no,))  # noqa: S608
        return row[0] if row else None

    def first_start(self, packets: Array, low: int, high: int, reverse: bool) -> int | None:
        """Return the lowest (``reverse``: highest) first event of ``packets`` from ``low`` to ``high``."""
        row = self._db.one(
            f"SELECT {'max' if reverse else 'min'}(first_no) FROM packet"  # noqa: S608
            " WHERE id IN (SELECT value FROM json_each(?)) AND first_no BETWEEN ? AND ?",
            (json.dumps(packets.tolist()), low, high),
        )
        return row[0] if row else None

    def _row(self, number: int) -> tuple[Any, ...] | None:
        return self._db.one(f"SELECT {_COLUMNS} FROM packet WHERE id = ?", (number,))  # noqa: S608

    def _packet(self, row: tuple[Any, ...]) -> Packet:
        number, skb, first_seen, parent, origin, freed_at, how, reason, location = row[:9]
        fate = FATES[how] if how is not None and 0 <= how < len(FATES) else None
        dropped = fate == "dropped"
        names = self._names()
        at = to_unsigned(location) if location else None
        symbol, line = names.location(at) if dropped else (None, None)
        return Packet(
            id=number,
            skb=to_unsigned(skb),
            first_seen=to_unsigned(first_seen),
            parent=parent,
            origin=ORIGINS[origin] if origin is not None and 0 <= origin < len(ORIGINS) else "seen",
            freed_at=to_unsigned(freed_at) if freed_at is not None else None,
            fate=fate,
            drop_reason=names.reason(reason) if dropped else None,
            drop_location=at if dropped else None,
            drop_symbol=symbol,
            drop_line=line,
            merged_into=(reason or None) if fate == "merged" else None,
        )


def _object(data: bytes | None) -> dict[str, Any]:
    """Return the JSON object in ``data``; empty where there is none: names are only a help."""
    try:
        value = json.loads(data) if data else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _hex(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
