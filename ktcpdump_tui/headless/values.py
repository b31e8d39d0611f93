"""Variables and watch expressions at the events of a trace, as they go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.debuginfo.expressions import compile_expression
from ktcpdump_tui.debuginfo.variables import VariableTable, variables
from ktcpdump_tui.debuginfo.variables.table import share_types
from ktcpdump_tui.trace import blobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.debuginfo.expressions import Watched
    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

#: A function's first instruction, and the one after a 4-byte endbr64 (IBT).
_ENTRY_OFFSETS: Final = (0, 4)
#: Frames whose entry is remembered: more are never open at once.
_FRAMES: Final = 4096


class EventValues:
    """What a trace knows of variables at its events (``output.Values``).

    Events are given in order: the registers a frame was entered with are remembered, because variables may
    be described by them (DW_OP_entry_value). UsageError where a watch has no meaning anywhere in the trace.
    """

    def __init__(self, trace: Trace, watches: Sequence[str]) -> None:
        names = [name for name in trace.blob_names() if name.partition(":")[0] == blobs.VARIABLES]
        data = [found for name in names if (found := trace.blob(name)) is not None]
        self._tables = [VariableTable.from_bytes(each) for each in data]
        share_types(self._tables)
        self._symbols = {one.address: one.ksym for one in trace.plan}
        self._entered: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {}
        types = self._tables[0].types if self._tables else None
        self._watches = {watch: compile_expression(watch, types) for watch in watches}
        for expression in self._watches.values():
            if self._tables:
                expression.check(self._tables)

    def watch(self, event: Event, expression: str) -> Watched:
        """Evaluate a watch expression."""
        table = self._table(event) or (self._tables[0] if self._tables else None)
        return self._watches[expression].evaluate(event, table, self._entry_registers, self._symbols.get)

    def locals(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope; of several of one name the innermost."""
        table = self._table(event)
        found: dict[str, Any] = {}
        if table is not None:
            for variable in variables(event, table, self._entry_registers, self._symbols.get):
                found.setdefault(variable.name, variable.value)
        return found

    def passes(self, event: Event) -> None:
        """Take note of an event, shown or not."""
        instruction = event.instruction
        if instruction.offset in _ENTRY_OFFSETS and event.cfa is not None:
            frame = event.packet_id, event.cfa
            self._entered.pop(frame, None)
            self._entered[frame] = instruction.symbol, event.regs
            if len(self._entered) > _FRAMES:
                del self._entered[next(iter(self._entered))]

    def _table(self, event: Event) -> VariableTable | None:
        address = event.instruction.address
        return next((table for table in self._tables if table.at(address) is not None), None)

    def _entry_registers(self, event: Event) -> Sequence[int] | None:
        """Return the registers when the event's frame was entered, None where that was not seen."""
        symbol, registers = self._entered.get((event.packet_id, event.cfa or 0), ("", ()))
        # The frame may be that of another function by now.
        return registers if symbol == event.instruction.symbol.partition(".cold")[0] else None
