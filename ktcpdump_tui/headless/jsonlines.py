"""One JSON object per line: a header, the events, a summary (CLI.md; every key always present)."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ktcpdump_tui import arch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.headless.output import Values
    from ktcpdump_tui.model import Event, Instruction, Summary, TraceHeader
    from ktcpdump_tui.trace.trace import Trace


class JsonLines:
    """Turns a trace into lines. With ``local_variables`` and ``watches`` events have two more keys.

    With ``trace`` the summary has ``lines``: for each source line of the plan its ``file``, ``line``,
    ``state`` (model.LineState) and ``hits``, over all packets of the trace.
    """

    def __init__(
        self,
        watches: Sequence[str] = (),
        local_variables: bool = False,
        values: Values | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace
        self._watches = tuple(watches)
        self._locals = local_variables
        self._values = values
        #: By index in the plan, with the instruction itself: a plan may be replaced by a better one.
        self._instructions: dict[int, tuple[Instruction, dict[str, Any]]] = {}

    def header(self, header: TraceHeader) -> str:
        """Return the first line."""
        return _dump({"type": "header", **asdict(header)})

    def event(self, event: Event) -> str:
        """Return an event's line: addresses and registers are hex strings, ``packet`` is hex."""
        instruction = event.instruction
        known, static = self._instructions.get(instruction.index, (None, {}))
        if known is not instruction:
            static = _instruction(instruction)
            self._instructions[instruction.index] = instruction, static
        row: dict[str, Any] = {
            "no": event.no,
            "ts": event.ts,
            "cpu": event.cpu,
            "pid": event.pid,
            "comm": event.comm,
            "skb": hex(event.skb),
            "len": event.len,
            "dev": event.dev,
            "netns": event.netns,
            **static,
            "lost_before": event.lost_before,
            "found_by": event.found_by.value,
            "regs": {name: hex(value) for name, value in zip(arch.REGISTERS, event.regs, strict=False)},
            "packet": event.packet.hex() or None,
        }
        if self._values is not None:
            self._values.passes(event)
            if instruction.call and instruction.call.startswith("*"):
                row["call"] = self._values.call(event)
        if self._locals:
            row["locals"] = self._values.locals(event) if self._values else {}
        if self._watches:
            row["watch"] = {
                watch: self._values.watch(event, watch).value if self._values else None
                for watch in self._watches
            }
        return _dump(row)

    def summary(self, summary: Summary) -> str:
        """Return the last line."""
        row = {"type": "summary", **asdict(summary)}
        if self._trace is not None:
            hits = self._trace.line_hits()
            row["lines"] = [
                {"file": file, "line": line, "state": state.value, "hits": hits.get((file, line), 0)}
                for (file, line), state in sorted(self._trace.line_states().items())
            ]
        return _dump(row)


def _instruction(instruction: Instruction) -> dict[str, Any]:
    """Return the keys that are the same whenever an instruction is executed."""
    source = instruction.source
    return {
        "pc": hex(instruction.address),
        "symbol": instruction.symbol,
        "offset": instruction.offset,
        "module": instruction.module,
        "file": source.file if source else None,
        "line": source.line if source else None,
        "column": source.column if source else None,
        "inlined_by": [asdict(frame) for frame in instruction.inlined_by],
        "call": instruction.call,
    }


def _dump(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
