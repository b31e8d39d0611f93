"""What a trace itself knows of variables and types: the standard ``value_fields.Values``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import Expression, Watched, compile_expression
from ktcpdump_tui.debuginfo.variables import Variable, VariableTable, variables
from ktcpdump_tui.debuginfo.variables.places import InMemory
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.debuginfo.variables.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

#: Blobs with a VariableTable: this name, or this and a colon and a module's name.
BLOB: Final = "variables"

#: A function's entry is its first instruction, or the one behind a 4-byte endbr64 (IBT).
_ENTRY_OFFSETS: Final = (0, 4)


class TraceValues:
    """Reads the tables in a trace. Used by one thread, the one ``trace`` was opened in."""

    def __init__(self, trace: Trace, tables: Sequence[VariableTable]) -> None:
        self._trace = trace
        self._tables = tables
        self._expressions: dict[str, Expression] = {}
        self._symbols = {instruction.address: instruction.ksym for instruction in trace.plan}

    @classmethod
    def of(cls, trace: Trace) -> Self | None:
        """Return the values of a trace, None where it holds no tables; UserError where they are damaged."""
        names = [name for name in trace.blob_names() if name.partition(":")[0] == BLOB]
        blobs = [data for name in names if (data := trace.blob(name)) is not None]
        return cls(trace, [VariableTable.from_bytes(data) for data in blobs]) if blobs else None

    def variables(self, event: Event) -> Sequence[Variable]:
        """Return what is in scope, innermost scope first."""
        table = self._table(event)
        if table is None:
            return ()
        return variables(event, table, self._entry_registers, self._symbols.get)

    def skb(self, event: Event) -> Variable | None:
        """Return the packet's struct sk_buff as captured, None where its type is not known."""
        for table in self._tables:
            kind = table.types.find(Kind.STRUCT, "sk_buff")
            if kind is not None and kind.complete:
                value = Value(kind, InMemory(event.memory, event.skb), event.memory, "skb")
                return Variable("sk_buff", "", False, False, value, self._symbols.get)
        return None

    def evaluate(self, text: str, event: Event) -> Watched:
        """Return a C expression's value at an event; UserError where it is no expression."""
        expression = self._expressions.get(text)
        if expression is None:
            expression = self._expressions[text] = compile_expression(text)
        table = self._table(event) or self._tables[0]
        return expression.evaluate(event, table, self._entry_registers, self._symbols.get)

    def _table(self, event: Event) -> VariableTable | None:
        address = event.instruction.address
        return next((table for table in self._tables if table.at(address) is not None), None)

    def _entry_registers(self, event: Event) -> Sequence[int] | None:
        """Return the registers when the function of an event was entered, None where that was not seen."""
        symbol, module = event.instruction.symbol, event.instruction.module
        entries = [
            instruction.index
            for instruction in self._trace.plan
            if (instruction.symbol, instruction.module) == (symbol, module)
            and instruction.offset in _ENTRY_OFFSETS
        ]
        chunks = self._trace.chunks(event.no, True, packet=event.packet_id, insns=entries)
        for numbers, heads in chunks if entries else ():
            same = numbers[heads["cfa"] == (event.cfa or 0)]
            if len(same):
                return self._trace.event(int(same[-1])).regs
        return None
