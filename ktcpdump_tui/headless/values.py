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
        self._trace = trace
        self._watches = {watch: compile_expression(watch) for watch in watches}
        self._tables: list[VariableTable] | None = None
        self._symbols: dict[int, str] = {}
        self._entered: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {}

    def passes(self, event: Event) -> None:
        """Take note of an event, shown or not. With the first one everything about it is in the trace."""
        if self._tables is None:
            self._tables = self._read()
        instruction = event.instruction
        if instruction.offset in _ENTRY_OFFSETS and event.cfa is not None:
            frame = event.packet_id, event.cfa
            self._entered.pop(frame, None)
            self._entered[frame] = instruction.symbol, event.regs
            if len(self._entered) > _FRAMES:
                del self._entered[next(iter(self._entered))]

    def _read(self) -> list[VariableTable]:
        """Read the tables of the trace, and refuse a watch that has no meaning in them."""
        trace = self._trace
        names = [name for name in trace.blob_names() if name.partition(":")[0] == blobs.VARIABLES]
        tables = [VariableTable.from_bytes(data) for name in names if (data := trace.blob(name)) is not None]
        share_types(tables)
        self._symbols = {one.address: one.ksym for one in trace.plan}
        if tables:
            self._watches = {watch: compile_expression(watch, tables[0].types) for watch in self._watches}
            for expression in self._watches.values():
                expression.check(tables)
        return tables

    def watch(self, event: Event, expression: str) -> Watched:
        """Evaluate a watch expression."""
        table = self._table(event)
        if table is None and self._tables:
            table = self._tables[0]
        return self._watches[expression].evaluate(event, table, self._entry_registers, self._symbols.get)

    def locals(self, event: Event) -> dict[str, Any]:
        """Return the variables in scope; of several of one name the innermost."""
        table = self._table(event)
        found: dict[str, Any] = {}
        if table is not None:
            for variable in variables(event, table, self._entry_registers, self._symbols.get):
                found.setdefault(variable.name, variable.value)
        return found

    def _table(self, event: Event) -> VariableTable | None:
        address = event.instruction.address
        return next((table for table in self._tables or () if table.at(address) is not None), None)

    def _entry_registers(self, event: Event) -> Sequence[int] | None:
        """Return the registers when the event's frame was entered, None where that was not seen."""
        symbol, registers = self._entered.get((event.packet_id, event.cfa or 0), ("", ()))
        # The frame may be that of another function by now.
        return registers if symbol == event.instruction.symbol.partition(".cold")[0] else None
