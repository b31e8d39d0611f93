"""Reading blocks of events and of notes, and keeping the ones used last unpacked."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lean import dataclass
from ktcpdump_tui.trace import codec, notes
from ktcpdump_tui.trace.index import STATE_IDS, PairIndex, StateIndex
from ktcpdump_tui.trace.losses import unpack_losses
from ktcpdump_tui.trace.schema import READ_ERRORS, to_unsigned
from ktcpdump_tui.trace.tally import Tally, add_hits

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.notes import PacketState

#: Unpacked blocks kept: heads take 0.2 MB each, bodies and notes 1 MB.
_HEADS_KEPT: Final = 16
_BODIES_KEPT: Final = 4
_NOTES_KEPT: Final = 4
_STATES_KEPT: Final = 2048


@dataclass(frozen=True, slots=True)
class Block:
    """What is known of a block of events without unpacking it: events ``first_no`` to ``end_no - 1``, ns."""

    id: int
    first_no: int
    count: int
    t_first: int
    t_last: int
    tally: Tally
    loss: Array

    @property
    def end_no(self) -> int:
        """Number after the last event's."""
        return self.first_no + self.count


class Database:
    """The connection of one reader; every error of SQLite becomes a UserError that names the file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def move(self, connection: sqlite3.Connection, path: Path) -> None:
        """Go on with the same trace in another file."""
        self._connection.close()
        self._connection, self.path = connection, path

    def all(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except READ_ERRORS as error:
            raise self.damaged(str(error)) from error

    def each(self, statement: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows one by one: all at once may be more than what is made of them."""
        try:
            yield from self._connection.execute(statement, values)
        except READ_ERRORS as error:
            raise self.damaged(str(error)) from error

    def one(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        rows = self.all(statement, values)
        return rows[0] if rows else None

    def damaged(self, why: str) -> UserError:
        """Return the error that says the file is damaged."""
        return UserError(
            f"the trace {self.path} is damaged: {why}", "record it again with -o, or copy it again"
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class EventBlocks:
    """The blocks of events of a trace, as far as they are committed."""

    def __init__(self, database: Database, stack_bytes: int) -> None:
        self._db = database
        self._stack_bytes = stack_bytes
        self.blocks: list[Block] = []
        self._first_nos: list[int] = []
        self._base = 1  # id of the first block that is still there
        self._indexed = 0  # blocks that are in the indices: all but the last, which may still grow
        self.by_packet = PairIndex()
        self.by_insn = PairIndex()
        self._heads: OrderedDict[int, tuple[int, Array]] = OrderedDict()
        self._bodies: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self.final_hits = np.zeros(0, "<u8")  # of all blocks but the last
        self._final_losses: list[tuple[int, Array]] = []  # the same, of each block that has any

    def take_over(self, other: EventBlocks) -> None:
        """Take what another reader knows of a trace that does not change any more."""
        self.blocks, self._first_nos = other.blocks, other._first_nos
        self._base, self._indexed = other._base, other._indexed
        self.by_packet, self.by_insn = other.by_packet, other.by_insn
        self.final_hits, self._final_losses = other.final_hits, other._final_losses

    def refresh(self) -> None:
        """Read what was committed since the last call."""
        tail = self.blocks[-1].id if self.blocks else 0
        oldest = self._db.one("SELECT min(id) FROM event_block")
        if oldest and oldest[0] is not None and oldest[0] != self._base:
            gone = min(len(self.blocks), max(0, oldest[0] - self._base))
            self.blocks = self.blocks[gone:]
            self._first_nos = self._first_nos[gone:]
            self._indexed = max(0, self._indexed - gone)
            self._base = oldest[0]
        for row in self._db.each(
            "SELECT id, first_no, count, t_first, t_last, tally, loss FROM event_block"
            " WHERE id >= ? ORDER BY id",
            (tail,),
        ):
            self._add(self._checked(row))
        new = self.blocks[self._indexed : -1]
        for block in new:
            self.by_packet.add(block.id, block.tally.packets)
            self.by_insn.add(block.id, block.tally.insns)
        self.final_hits = add_hits(self.final_hits, *(block.tally for block in new))
        self._final_losses += [(block.id, block.loss) for block in new if len(block.loss)]
        self._indexed += len(new)

    def _checked(self, row: tuple[Any, ...]) -> Block:
        number, first_no, count, t_first, t_last, tally, loss = row
        try:
            if not 0 < count <= codec.MAX_BLOCK_ROWS:
                raise ValueError(f"block {number} says it has {count} events")
            return Block(
                number, first_no, count, to_unsigned(t_first), to_unsigned(t_last),
                Tally.unpack(tally, count), unpack_losses(loss),
            )  # fmt: skip
        except (ValueError, TypeError) as error:
            raise self._db.damaged(str(error)) from error

    def _add(self, block: Block) -> None:
        if self.blocks and self.blocks[-1].id == block.id:
            self.blocks[-1] = block
            return
        if self.blocks and (block.id != self.blocks[-1].id + 1 or block.first_no != self.blocks[-1].end_no):
            raise self._db.damaged(f"events are missing before number {block.first_no}")
        self.blocks.append(block)
        self._first_nos.append(block.first_no)

    @property
    def first_no(self) -> int:
        """Number of the first event there is; 1 unless --max-size removed some."""
        return self._first_nos[0] if self._first_nos else 1

    @property
    def last_no(self) -> int:
        """Number of the last event; 0 where there is none."""
        return self.blocks[-1].end_no - 1 if self.blocks else 0

    def position(self, no: int) -> int:
        """Return the index in ``blocks`` of the block with event ``no``; IndexError where there is none."""
        if not self.first_no <= no <= self.last_no:
            raise IndexError(f"event {no} is not in the trace ({self.first_no} to {self.last_no})")
        return bisect.bisect_right(self._first_nos, no) - 1

    def losses(self) -> list[Array]:
        """Return the losses of each block that has any, in order."""
        late = (block.loss for block in self.blocks[self._indexed :])
        return [loss for number, loss in self._final_losses if number >= self._base] + [
            loss for loss in late if len(loss)
        ]

    def with_packet(self, packet: int) -> Array:
        """Return the ascending positions in ``blocks`` of those with events of ``packet``."""
        late = [
            at for at in range(self._indexed, len(self.blocks)) if packet in self.blocks[at].tally.packets
        ]
        return self._positions(self.by_packet.blocks(packet), late)

    def with_insns(self, insns: Iterable[int]) -> Array:
        """Return the ascending positions in ``blocks`` of those where any of ``insns`` was executed."""
        wanted = sorted(set(insns))
        late = [
            at
            for at in range(self._indexed, len(self.blocks))
            if np.isin(wanted, self.blocks[at].tally.insns, assume_unique=True).any()
        ]
        return self._positions(self.by_insn.blocks_of_any(wanted), late)

    def _positions(self, ids: Array, late: list[int]) -> Array:
        kept = ids[ids >= self._base].astype("<i8") - self._base
        return np.concatenate((kept, np.array(late, "<i8")))

    def heads(self, position: int) -> Array:
        """Return the heads (``codec.HEAD``) of the block at ``position``."""
        block = self.blocks[position]
        kept = self._heads.get(block.id)
        if kept and kept[0] >= block.count:
            self._heads.move_to_end(block.id)
            return kept[1][: block.count]
        count, data = self._data(block, "head")
        heads: Array = self._unpack(block, lambda: codec.unpack_heads(data, count))
        heads.flags.writeable = False
        _keep(self._heads, block.id, (count, heads), _HEADS_KEPT)
        return heads[: block.count]

    def bodies(self, position: int) -> bytes:
        """Return registers and stack windows of the block at ``position``, one row after another."""
        block = self.blocks[position]
        kept = self._bodies.get(block.id)
        if kept and kept[0] >= block.count:
            self._bodies.move_to_end(block.id)
            return kept[1]
        count, data = self._data(block, "body")
        bodies: bytes = self._unpack(block, lambda: codec.unpack_bodies(data, count, self._stack_bytes))
        _keep(self._bodies, block.id, (count, bodies), _BODIES_KEPT)
        return bodies

    def _data(self, block: Block, column: str) -> tuple[int, bytes]:
        # The block may have grown since refresh(): the count comes with the data.
        row = self._db.one(
            f"SELECT count, {column} FROM event_data JOIN event_block USING (id) WHERE id = ?",  # noqa: S608
            (block.id,),
        )
        if row is None and self._db.one("SELECT 1 FROM event_block WHERE id = ?", (block.id,)):
            raise self._db.damaged(f"events {block.first_no} to {block.end_no - 1} are missing")
        if row is None:
            raise IndexError(f"events {block.first_no} to {block.end_no - 1} were removed (--max-size)")
        count, data = row
        if not isinstance(data, bytes) or not block.count <= count <= codec.MAX_BLOCK_ROWS:
            raise self._db.damaged(f"block {block.id} is not what it was")
        return count, data

    def _unpack(self, block: Block, how: Callable[[], Any]) -> Any:
        try:
            return how()
        except ValueError as error:
            raise self._db.damaged(f"events {block.first_no} to {block.end_no - 1}: {error}") from error


class NoteBlocks:
    """The state notes of a trace by id."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._index = StateIndex()
        self._tail: tuple[int, int] = (0, 0)  # id and size of the last block that is in the index
        self._blocks: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._states: OrderedDict[int, PacketState] = OrderedDict()

    def take_over(self, other: NoteBlocks) -> None:
        """Take what another reader has read of a trace that does not change any more."""
        self._index, self._tail = other._index, other._tail

    def refresh(self) -> None:
        """Read which states were committed since the last call."""
        for number, size, states in self._db.each(
            "SELECT id, size, state_ids FROM note_block WHERE id >= ? ORDER BY id", (self._tail[0],)
        ):
            if (number, size) == self._tail:
                continue
            try:
                self._index.add(number, np.frombuffer(states, STATE_IDS))
            except (ValueError, TypeError) as error:
                raise self._db.damaged(f"note block {number}: {error}") from error
            self._tail = (number, size)

    def state(self, number: int) -> PacketState | None:
        """Return the state with that id; None where it was lost, removed, or is not there yet."""
        kept = self._states.get(number)
        if kept:
            self._states.move_to_end(number)
            return kept
        place = self._index.find(number)
        data = self._block(*place) if place else None
        if place is None or data is None:
            return None
        try:
            state = notes.state_at(data, place[1])
        except ValueError as error:
            raise self._db.damaged(f"note block {place[0]}: {error}") from error
        _keep(self._states, number, state, _STATES_KEPT)
        return state

    def packet(self, number: int) -> tuple[bytes, str, int] | None:
        """Return what ``notes.packet_at`` says of the state with that id; None as for ``state``."""
        place = self._index.find(number)
        data = self._block(*place) if place else None
        if place is None or data is None:
            return None
        try:
            return notes.packet_at(data, place[1])
        except ValueError as error:
            raise self._db.damaged(f"note block {place[0]}: {error}") from error

    def netns(self, numbers: Array) -> Array:
        """Return the network namespace of each of the given states (u32); 0 where it is not known."""
        blocks, offsets = self._index.find_all(numbers)
        found = np.zeros(len(numbers), "<u4")
        for number in distinct(blocks[blocks > 0]).tolist():
            at = np.flatnonzero(blocks == number)
            data = self._block(number, int(offsets[at].max()))
            if data is None:
                continue
            places = offsets[at].astype("<i8")[:, None] + (notes.NETNS_AT + np.arange(4))
            if places.max(initial=-1) >= len(data):
                raise self._db.damaged(f"note block {number}: a state note is cut off")
            found[at] = np.ascontiguousarray(np.frombuffer(data, "u1")[places]).view("<u4")[:, 0]
        return found

    def after(self, number: int, size: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (id, size, bytes) of the notes committed behind ``size`` bytes of block ``number``."""
        for (block,) in self._db.all("SELECT id FROM note_block WHERE id >= ? ORDER BY id", (number,)):
            row = self._db.one("SELECT size, data FROM note_block WHERE id = ?", (block,))
            if row is None:
                continue  # removed meanwhile (--max-size)
            try:
                data = codec.decompress(row[1], row[0])
            except (ValueError, TypeError) as error:
                raise self._db.damaged(f"note block {block}: {error}") from error
            fresh = data[size:] if block == number else data
            if fresh:
                yield block, len(data), fresh

    def _block(self, number: int, offset: int) -> bytes | None:
        kept = self._blocks.get(number)
        if kept and kept[0] > offset:
            self._blocks.move_to_end(number)
            return kept[1]
        row = self._db.one("SELECT size, data FROM note_block WHERE id = ?", (number,))
        if row is None:
            return None
        try:
            data = codec.decompress(row[1], row[0])
        except (ValueError, TypeError) as error:
            raise self._db.damaged(f"note block {number}: {error}") from error
        _keep(self._blocks, number, (len(data), data), _NOTES_KEPT)
        return data


def _keep(cache: OrderedDict[int, Any], key: int, value: Any, most: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
