"""Reading a trace, while it is written or afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ktcpdump_tui.model import Event, Instruction, LineState, ProbeState
from ktcpdump_tui.trace import codec, lines, records, schema
from ktcpdump_tui.trace.blocks import EventBlocks, NoteBlocks
from ktcpdump_tui.trace.chunks import chunks
from ktcpdump_tui.trace.database import Database
from ktcpdump_tui.trace.events import make_event
from ktcpdump_tui.trace.layout import event_dtype
from ktcpdump_tui.trace.losses import LOSS, apply_fixes
from ktcpdump_tui.trace.nearest import packet_start
from ktcpdump_tui.trace.packets import DropNamesReader, PacketTable
from ktcpdump_tui.trace.plans import Plans
from ktcpdump_tui.trace.whereabouts import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ktcpdump_tui.model import Packet, Summary, TraceHeader
    from ktcpdump_tui.trace.codec import Array
    from ktcpdump_tui.trace.known import Block
    from ktcpdump_tui.trace.notes import PacketState


class Trace:
    """A trace opened for reading; one object per thread.

    Events are numbered from 1 in the order in which they reached the writer; ``ts`` may run back by
    microseconds between CPUs. What the object shows changes only in ``refresh``. Numbers below ``first_no``
    were removed by --max-size.
    """

    def __init__(self, database: Database, where: Whereabouts, live: bool, like: Trace | None = None) -> None:
        self._where = where
        self._db = database
        self._live = live
        self._version: tuple[int, ...] | None = None
        self.finished = False
        self.summary: Summary | None = None
        self.plan: Sequence[Instruction] = []
        self._lines: lines.PlanLines | None = None
        self._plan_version = 0
        self._plans: Plans = like._plans if like else Plans()
        self._removed_lost = 0
        self._counts: dict[str, int] = {}
        self._fixes: dict[int, int] = {}
        self._last_fix = 0
        self.header: TraceHeader = self._read_header()
        self._events: EventBlocks = EventBlocks(
            database, self.header.stack_bytes, like._events if like else None
        )
        self._notes: NoteBlocks = NoteBlocks(database, like._notes if like else None)
        self._packets = PacketTable(database, DropNamesReader(database, self.blob, lambda: self.plan))
        self.refresh()

    @classmethod
    def open(cls, path: Path | str | Whereabouts, like: Trace | None = None) -> Self:
        """Open the trace at ``path``; UserError where it is unreadable, damaged, or too new.

        With Whereabouts the reader goes along to where the trace goes on when its disk is full.
        """
        where = path if isinstance(path, Whereabouts) else Whereabouts(Path(path))
        path = where.path
        database = Database(schema.open_for_reading(path), path)
        try:
            return cls(database, where, schema.has_log(path), like)
        except BaseException:
            database.close()
            raise

    def reopen(self) -> Self:
        """Return another reader of the same trace, for another thread; they share what was read of it."""
        return type(self).open(self._where, self)

    @property
    def path(self) -> Path:
        """The file that is read."""
        return self._db.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; the last reader of a trace that was read while it was written leaves it as one file."""
        self._db.close()
        if self._live and self.finished:
            schema.make_single_file(self.path)

    def refresh(self) -> int:
        """Read what was committed since the last call; return the number of the last event."""
        if self.finished:
            return len(self)
        self._follow()
        # SQLite counts what others commit: a capture in which nothing happens costs one question, not six.
        if (version := self._db.one("PRAGMA data_version")) == self._version:
            return len(self)
        self._version = version
        meta = dict(self._db.all("SELECT key, value FROM meta WHERE key != 'header'"))
        first_no = self._events.first_no
        self._events.refresh()
        self._follow()  # another reader, which has gone there meanwhile, may have read on already
        self._notes.refresh()
        self._packets.refresh(trimmed=self._events.first_no != first_no)
        self._counts = dict(self._db.all("SELECT name, value FROM counts"))
        for number, no, lost in self._db.all(
            "SELECT id, no, lost FROM loss_fix WHERE id > ? ORDER BY id", (self._last_fix,)
        ):
            self._fixes[no], self._last_fix = lost, number
        try:
            if meta.get("plan_version", 0) != self._plan_version:
                self.plan = self._plans.read(meta["plan_version"], self._db)
                self._plan_version = meta["plan_version"]
            self._removed_lost = int(meta.get("removed_lost", 0))
            if "summary" in meta:
                self.summary = records.summary_from_json(meta["summary"])
        except (ValueError, TypeError) as error:
            raise self._db.damaged(str(error)) from error
        # "finished" was read first: what was committed before it is now known.
        self.finished = bool(meta.get("finished"))
        return len(self)

    def _follow(self) -> None:
        """Go to the file in which the trace goes on, if it does in another."""
        if (path := self._where.path) != self._db.path:
            self._db.move(schema.open_for_reading(path), path)
            self._live, self._version = True, None

    def __len__(self) -> int:
        """Return the number of events recorded, which is the last event's number."""
        return self._events.last_no

    @property
    def first_no(self) -> int:
        """Number of the first event that is still there."""
        return self._events.first_no

    def event(self, no: int) -> Event:
        """Return event ``no``; IndexError where there is none."""
        return next(self.events(no, no))

    def events(self, first: int, last: int) -> Iterator[Event]:
        """Yield the events ``first`` to ``last``, both included; IndexError where one is not there."""
        no = first
        while no <= last:
            position = self._events.position(no)
            block = self._events.blocks[position]
            end = min(last + 1, block.end_no)
            losses = dict(zip(*self._block_losses(position), strict=True))
            for offset in range(no - block.first_no, end - block.first_no):
                yield self._event(position, block.first_no, offset, losses.get(block.first_no + offset, 0))
            no = end

    def rows(self, first: int, last: int) -> Array:
        """Return the raw rows (``layout.event_dtype``) of events ``first`` to ``last``, both included."""
        parts = []
        for position, low, high in self._slices(first, last):
            size = codec.body_bytes(self.header.stack_bytes)
            bodies = self._events.bodies(position)[low * size : high * size]
            heads = self._events.heads(position)[low:high]
            parts.append(codec.join_rows(heads, bodies, self.header.stack_bytes))
        return np.concatenate(parts) if parts else np.empty(0, event_dtype(self.header.stack_bytes))

    def heads(self, first: int, last: int) -> Array:
        """Return the rows without registers and stack (``codec.HEAD``): several times as fast as ``rows``."""
        parts = [self._events.heads(position)[low:high] for position, low, high in self._slices(first, last)]
        return np.concatenate(parts) if parts else np.empty(0, codec.HEAD)

    def chunks(
        self,
        no: int,
        reverse: bool = False,
        packet: int | None = None,
        cpu: int | None = None,
        insns: Sequence[int] | None = None,
    ) -> Iterator[tuple[Array, Array]]:
        """Go through the events after ``no`` (before it with ``reverse``), a block at a time, nearest first.

        Yields (numbers, heads), both ascending and never empty, of the events that are of ``packet``, on
        ``cpu`` and of one of the instructions ``insns``, where these are given. Blocks without them are not
        unpacked.
        """
        return chunks(self._events, no, reverse, packet, cpu, insns)

    def state(self, number: int) -> PacketState | None:
        """Return the packet state a row names in ``state``; None where it was lost."""
        return self._notes.state(number) if number else None

    def packet_bytes(self, number: int) -> tuple[bytes, str, int] | None:
        """Return a state's packet (from its first header), link and skb->len; None where it was lost."""
        return self._notes.packet(number) if number else None

    def netns_of(self, numbers: Array) -> Array:
        """Return the network namespace (inode number, 0: unknown) of each of the given state ids (u32)."""
        return self._notes.netns(numbers)

    def states_at(self, numbers: Array) -> Array:
        """Return the state id of each of the given events, which are all in the trace."""
        states = np.zeros(len(numbers), "<u8")
        firsts = np.array([block.first_no for block in self._events.blocks], "<i8")
        positions = np.searchsorted(firsts, numbers, side="right") - 1
        order = np.argsort(positions, kind="stable")
        borders = np.flatnonzero(np.diff(positions[order])) + 1
        for here in np.split(order, borders) if len(order) else ():
            position = int(positions[here[0]])
            states[here] = self._events.heads(position)["state"][numbers[here] - firsts[position]]
        return states

    def packets(self) -> Sequence[Packet]:
        """Return the packets in the order in which they were heard of."""
        return self._packets

    def packet(self, number: int) -> Packet:
        """Return the packet with that id; KeyError where there is none."""
        return self._packets.by_id(number)

    def packet_span(self, number: int) -> tuple[int, int] | None:
        """Return the numbers of a packet's first and last event; None where it has none."""
        return self._packets.span(number)

    def packet_after(self, number: int, reverse: bool = False) -> tuple[int, int] | None:
        """Return (id, first event) of the packet heard of next after this one (``reverse``: before it).

        Only packets with events count; 0 stands before the first. None where there is no further one.
        """
        return self._packets.neighbour(number, reverse)

    def packet_starts(self, after_row: int) -> list[tuple[int, int, int | None, int | None]]:
        """Return (row, id, parent, first event) of the packets heard of after the one in ``after_row``."""
        return self._packets.starts(after_row)

    def parents(self, after_row: int) -> list[tuple[int, int, int]]:
        """Return (row, id, parent) of the packets with a parent heard of after the one in ``after_row``."""
        return self._packets.parents(after_row)

    def count_in_blocks(self, packets: Array, no: int) -> list[tuple[int, int]]:
        """Return (first number, events of the ascending ``packets``) of each block from event ``no``'s on."""
        if not len(self) or not len(packets):
            return []
        counts = []
        padded = np.append(packets, np.uint32(0))  # what is above the highest finds this: no packet has id 0
        for block in self._events.blocks[self._events.position(max(no, self.first_no)) :]:
            at = packets.searchsorted(block.packets)
            of_them = padded[at] == block.packets
            counts.append((block.first_no, int(block.packet_counts[of_them].sum())))
        return counts

    def packet_start_after(self, no: int, reverse: bool = False) -> int | None:
        """Return the first event of the packet that starts next after event ``no`` (``reverse``: before)."""
        return packet_start(self._events, self._packets, no, reverse)

    def drop_after(self, no: int, reverse: bool = False) -> int | None:
        """Return the last event of the packet dropped next after event ``no`` (``reverse``: before)."""
        if not self.finished:
            return self._packets.nearest("last_no", no, reverse, dropped=True)
        numbers = self.drops()[:, 0]
        numbers = numbers[numbers < no] if reverse else numbers[numbers > no]
        return int(numbers[-1 if reverse else 0]) if len(numbers) else None

    def drops(self) -> Array:
        """Return (last event's number, packet) of each dropped packet that has events, by number (i64)."""
        return self._packets.drops(self.finished)

    def block_packets(self) -> Sequence[Block]:
        """Return the stored blocks, in order; each has ``packets`` and ``packet_counts``."""
        return self._events.blocks

    def blocks(self) -> list[tuple[int, int, int, int]]:
        """Return (first number, number of events, earliest ts, latest ts) of each stored block, in order."""
        return [(block.first_no, block.count, block.t_first, block.t_last) for block in self._events.blocks]

    def blocks_with(self, insns: Iterable[int]) -> Array:
        """Return the first number of each stored block in which any of ``insns`` was executed (i8)."""
        blocks = self._events.blocks
        firsts = (blocks[at].first_no for at in self._events.with_insns(insns).tolist())
        return np.fromiter(firsts, "<i8")

    def hits(self) -> Array:
        """Return how often each instruction of the plan was executed (u64), removed events included."""
        known = self._events.hits()
        hits = np.zeros(max(len(self.plan), len(known)), "<u8")
        hits[: len(known)] = known
        return hits[: max(len(self.plan), 0)] if self.plan else hits

    def counts(self) -> dict[str, int]:
        """Return the totals by name as the capture last gave them."""
        return dict(self._counts)

    def losses(self) -> Array:
        """Return where events are missing: rows of ``losses.LOSS``, ordered by ``no``."""
        parts = self._events.losses()
        return apply_fixes(np.concatenate(parts), self._fixes) if parts else np.empty(0, LOSS)

    def lost(self) -> bool:
        """Return whether any event was lost: a gap, a count called ``lost...``, or in the summary."""
        totals = self.summary.lost.values() if self.summary else ()
        counted = (value for name, value in self._counts.items() if name.startswith("lost"))
        return bool(self._removed_lost or any(totals) or any(counted) or len(self.losses()))

    def lost_during(self, packet: int) -> bool:
        """Return whether events of ``packet`` may be among the lost ones; KeyError where there is none.

        They may where a gap overlaps its life, whatever the CPU (packets change CPUs), and where losses were
        counted that no gap shows (a probe that was missed, the end of the capture).
        """
        life = self._packets.by_id(packet)
        losses = self.losses()
        counted = sum(self.summary.lost.values()) if self.summary else 0
        counted = max(counted, sum(n for name, n in self._counts.items() if name.startswith("lost")))
        if counted > int(losses["lost"].sum()) + self._removed_lost or self._removed_lost:
            return True
        after = losses["ts"] >= life.first_seen
        before = losses["since"] <= life.freed_at if life.freed_at is not None else np.True_
        return bool((after & before).any())

    @property
    def plan_lines(self) -> lines.PlanLines:
        """The plan's lines, worked out once for each plan."""
        if self._lines is None or self._lines.plan is not self.plan:
            self._lines = lines.PlanLines(self.plan)
        return self._lines

    def line_states(self, packet: int | None = None) -> dict[tuple[str, int], LineState]:
        """Return the state of each (file, line) of the plan, for all packets or for one (see lines.py)."""
        if packet is not None:
            return self.plan_lines.line_states(lines.packet_hits(self, packet), self.lost_during(packet))
        return self.plan_lines.line_states(self.hits(), self.lost())

    def line_hits(self, packet: int | None = None) -> dict[tuple[str, int], int]:
        """Return how often each (file, line) of the plan was executed, for all packets or for one."""
        return self.plan_lines.line_hits(self.hits() if packet is None else lines.packet_hits(self, packet))

    def blob(self, name: str) -> bytes | None:
        """Return the bytes stored under ``name``, or None."""
        row = self._db.one("SELECT data FROM blob WHERE name = ?", (name,))
        if row is None:
            return None
        try:
            return codec.decompress(row[0])
        except (ValueError, TypeError) as error:
            raise self._db.damaged(f"{name}: {error}") from error

    def raw_notes(self, block: int = 0, size: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Yield (block, size, notes) behind ``size`` bytes of ``block``; give the last ones to go on."""
        return self._notes.after(block, size)

    def blob_names(self) -> list[str]:
        """Return the names of the stored blobs, sorted."""
        return [name for (name,) in self._db.all("SELECT name FROM blob ORDER BY name")]

    def instruction(self, index: int) -> Instruction:
        """Return an instruction of the plan; one without a name where the plan does not have it."""
        if index < len(self.plan):
            return self.plan[index]
        return Instruction(index=index, address=0, symbol="?", offset=0, probe=ProbeState.ATTACHED)

    def _event(self, position: int, first_no: int, offset: int, lost: int) -> Event:
        head = self._events.heads(position)[offset]
        stack_bytes = self.header.stack_bytes
        size = codec.body_bytes(stack_bytes)
        body = self._events.bodies(position)[offset * size : (offset + 1) * size]
        state, instruction = self.state(int(head["state"])), self.instruction(int(head["insn"]))
        return make_event(first_no + offset, head, body, stack_bytes, state, instruction, lost)

    def _block_losses(self, position: int) -> tuple[list[int], list[int]]:
        losses = apply_fixes(self._events.blocks[position].loss, self._fixes)
        return losses["no"].tolist(), losses["lost"].tolist()

    def _slices(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        no = first
        while no <= last:
            position = self._events.position(no)
            block = self._events.blocks[position]
            end = min(last + 1, block.end_no)
            yield position, no - block.first_no, end - block.first_no
            no = end

    def _read_header(self) -> TraceHeader:
        row = self._db.one("SELECT value FROM meta WHERE key = 'header'")
        if row is None:
            raise self._db.damaged("it was cut off before its header")
        try:
            return records.header_from_json(row[0])
        except (ValueError, TypeError) as error:
            raise self._db.damaged(f"its header: {error}") from error
