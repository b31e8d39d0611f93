"""Events as a Parquet file, so that traces of many machines can be queried together.

One row per event. The columns are the keys of ``--json`` (CLI.md) with the types below, what says whose event
it is (``host``, ``release``, ``build_id``), its wall-clock time, and how its packet ended. All columns are in
every file, whatever was captured, so that files can be read as one table::

    SELECT host, drop_reason, count(DISTINCT packet_id) FROM 'traces/*.parquet' GROUP BY ALL

=====================  ==================================================================================
host release build_id  the machine's name, kernel release and kernel build-id (hex)
no                     number of the event in its trace
time                   when it happened: UTC, to the nanosecond
ts                     the same as ns of CLOCK_BOOTTIME
cpu pid comm           where, in which task
packet_id parent_id    the packet, and the one it was cloned, copied or segmented from
skb len dev netns      address of the skb, skb->len in bytes, device, inode number of the network namespace
pc symbol offset       the instruction: address, symbol, offset in it in bytes
module file line       its module (null: the kernel), its source line, and the inline chain, innermost
column inlined_by      function first and the real one last
call                   what it calls
lost_before found_by   events lost before it on its CPU; argument, frame or caller
regs                   the registers before the instruction, a field each
packet link            bytes of the packet from its first header, which is ``ethernet`` or ``raw`` (network)
fate drop_reason       how the packet ended, null where that was not known when the row was written: for
drop_symbol drop_line  packets still on their way, and some of a capture that is written while it goes on
locals watch           variables in scope (--locals) and watch expressions (--watch) as text by name
=====================  ==================================================================================
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet

from ktcpdump_tui import arch
from ktcpdump_tui.trace.outfile import FileWriter, reported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.export.formats import Showing
    from ktcpdump_tui.model import Event, Instruction, Packet, Summary
    from ktcpdump_tui.trace.trace import Trace

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_FRAME: Final = pa.struct([("function", pa.string()), ("file", pa.string()), ("line", pa.uint32())])

SCHEMA: Final = pa.schema(
    [
        ("host", _TEXT), ("release", _TEXT), ("build_id", _TEXT),
        ("no", pa.uint64()), ("time", pa.timestamp("ns", "UTC")), ("ts", pa.uint64()),
        ("cpu", pa.uint32()), ("pid", pa.uint32()), ("comm", _TEXT),
        ("packet_id", pa.uint32()), ("parent_id", pa.uint32()),
        ("skb", pa.uint64()), ("len", pa.uint32()), ("dev", _TEXT), ("netns", pa.uint32()),
        ("pc", pa.uint64()), ("symbol", _TEXT), ("offset", pa.uint32()), ("module", _TEXT),
        ("file", _TEXT), ("line", pa.uint32()), ("column", pa.uint32()), ("inlined_by", pa.list_(_FRAME)),
        ("call", _TEXT), ("lost_before", pa.uint64()), ("found_by", _TEXT),
        ("regs", pa.struct([(name, pa.uint64()) for name in arch.REGISTERS])),
        ("packet", pa.binary()), ("link", _TEXT),
        ("fate", _TEXT), ("drop_reason", _TEXT), ("drop_symbol", _TEXT), ("drop_line", _TEXT),
        ("locals", pa.map_(pa.string(), pa.string())), ("watch", pa.map_(pa.string(), pa.string())),
    ]
)  # fmt: skip

#: Rows of one row group: what is in memory at once (about 1 kB each), and what a query can skip.
ROW_GROUP: Final = 16384


class ParquetOutput(FileWriter):
    """Writes Parquet to a binary stream, a row group at a time. The file can be read once it is ended."""

    def __init__(self, stream: BinaryIO, name: str, close: bool, showing: Showing) -> None:
        super().__init__(stream, name, close)
        self._showing = showing
        self._rows: list[dict[str, Any]] = []
        self._writer: parquet.ParquetWriter | None = None
        #: By index in the plan, with the instruction itself: a plan may be replaced by a better one.
        self._instructions: dict[int, tuple[Instruction, dict[str, Any]]] = {}

    def begin(self, trace: Trace) -> None:
        """Write what stands before the first row group."""
        self._trace = trace
        header = trace.header
        self._machine = {
            "host": header.hostname or None,
            "release": header.release,
            "build_id": header.build_id,
        }
        with reported(self._name):
            self._writer = parquet.ParquetWriter(self._stream, SCHEMA, compression="zstd")

    def events(self, events: Sequence[Event]) -> None:
        """Take events; a row group is written when it is full."""
        packets = {number: self._packet(number) for number in {event.packet_id for event in events}}
        self._rows += [self._row(event, packets[event.packet_id]) for event in events]
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def end(self, summary: Summary | None) -> None:
        """Write the rest and what makes the file whole."""
        if self._writer is not None:
            self._flush()
            writer, self._writer = self._writer, None
            with reported(self._name):
                writer.close()
        super().end(summary)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows and self._writer is not None:
            with reported(self._name):
                self._writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))

    def _packet(self, number: int) -> Packet | None:
        try:
            return self._trace.packet(number)
        except KeyError:
            return None

    def _row(self, event: Event, packet: Packet | None) -> dict[str, Any]:
        instruction, values = event.instruction, self._showing.values
        known, static = self._instructions.get(instruction.index, (None, {}))
        if known is not instruction:
            static = _instruction(instruction)
            self._instructions[instruction.index] = instruction, static
        row = {
            **self._machine,
            **static,
            "no": event.no,
            "time": event.ts + self._trace.header.clock_offset,
            "ts": event.ts,
            "cpu": event.cpu,
            "pid": event.pid,
            "comm": event.comm,
            "packet_id": event.packet_id,
            "skb": event.skb,
            "len": event.len,
            "dev": event.dev,
            "netns": event.netns,
            "lost_before": event.lost_before,
            "found_by": event.found_by.value,
            "regs": dict(zip(arch.REGISTERS, event.regs, strict=False)) or None,
            "packet": event.packet or None,
            "link": event.link,
        }
        if packet is not None:
            row |= {
                "parent_id": packet.parent,
                "fate": packet.fate,
                "drop_reason": packet.drop_reason,
                "drop_symbol": packet.drop_symbol,
                "drop_line": packet.drop_line,
            }
        if values is not None:
            values.passes(event)
            row["call"] = values.call(event) or row["call"]
            if self._showing.local_variables:
                row["locals"] = [(name, _text(value)) for name, value in values.locals(event).items()]
            row["watch"] = [
                (watch, _text(values.watch(event, watch).value)) for watch in self._showing.watches
            ]
        return row


def _instruction(instruction: Instruction) -> dict[str, Any]:
    """Return the columns that are the same whenever an instruction is executed."""
    source = instruction.source
    return {
        "pc": instruction.address,
        "symbol": instruction.symbol,
        "offset": instruction.offset,
        "module": instruction.module,
        "file": source.file if source else None,
        "line": source.line if source else None,
        "column": source.column if source else None,
        "inlined_by": [asdict(frame) for frame in instruction.inlined_by],
        "call": instruction.call,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
