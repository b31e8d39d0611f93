"""A trace made of the JSON lines another ktcpdump-tui printed (CLI.md), while they are still coming.

The lines say less than a trace: the plan is made of the instructions that were executed, without their bytes,
and there is no stack. What stepping needs is worked out again: the frame of an event from the stack pointer
at its function's entry, packets from the skb's address (json_guess.py).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from ktcpdump_tui import arch
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Flow, InlineFrame, Instruction, SourceLine, TraceHeader
from ktcpdump_tui.trace import records
from ktcpdump_tui.trace.json_guess import CallStacks, PacketIds, link_of
from ktcpdump_tui.trace.layout import FOUND_BY, RegionLabel, event_dtype
from ktcpdump_tui.trace.notes import pack_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.model import Summary
    from ktcpdump_tui.trace.sink import TraceSink

#: The longest line that is read, in bytes: an event with the longest packet and many variables has far less.
MAX_LINE: Final = 1 << 24

#: Bytes read at once at most.
_CHUNK: Final = 1 << 18

#: A region's size is a u16 (layout.REGION).
_MOST_BYTES: Final = 0xFFFF

_RSP: Final = arch.REGISTERS.index("rsp")
_REMEDY: Final = "give it the output of: ktcpdump-tui --json"


def pump_json(stream: BinaryIO, sink: TraceSink, source: str = "standard input") -> Summary | None:
    """Feed ``sink`` from JSON lines until they end, and close it; what was read is flushed before waiting.

    Returns the summary; None where the lines end without one (``head`` cut them off). A missing header is
    made up. UserError with the line's number where a line is not what it should be; the sink then keeps what
    came before.
    """
    reader = _Reader(sink)
    number = 0
    try:
        for lines in _chunks(stream, source):
            for line in lines:
                number += 1
                if line.strip():
                    reader.take(line)
            reader.flush()
    except ValueError as error:
        reader.flush()
        sink.close(None)
        raise UserError(f"line {number} of {source} is no line of a trace: {error}", _REMEDY) from error
    except BaseException:
        sink.close(None)
        raise
    reader.start()
    sink.close(reader.summary)
    return reader.summary


def looks_like_json(start: bytes) -> bool:
    """Return whether a stream that begins with ``start`` is JSON lines (and not frames, see stream.py)."""
    return start.lstrip()[:1] in (b"{", b"")


class _Reader:
    """Turns lines into rows, notes and a plan; ValueError where a line is wrong."""

    def __init__(self, sink: TraceSink) -> None:
        self._sink = sink
        self._started = False
        self._plan: list[Instruction] = []
        self._insns: dict[tuple[Any, ...], int] = {}
        self._written = 0  # instructions of the plan that the sink has
        self._rows: list[tuple[Any, ...]] = []
        self._notes: list[bytes] = []
        self._seqs: dict[int, int] = {}
        self._states: dict[int, tuple[tuple[Any, ...], int]] = {}
        self._state = 0
        self._packets = PacketIds()
        self._stacks = CallStacks()
        self.summary: Summary | None = None

    def take(self, line: bytes) -> None:
        """Take one line."""
        values = records.loads(line)
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        kind = values.get("type", "event")
        if kind == "header":
            self.start(records.header_from_json(line))
        elif kind == "summary":
            self.summary = records.summary_from_json(line)
        elif kind == "event":
            self.start()
            self._event(values)

    def start(self, header: TraceHeader | None = None) -> None:
        """Write the header, if that is still to be done; without one, one that knows nothing."""
        if not self._started:
            self._started = True
            if header is None:
                header = TraceHeader("", "", arch.MACHINE, None, (), 0, 0, 0)
            self._sink.write_header(dataclasses.replace(header, stack_bytes=0))

    def flush(self) -> None:
        """Give the sink everything taken so far."""
        if not self._started:
            return
        if len(self._plan) > self._written:
            self._sink.write_plan(self._plan)
            self._written = len(self._plan)
        self._sink.write_notes(b"".join(self._notes))
        self._sink.write_events(np.array(self._rows, event_dtype(0)))
        self._rows, self._notes = [], []
        self._sink.flush()

    def _event(self, values: dict[str, Any]) -> None:
        insn = self._instruction(values)
        regs = values.get("regs") or {}
        if not isinstance(regs, dict):
            raise ValueError("regs is no object")
        registers = tuple(_hex(regs.get(name, "0x0"), name) for name in arch.REGISTERS)
        packet = bytes.fromhex(_text(values, "packet") or "")[:_MOST_BYTES]
        cpu, skb = _number(values, "cpu", 16), _hex(values.get("skb") or "0x0", "skb")
        ts = _number(values, "ts")
        self._seqs[cpu] = self._seqs.get(cpu, 0) + 1 + _number(values, "lost_before", 32)
        instruction = self._plan[insn]
        number = _number(values, "packet_id", 32)
        if not number:
            number = self._packets.of(skb, instruction.address, ts, packet)
        cfa = values.get("cfa")
        frame = _hex(cfa, "cfa") if cfa else self._stacks.cfa(instruction, registers[_RSP])
        found_by = values.get("found_by")
        if found_by not in FOUND_BY:
            raise ValueError(f"found_by is {found_by!r}")
        self._rows.append((
            ts, self._seqs[cpu], self._state_of(values, number, skb, ts, packet), skb, frame, insn, number,
            _number(values, "pid", 32), cpu, FOUND_BY.index(found_by), 0,
            (_text(values, "comm") or "").encode()[:15], registers, (),
        ))  # fmt: skip

    def _state_of(self, values: dict[str, Any], number: int, skb: int, ts: int, packet: bytes) -> int:
        """Return the id of the state the line describes; a new one only where it differs from the last."""
        length = _number(values, "len", 32) if values.get("len") is not None else None
        dev, netns = _text(values, "dev"), _number(values, "netns", 32)
        shown = (length, dev, netns, packet)
        if length is None and dev is None and not packet:
            return 0
        last = self._states.get(number)
        if last is not None and last[0] == shown:
            return last[1]
        self._state += 1
        self._states[number] = shown, self._state
        regions = [(RegionLabel.PACKET, 0, packet)] if packet else []
        self._notes.append(
            pack_state(self._state, ts, number, skb, length or 0, netns, dev or "", link_of(packet), regions)
        )
        return self._state

    def _instruction(self, values: dict[str, Any]) -> int:
        chain = values.get("inlined_by") or []
        address = _hex(values.get("pc"), "pc")
        key = (address, values.get("line"), values.get("column"), len(chain))
        known = self._insns.get(key)
        if known is not None:
            return known
        file, call = _text(values, "file"), _text(values, "call")
        try:
            frames = tuple(InlineFrame(str(f["function"]), str(f["file"]), int(f["line"])) for f in chain)
        except (TypeError, KeyError) as error:
            raise ValueError("inlined_by is not a list of {function, file, line}") from error
        line, column = _number(values, "line", 32), _number(values, "column", 32)
        index = self._insns[key] = len(self._plan)
        self._plan.append(
            Instruction(
                index=index,
                address=address,
                symbol=_text(values, "symbol") or "?",
                offset=_number(values, "offset", 32),
                module=_text(values, "module"),
                flow=Flow.CALL if call else Flow.NEXT,
                call=call,
                source=SourceLine(file, line, column) if file is not None else None,
                inlined_by=frames,
            )
        )
        return index


def _chunks(stream: BinaryIO, source: str) -> Iterator[list[bytes]]:
    """Yield the whole lines of each piece that could be read without waiting for more."""
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while piece := read(_CHUNK):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE:
            raise UserError(f"{source} has a line of more than {MAX_LINE >> 20} MB", _REMEDY)
        yield lines
    yield [rest] if rest else []


def _number(values: dict[str, Any], key: str, bits: int = 64) -> int:
    value = values.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
        raise ValueError(f"{key} is {value!r}")
    return value


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}")
    return value


def _hex(value: object, key: str) -> int:
    try:
        number = int(str(value), 16)
    except ValueError as error:
        raise ValueError(f"{key} is {value!r}") from error
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{key} is {value!r}")
    return number
