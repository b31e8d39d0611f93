"""What is known of a trace's blocks without unpacking them: read once, for all readers of the trace."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.trace import codec
from ktcpdump_tui.trace.index import STATE_IDS, PairIndex, StateIndex
from ktcpdump_tui.trace.insn_index import InsnIndex
from ktcpdump_tui.trace.losses import unpack_losses
from ktcpdump_tui.trace.schema import to_unsigned
from ktcpdump_tui.trace.tally import NOTHING, Tally, add_hits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.database import Database

#: Blocks whose instructions are counted at once: all of ten million events at once took 50 MB.
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Block:
    """A block of events ``first_no`` to ``end_no - 1``, the earliest and the latest ts in ns.

    ``packets`` are the ascending ids of the packets in it (u32), ``packet_counts`` how many events each has.
    """

    id: int
    first_no: int
    count: int
    t_first: int
    t_last: int
    packets: Array
    packet_counts: Array
    loss: Array

    @property
    def end_no(self) -> int:
        """Number after the last event's."""
        return self.first_no + self.count


@dataclass(frozen=True, slots=True)
class Known:
    """The blocks of events as one reader knows them until it looks again; nothing in here changes.

    ``base`` is the first block's id; ``settled`` blocks do not grow any more: all but the last, of which
    ``last`` is the tally. ``hits`` are those of the settled ones and of all that were removed (--max-size),
    ``losses`` (by block id, where there are any) of the settled ones.
    """

    blocks: list[Block] = field(default_factory=list)
    first_nos: list[int] = field(default_factory=list)
    base: int = 1
    settled: int = 0
    last: Tally = NOTHING
    hits: Array = field(default_factory=lambda: np.zeros(0, "<u8"))
    losses: tuple[tuple[int, Array], ...] = ()


class EventIndex:
    """Reads what was added to a trace for whichever reader asks first; the others get it as well."""

    def __init__(self) -> None:
        self.by_packet = PairIndex()
        self.by_insn = InsnIndex()
        self._lock = threading.Lock()
        self._known = Known()

    def refresh(self, database: Database) -> Known:
        """Return what is known by now; ``database`` is the reader's own. UserError where it is damaged."""
        with self._lock, database.snapshot():
            known = self._trimmed(database)
            tail = [(known.blocks[-1], known.last)] if known.blocks else []
            blocks, hits, losses = known.blocks[:-1], known.hits, list(known.losses)
            grown = False
            for block, tally in self._new(database, known.blocks[-1] if known.blocks else None):
                if tail and tail[-1][0].id == block.id:
                    tail.pop()
                tail.append((block, tally))
                grown = True
                if len(tail) > _AT_ONCE:
                    hits = self._settle(tail[:-1], hits, losses)
                    blocks += [one for one, _ in tail[:-1]]
                    del tail[:-1]
            if grown:
                hits = self._settle(tail[:-1], hits, losses)
                blocks += [one for one, _ in tail]
                firsts = known.first_nos[:-1]
                firsts += [block.first_no for block in blocks[len(firsts) :]]
                known = Known(blocks, firsts, known.base, len(blocks) - 1, tail[-1][1], hits, tuple(losses))
            self._known = known
            return known

    def _settle(
        self, added: list[tuple[Block, Tally]], hits: Array, losses: list[tuple[int, Array]]
    ) -> Array:
        """Take blocks that do not grow any more into the indices; return the hits with theirs."""
        for block, tally in added:
            self.by_packet.add(block.id, block.packets)
            self.by_insn.add(block.id, tally.insns)
            if len(block.loss):
                losses.append((block.id, block.loss))
        return add_hits(hits, *(tally for _, tally in added))

    def _trimmed(self, database: Database) -> Known:
        """Return what is known, without the blocks that were removed (--max-size)."""
        known = self._known
        row = database.one("SELECT min(id) FROM event_block")
        oldest = row[0] if row else None
        # Behind a reader that has gone on to another file, one may still look into the first.
        if oldest is None or oldest <= known.base:
            return known
        self.by_packet.forget(oldest)
        self.by_insn.forget(oldest)
        gone = oldest - known.base
        if gone >= len(known.blocks):  # some may never have been seen here
            return Known(base=oldest, hits=_removed_hits(database))
        return Known(
            known.blocks[gone:], known.first_nos[gone:], oldest, known.settled - gone, known.last, known.hits,
            tuple((number, loss) for number, loss in known.losses if number >= oldest),
        )  # fmt: skip

    def _new(self, database: Database, last: Block | None) -> Iterator[tuple[Block, Tally]]:
        """Yield the last block again where it has grown, and the blocks behind it."""
        rows = database.each(
            "SELECT id, first_no, count, t_first, t_last, tally, loss FROM event_block"
            " WHERE id >= ? ORDER BY id",
            (last.id if last else 0,),
        )
        for row in rows:
            if last is not None and (row[0], row[2]) == (last.id, last.count):
                continue
            block, tally = _checked(row, database)
            if last is not None and block.id == last.id and block.count < last.count:
                continue  # this reader has not gone on to the other file yet
            if last is not None and block.id != last.id:
                follows = block.id == last.id + 1 and block.first_no == last.end_no
                if not follows:
                    raise database.damaged(f"events are missing before number {block.first_no}")
            last = block
            yield block, tally


def _removed_hits(database: Database) -> Array:
    row = database.one("SELECT value FROM meta WHERE key = 'removed_hits'")
    try:
        return np.frombuffer(row[0], "<u8") if row else np.zeros(0, "<u8")
    except (ValueError, TypeError) as error:
        raise database.damaged(str(error)) from error


def _checked(row: tuple[Any, ...], database: Database) -> tuple[Block, Tally]:
    number, first_no, count, t_first, t_last, packed, loss = row
    try:
        if not 0 < count <= codec.MAX_BLOCK_ROWS:
            raise ValueError(f"block {number} says it has {count} events")
        tally = Tally.unpack(packed, count)
        block = Block(
            number, first_no, count, to_unsigned(t_first), to_unsigned(t_last),
            tally.packets.copy(), tally.packet_counts.copy(), unpack_losses(loss),
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise database.damaged(str(error)) from error
    return block, tally


class NoteIndex:
    """The same for the state notes."""

    def __init__(self) -> None:
        self.states = StateIndex()
        self._lock = threading.Lock()
        self._tail: tuple[int, int] = (0, 0)  # id and size of the last block that is in the index

    def refresh(self, database: Database) -> None:
        """Read which states were committed since anybody looked; UserError where the trace is damaged."""
        with self._lock:
            row = database.one("SELECT min(id) FROM note_block")
            self.states.forget(row[0] if row and row[0] is not None else 0)
            for number, size, states in database.each(
                "SELECT id, size, state_ids FROM note_block WHERE id >= ? ORDER BY id", (self._tail[0],)
            ):
                try:
                    if (number, size) <= self._tail:
                        continue
                    self.states.add(number, np.frombuffer(states, STATE_IDS))
                except (ValueError, TypeError) as error:
                    raise database.damaged(f"note block {number}: {error}") from error
                self._tail = (number, size)
