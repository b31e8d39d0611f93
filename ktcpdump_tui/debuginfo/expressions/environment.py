"""What names mean to an expression: variables in scope, the packet's skb, registers, enumerators."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui import arch
from ktcpdump_tui.debuginfo.expressions import ctypes
from ktcpdump_tui.debuginfo.variables.places import InBytes, Missing, Nowhere, ReadableMemory, Why
from ktcpdump_tui.debuginfo.variables.scope import frame_state, place_of
from ktcpdump_tui.debuginfo.variables.type_table import TypeTable
from ktcpdump_tui.debuginfo.variables.types import Kind, Type
from ktcpdump_tui.debuginfo.variables.values import Value, of_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui import model
    from ktcpdump_tui.debuginfo.variables.machine import FrameState
    from ktcpdump_tui.debuginfo.variables.scope import EntryRegisters
    from ktcpdump_tui.debuginfo.variables.table import Found, VariableTable

#: gdb's further names for registers.
_REGISTER_NAMES: Final = {"pc": "rip", "sp": "rsp", "fp": "rbp", "eflags": "rflags"}


class NotInScopeError(Exception):
    """A name that means something elsewhere, but nothing at this event."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.missing = Missing(Why.NOT_IN_SCOPE, f"{name} is not in scope here")


class Environment(Protocol):
    """Gives names their meaning. ``types`` are those that casts may name."""

    types: TypeTable
    memory: ReadableMemory

    def variable(self, name: str) -> Value | None:
        """Return a variable's value; None for a name never heard of. Raises NotInScopeError."""

    def register(self, name: str) -> Value | None:
        """Return a register's value; None for a name that is none."""

    def names(self) -> Iterable[str]:
        """Return the names that could have been meant."""


class EventEnvironment:
    """Names at an event of a trace, each looked up once. ``table`` is None where nothing is known of types.

    ``up`` is how many of the innermost inlined functions are left out, as gdb's command ``up`` does.
    """

    def __init__(
        self,
        event: model.Event,
        table: VariableTable | None,
        entry_registers: EntryRegisters | None,
        up: int = 0,
    ) -> None:
        self.event = event
        self.memory: ReadableMemory = event.memory
        self.types = table.types if table is not None else TypeTable()
        self._table = table
        self._entry_registers = entry_registers
        self._frame: FrameState | None = None
        self._found = table.at(event.instruction.address) if table is not None else None
        self._left_out = frozenset(self.functions[:up]) if up else frozenset()
        self._known: dict[str, Value | None] = {}

    @cached_property
    def functions(self) -> list[str]:
        """The functions in scope, the innermost first."""
        return list(dict.fromkeys(one.function for one in self._found.scoped)) if self._found else []

    def above(self, up: int) -> EventEnvironment:
        """Return the names as they are ``up`` inlined functions further out."""
        return EventEnvironment(self.event, self._table, self._entry_registers, up)

    def variable(self, name: str) -> Value | None:
        """Return the innermost variable of a name; ``skb`` is the packet itself where it is not kept."""
        try:
            return self._known[name]
        except KeyError:
            value = self._known[name] = self._variable(name)
            return value

    def _variable(self, name: str) -> Value | None:
        value = self._in_scope(name)
        if name == "skb":
            if value is None or (value.missing() is not None and _points_to(value.type, "sk_buff")):
                return of_number(self.event.skb, skb_type(self.types), self.memory, name)
            return value
        if value is None and self._table is not None and name in self._table.variable_names:
            raise NotInScopeError(name)
        return value

    def register(self, name: str) -> Value | None:
        """Return a register as unsigned long."""
        return register(name, self.event.regs, self.types, self.memory)

    def names(self) -> Iterable[str]:
        """Return the names in scope, then all of the table."""
        return ["skb", *(self._table.variable_names if self._table is not None else ())]

    def _in_scope(self, name: str) -> Value | None:
        found = self._found
        if found is None:
            return None
        for one in found.scoped:
            if one.name == name and one.function not in self._left_out:
                place = place_of(one.operations, self._state(found))
                return Value(one.type, place, self.memory, name)
        return None

    def _state(self, found: Found) -> FrameState:
        if self._frame is None:
            assert self._table is not None
            self._frame = frame_state(self.event, self._table, found, self._entry_registers)
        return self._frame


class _NothingCaptured:
    """Memory of no event: types are all that matters."""

    def read(self, address: int, size: int) -> bytes | None:  # noqa: ARG002
        return None


#: What a value is where only its type is asked for.
TYPE_ONLY: Final = Missing(Why.NOT_CAPTURED, "only the type is asked for")


class TypesEnvironment:
    """Names with their types and no values: to check an expression before there are events."""

    def __init__(self, types: TypeTable, variables: dict[str, Type]) -> None:
        self.types = types
        self.memory: ReadableMemory = _NothingCaptured()
        self._variables = variables

    def variable(self, name: str) -> Value | None:
        """Return a value of the variable's type that is not known."""
        kind = self._variables.get(name)
        if kind is None and name == "skb":
            kind = skb_type(self.types)
        return None if kind is None else Value(kind, Nowhere(TYPE_ONLY), self.memory, name)

    def register(self, name: str) -> Value | None:
        """Return a register."""
        return register(name, (0,) * len(arch.REGISTERS), self.types, self.memory)

    def names(self) -> Iterable[str]:
        """Return the variables' names."""
        return ["skb", *self._variables]


class Overlay:
    """Another environment with one more name: a helper's parameter."""

    def __init__(self, inner: Environment, name: str, value: Value) -> None:
        self.types = inner.types
        self.memory = inner.memory
        self._inner = inner
        self._name = name
        self._value = value

    def variable(self, name: str) -> Value | None:
        """Return the parameter, or what the name means outside."""
        return self._value if name == self._name else self._inner.variable(name)

    def register(self, name: str) -> Value | None:
        """Return a register."""
        return self._inner.register(name)

    def names(self) -> Iterable[str]:
        """Return the names outside."""
        return self._inner.names()


def register(name: str, registers: tuple[int, ...], types: TypeTable, memory: ReadableMemory) -> Value | None:
    """Return a register as a value of type unsigned long; None for a name that is none."""
    name = _REGISTER_NAMES.get(name, name)
    if name not in arch.REGISTERS or len(registers) != len(arch.REGISTERS):
        return None
    data = (registers[arch.REGISTERS.index(name)] & (1 << 64) - 1).to_bytes(8, "little")
    return Value(ctypes.integer_type(types, ctypes.UNSIGNED_LONG), InBytes(data), memory, name)


def skb_type(types: TypeTable) -> Type:
    """Return ``struct sk_buff *``; the structure has no members where the types are not known."""
    kind = types.find(Kind.STRUCT, "sk_buff")
    return (kind or Type(types, Kind.STRUCT, "sk_buff", 0)).pointer()


def _points_to(kind: Type, name: str) -> bool:
    pointer = kind.stripped()
    return pointer.kind is Kind.POINTER and pointer.target.stripped().name == name
