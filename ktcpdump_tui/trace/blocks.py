"""Reading blocks of events and of notes, and keeping the ones used last unpacked."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.arrays import distinct
from ktcpdump_tui.trace import codec, notes
from ktcpdump_tui.trace.known import EventIndex, Known, NoteIndex
from ktcpdump_tui.trace.tally import add_hits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.database import Database
    from ktcpdump_tui.trace.known import Block
    from ktcpdump_tui.trace.notes import PacketState

#: Unpacked blocks kept: heads take 0.2 MB each, bodies and notes 1 MB.
_HEADS_KEPT: Final = 16
_BODIES_KEPT: Final = 4
_NOTES_KEPT: Final = 4
_STATES_KEPT: Final = 2048


class EventBlocks:
    """The blocks of events of a trace, as far as they are committed."""

    def __init__(self, database: Database, stack_bytes: int, like: EventBlocks | None = None) -> None:
        self._db = database
        self._stack_bytes = stack_bytes
        self._index: EventIndex = like._index if like is not None else EventIndex()
        self._known = Known()
        self._heads: OrderedDict[int, tuple[int, Array]] = OrderedDict()
        self._bodies: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    def refresh(self) -> None:
        """Read what was committed since the last call."""
        self._known = self._index.refresh(self._db)

    @property
    def blocks(self) -> list[Block]:
        """The blocks, in order."""
        return self._known.blocks

    @property
    def first_no(self) -> int:
        """Number of the first event there is; 1 unless --max-size removed some."""
        return self._known.first_nos[0] if self._known.first_nos else 1

    @property
    def last_no(self) -> int:
        """Number of the last event; 0 where there is none."""
        return self.blocks[-1].end_no - 1 if self.blocks else 0

    def position(self, no: int) -> int:
        """Return the index in ``blocks`` of the block with event ``no``; IndexError where there is none."""
        if not self.first_no <= no <= self.last_no:
            raise IndexError(f"event {no} is not in the trace ({self.first_no} to {self.last_no})")
        return bisect.bisect_right(self._known.first_nos, no) - 1

    def hits(self) -> Array:
        """Return how often each instruction was executed in the blocks there were so far (u64)."""
        return add_hits(self._known.hits, self._known.last)

    def losses(self) -> list[Array]:
        """Return the losses of each block that has any, in order."""
        losses = [loss for _, loss in self._known.losses]
        return losses + [block.loss for block in self.blocks[self._known.settled :] if len(block.loss)]

    def with_packet(self, packet: int) -> Array:
        """Return the ascending positions in ``blocks`` of those with events of ``packet``."""
        late = any(packet in block.packets for block in self.blocks[self._known.settled :])
        return self._positions(self._index.by_packet.blocks(packet), late)

    def with_insns(self, insns: Iterable[int]) -> Array:
        """Return the ascending positions in ``blocks`` of those where any of ``insns`` was executed."""
        wanted = sorted(set(insns))
        late = bool(np.isin(wanted, self._known.last.insns, assume_unique=True).any())
        return self._positions(self._index.by_insn.blocks_of_any(wanted), late)

    def _positions(self, ids: Array, late: bool) -> Array:
        """Return the positions of the settled blocks among ``ids``; with ``late``, the last one's too."""
        # The index is shared: it may know more than this reader does, and have what it has forgotten.
        known, at = self._known, ids.astype("<i8") - self._known.base
        kept = at[(at >= 0) & (at < known.settled)]
        return np.append(kept, known.settled) if late else kept

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

    def __init__(self, database: Database, like: NoteBlocks | None = None) -> None:
        self._db = database
        self._index: NoteIndex = like._index if like is not None else NoteIndex()
        self._blocks: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._states: OrderedDict[int, PacketState] = OrderedDict()

    def refresh(self) -> None:
        """Read which states were committed since the last call."""
        self._index.refresh(self._db)

    def state(self, number: int) -> PacketState | None:
        """Return the state with that id; None where it was lost, removed, or is not there yet."""
        kept = self._states.get(number)
        if kept:
            self._states.move_to_end(number)
            return kept
        place = self._index.states.find(number)
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
        place = self._index.states.find(number)
        data = self._block(*place) if place else None
        if place is None or data is None:
            return None
        try:
            return notes.packet_at(data, place[1])
        except ValueError as error:
            raise self._db.damaged(f"note block {place[0]}: {error}") from error

    def netns(self, numbers: Array) -> Array:
        """Return the network namespace of each of the given states (u32); 0 where it is not known."""
        blocks, offsets = self._index.states.find_all(numbers)
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
