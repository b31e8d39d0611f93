"""Variables, watch expressions, symbols and call targets at events, from what the trace carries itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.calls import callee
from ktcpdump_tui.debuginfo.expressions import Expression, Watched, compile_expression
from ktcpdump_tui.debuginfo.expressions.environment import EventEnvironment
from ktcpdump_tui.debuginfo.variables import Variable, VariableTable, variables
from ktcpdump_tui.debuginfo.variables.places import InMemory
from ktcpdump_tui.debuginfo.variables.table import share_types
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.debuginfo.variables.values import Value
from ktcpdump_tui.kernel.names import AddressNames
from ktcpdump_tui.model import Flow
from ktcpdump_tui.trace import blobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ktcpdump_tui.model import Event, Instruction
    from ktcpdump_tui.trace.trace import Trace

#: A function's entry is its first instruction, or the one behind a 4-byte endbr64 (IBT).
_ENTRY_OFFSETS: Final = (0, 4)
#: Frames whose entry ``passes`` remembers: more are never open at once.
_FRAMES: Final = 4096


class TraceValues:
    """What a trace knows of variables and addresses. Used by one thread, the one ``trace`` was opened in.

    With the first event everything it needs is in the trace. Raises UserError where that is damaged.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._plan: Sequence[Instruction] = ()
        self._tables: list[VariableTable] = []
        self._expressions: dict[str, Expression] = {}
        self._entered: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {}
        self._names: AddressNames | None = None
        self._last: tuple[Event, list[VariableTable], EventEnvironment] | None = None
        self._planned: dict[int, str] | None = None

    @classmethod
    def of(cls, trace: Trace) -> Self | None:
        """Return the values of a trace, None where it knows of no variable and no type."""
        values = cls(trace)
        return values if values.tables else None

    @property
    def tables(self) -> list[VariableTable]:
        """The trace's tables; read again when the plan has become another (functions were added)."""
        trace = self._trace
        if self._plan is not trace.plan or not self._tables:
            self._plan = trace.plan
            names = [name for name in trace.blob_names() if name.partition(":")[0] == blobs.VARIABLES]
            self._tables = [VariableTable.from_bytes(data) for name in names if (data := trace.blob(name))]
            share_types(self._tables)
        return self._tables

    # ---- variables

    def variables(self, event: Event) -> Sequence[Variable]:
        """Return what is in scope, innermost scope first."""
        table = self._table(event)
        return variables(event, table, self.entry_registers, self.symbolise) if table else ()

    def skb(self, event: Event) -> Variable | None:
        """Return the packet's struct sk_buff as captured, None where its type is not known."""
        for table in self.tables:
            kind = table.types.find(Kind.STRUCT, "sk_buff")
            if kind is not None and kind.complete:
                value = Value(kind, InMemory(event.memory, event.skb), event.memory, "skb")
                return Variable("sk_buff", "", False, False, value, self.symbolise)
        return None

    def expression(self, text: str) -> Expression:
        """Return a C expression, parsed once. Raises UsageError where it is none."""
        if text not in self._expressions:
            types = self.tables[0].types if self.tables else None
            self._expressions[text] = compile_expression(text, types)
        return self._expressions[text]

    def evaluate(self, text: str, event: Event) -> Watched:
        """Return a C expression's value at an event. Raises UsageError where it is no expression."""
        return self.expression(text).evaluate_in(self._environment(event), self.symbolise)

    # ---- addresses

    def symbolise(self, address: int) -> str | None:
        """Return ``symbol`` or ``symbol+OFFSET`` of an address of code or data; None where it has no name.

        Older traces, and those made from a JSON stream, name the instructions of the plan only.
        """
        if self._names is None:
            data = self._trace.blob(blobs.KALLSYMS)
            self._names = AddressNames.unpack(data) if data else AddressNames.nothing()
        if len(self._names):
            return self._names.symbolise(address)
        if self._planned is None:
            self._planned = {one.address: one.ksym if one.offset else one.symbol for one in self._trace.plan}
        return self._planned.get(address)

    def call(self, event: Event) -> str | None:
        """Return what the call, or the jump out of the function, at ``event`` goes to; None for others.

        Where it goes through a register, a retpoline thunk or memory, the function's name if the event tells
        it, else ``*rax`` and the like, as the instruction has it.
        """
        instruction = event.instruction
        if instruction.call is None or instruction.flow not in (Flow.CALL, Flow.JUMP, Flow.BRANCH):
            return None
        if not instruction.call.startswith("*"):
            return instruction.call
        address = callee(event)
        return (self.symbolise(address) if address is not None else None) or instruction.call

    # ---- the entry of a frame

    def passes(self, event: Event) -> None:
        """Take note of an event of a series that is gone through in order: a frame's entry is then known."""
        instruction = event.instruction
        if instruction.offset in _ENTRY_OFFSETS and event.cfa is not None:
            frame = event.packet_id, event.cfa
            self._entered.pop(frame, None)
            self._entered[frame] = instruction.symbol, event.regs
            if len(self._entered) > _FRAMES:
                del self._entered[next(iter(self._entered))]

    def entry_registers(self, event: Event) -> Sequence[int] | None:
        """Return the registers when the function of an event was entered, None where that was not seen."""
        symbol, module = event.instruction.symbol.partition(".cold")[0], event.instruction.module
        entered = self._entered.get((event.packet_id, event.cfa or 0))
        if entered is not None and entered[0] == symbol:
            return entered[1]
        entries = [
            instruction.index
            for instruction in self._trace.plan
            if (instruction.symbol, instruction.module) == (symbol, module)
            and instruction.offset in _ENTRY_OFFSETS
        ]
        if not entries or event.cfa is None:
            return None
        for numbers, heads in self._trace.chunks(event.no + 1, True, packet=event.packet_id, insns=entries):
            same = numbers[heads["cfa"] == event.cfa]
            if len(same):
                return self._trace.event(int(same[-1])).regs
        return None

    def _environment(self, event: Event) -> EventEnvironment:
        """Return what names mean at an event; kept for the next expression at the same one."""
        tables = self.tables
        last = self._last
        if last is None or last[0] is not event or last[1] is not tables:
            table = self._table(event) or (tables[0] if tables else None)
            self._last = last = event, tables, EventEnvironment(event, table, self.entry_registers)
        return last[2]

    def _table(self, event: Event) -> VariableTable | None:
        address = event.instruction.address
        return next((table for table in self.tables if table.at(address) is not None), None)
