"""The variables in scope at an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktcpdump_tui import arch
from ktcpdump_tui.debuginfo.variables import formatting
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.machine import FrameState, compute, locate
from ktcpdump_tui.debuginfo.variables.places import OPTIMISED_OUT, Missing, Nowhere, Why
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.debuginfo.variables.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui import model
    from ktcpdump_tui.debuginfo.variables.operations import Operations
    from ktcpdump_tui.debuginfo.variables.places import Place
    from ktcpdump_tui.debuginfo.variables.table import Found, VariableTable

    #: Returns the registers (as Event.regs) at the entry of the frame an event is in, None if not traced.
    EntryRegisters = Callable[[model.Event], Sequence[int] | None]
    #: Returns ``symbol+offset`` of an address, None where there is no symbol.
    Symbolise = Callable[[int], str | None]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, a field of one, or what a pointer points to, at one event.

    ``function`` is the function it is declared in, ``inlined`` whether that one is inlined here.
    """

    name: str
    function: str
    inlined: bool
    is_parameter: bool
    raw: Value
    symbolise: Symbolise | None = None

    @property
    def type(self) -> str:
        """The type as C writes it."""
        return self.raw.type.spelling()

    @property
    def text(self) -> str:
        """The value for people; ``<optimised out>`` or ``<not captured>`` where there is none."""
        return formatting.text(self.raw, self.symbolise)

    @property
    def value(self) -> int | float | str | None:
        """The value for programs (formatting.meaning); None where it is not known."""
        return formatting.meaning(self.raw)

    @property
    def missing(self) -> Missing | None:
        """Why the value is not known, None where it is."""
        return self.raw.missing()

    @property
    def address(self) -> int | None:
        """The address of the variable, None where it is in no memory."""
        return self.raw.address

    @property
    def expandable(self) -> bool:
        """Whether there may be something below: fields, elements, what a pointer points to."""
        kind = self.raw.scalar
        if kind.is_structure:
            return bool(kind.members)
        if kind.kind is Kind.ARRAY:
            return bool(kind.count)
        if kind.kind is not Kind.POINTER:
            return False
        return kind.target.stripped().kind not in (Kind.VOID, Kind.FUNCTION, Kind.UNKNOWN)

    def children(self) -> list[Variable]:
        """Return the fields, the elements, or what the pointer points to (a structure's fields)."""
        value = self.raw
        kind = value.scalar
        if not self.expandable:
            return []
        if kind.is_structure:
            return [self._child(one.name or "<unnamed>", one) for one in value.members()]
        if kind.kind is Kind.ARRAY:
            return [self._child(f"[{number}]", one) for number, one in enumerate(value.elements())]
        target = value.dereference()
        if target.scalar.is_structure and target.scalar.members:
            return [self._child(one.name or "<unnamed>", one) for one in target.members()]
        return [self._child(f"*{self.name}", target)]

    def _child(self, name: str, value: Value) -> Variable:
        return Variable(name, self.function, self.inlined, False, value, self.symbolise)


def variables(
    event: model.Event,
    table: VariableTable,
    entry_registers: EntryRegisters | None = None,
    symbolise: Symbolise | None = None,
) -> list[Variable]:
    """Return every parameter and local in scope at ``event``, those of the innermost scope first.

    Empty where the table does not know the event's function. A name may occur several times: the first hides
    the others. ``entry_registers`` serves values that only the registers at the function's entry tell.
    """
    found = table.at(event.instruction.address)
    if found is None:
        return []
    frame = frame_state(event, table, found, entry_registers)
    return [
        Variable(
            one.name,
            one.function,
            one.inlined,
            one.parameter,
            Value(one.type, place_of(one.operations, frame), event.memory, one.name),
            symbolise,
        )
        for one in found.scoped
    ]


def frame_state(
    event: model.Event, table: VariableTable, found: Found, entry_registers: EntryRegisters | None
) -> FrameState:
    """Return the machine state that location expressions see at ``event``."""

    def entry() -> Sequence[int | None] | None:
        if event.instruction.address == found.function.low + found.slide:
            return event.regs
        registers = None if entry_registers is None else entry_registers(event)
        return _from_call_site(event, table) if registers is None else registers

    return FrameState(
        address=event.instruction.address,
        registers=event.regs,
        memory=event.memory,
        cfa=_frame_address(event),
        frame_base=found.frame_base,
        slide=found.slide,
        objects=table,
        entry=entry,
    )


def _from_call_site(event: model.Event, table: VariableTable) -> Sequence[int | None] | None:
    """Return the registers that the caller passed constants in, where the caller is in the table."""
    frame = _frame_address(event)
    # System V ABI, figure 3.3: the return address is right below the frame's address.
    data = None if frame is None else event.memory.read(frame - 8, 8)
    passed = table.passed(int.from_bytes(data, "little")) if data else {}
    if not passed:
        return None
    found = table.at(event.instruction.address)
    nowhere = FrameState(
        event.instruction.address,
        (),
        _NothingKept(),
        None,
        None,
        found.slide if found else 0,
        table,
        lambda: None,
    )
    registers: list[int | None] = [None] * (arch.RETURN_ADDRESS + 1)
    for number, operations in passed.items():
        value = compute(operations, nowhere)
        if number < len(registers) and isinstance(value, int):
            registers[number] = value
    return registers


class _NothingKept:
    """The memory at a call: constants need none."""

    def read(self, address: int, size: int) -> bytes | None:  # noqa: ARG002
        return None


def place_of(operations: Operations | None, frame: FrameState) -> Place:
    """Return where a variable is; an expression that makes no sense counts as a value not kept."""
    if operations is None:
        return Nowhere(OPTIMISED_OUT)
    try:
        return locate(operations, frame)
    except BadDwarfError as error:
        return Nowhere(Missing(Why.OPTIMISED_OUT, str(error)))


def _frame_address(event: model.Event) -> int | None:
    """Return the event's CFA: what was recorded, else from the instruction's own rule."""
    if event.cfa is not None:
        return event.cfa
    rule = event.instruction.frame
    if rule is None or rule.register >= len(event.regs) or rule.register > arch.RETURN_ADDRESS:
        return None
    address = (event.regs[rule.register] + rule.offset) & 0xFFFF_FFFF_FFFF_FFFF
    if not rule.indirect:
        return address
    data = event.memory.read(address, 8)
    return None if data is None else int.from_bytes(data, "little")
