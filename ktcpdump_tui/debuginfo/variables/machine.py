"""The stack machine that finds a variable (DWARF 5 sections 2.5 and 2.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.numbers import (
    GENERIC,
    BaseType,
    Number,
    Unavailable,
    arithmetic,
    convert,
    from_bytes,
    normalise,
    to_bytes,
)
from ktcpdump_tui.debuginfo.variables.operations import Op
from ktcpdump_tui.debuginfo.variables.places import (
    OPTIMISED_OUT,
    ImplicitPointer,
    InBytes,
    InMemory,
    InPieces,
    Missing,
    Nowhere,
    Piece,
    Place,
    ReadableMemory,
    Why,
    not_captured,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui.debuginfo.variables.operations import Operation, Operations

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF

#: More operations than any compiler writes: an expression that goes on is an endless loop.
_MOST_STEPS: Final = 10_000

#: Expressions that refer to one another deeper than this do so for ever.
_MOST_NESTED: Final = 16


#: The frame base of gcc and clang on x86-64.
_CFA: Final = ((Op.CALL_FRAME_CFA,),)

_NO_ENTRY: Final = Missing(
    Why.OPTIMISED_OUT, "only its value at the function's entry is known, which was not traced"
)


class Objects(Protocol):
    """What expressions refer to by number (the table's)."""

    def base_type(self, number: int) -> BaseType:
        """Return a base type; number 0 is the generic type."""

    def object_place(self, number: int, frame: FrameState) -> Place:
        """Return where a variable that another one refers to is."""


@dataclass(frozen=True, slots=True)
class FrameState:
    """What is known of the machine at an event, in the frame that it belongs to.

    ``address`` is the instruction's run-time address; ``registers`` by DWARF number; ``frame_base`` the
    function's DW_AT_frame_base; ``entry`` returns the registers at the function's entry, None for those not
    known; ``slide`` is added to link-time addresses.
    """

    address: int
    registers: Sequence[int | None]
    memory: ReadableMemory
    cfa: int | None
    frame_base: Operations | None
    slide: int
    objects: Objects
    entry: Callable[[], Sequence[int | None] | None]
    nested: int = 0


def locate(operations: Operations, frame: FrameState) -> Place:
    """Return where a variable is. What is not known becomes a Nowhere that says why.

    Raises BadDwarfError where the expression makes no sense.
    """
    if not operations:
        return Nowhere(OPTIMISED_OUT)
    try:
        if len(operations) == 1:
            return _simple(operations[0], frame) or _Run(operations, frame).place()
        return _Run(operations, frame).place()
    except Unavailable as unavailable:
        return Nowhere(unavailable.missing)


def _simple(operation: Operation, frame: FrameState) -> Place | None:
    """Return the place where an expression is a register or a slot of the frame, as nine of ten are."""
    if operation[0] == Op.REGX:
        number = operation[1]
        value = frame.registers[number] if 0 <= number < min(len(frame.registers), 17) else None
        return None if value is None else InBytes((value & _MASK).to_bytes(8, "little"))
    if operation[0] == Op.FBREG and frame.cfa is not None and frame.frame_base == _CFA:
        return InMemory(frame.memory, (frame.cfa + operation[1]) & _MASK)
    return None


def compute(operations: Operations, frame: FrameState) -> int | Missing:
    """Return the number an expression leaves on the stack (a call site's value, a size)."""
    try:
        run = _Run(operations, frame)
        run.execute(0)
        if run.found is not None:  # DW_OP_stack_value
            data = run.found.bytes(0, 8)
            return data if isinstance(data, Missing) else int.from_bytes(data, "little")
        return int(run.pop().value) & _MASK
    except Unavailable as unavailable:
        return unavailable.missing


class _Run:
    def __init__(self, operations: Operations, frame: FrameState) -> None:
        if frame.nested > _MOST_NESTED:
            raise BadDwarfError("location expressions refer to each other in a circle")
        self.operations = operations
        self.frame = frame
        self.stack: list[Number] = []
        #: what DW_OP_regx, implicit_value, stack_value or implicit_pointer named, until a piece takes it
        self.found: Place | None = None
        self.pieces: list[Piece] = []
        self.steps = 0

    def place(self) -> Place:
        """Run to the end and return the place."""
        self.execute(0)
        if self.pieces:
            if self.found is not None:
                raise BadDwarfError("a location expression has something after its last piece")
            return InPieces(tuple(self.pieces))
        return self._whole()

    def pop(self) -> Number:
        if not self.stack:
            raise BadDwarfError("a location expression takes more from the stack than is there")
        return self.stack.pop()

    def execute(self, index: int) -> None:
        operations = self.operations
        while index < len(operations):
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise BadDwarfError("a location expression does not end")
            operation = operations[index]
            index += 1
            code = operation[0]
            if code == Op.SKIP:
                index = operation[1]
            elif code == Op.BRA:
                if self.pop().value != 0:
                    index = operation[1]
            elif code == Op.PIECE or code == Op.BIT_PIECE:
                self._piece(operation)
            elif self.found is not None and code != Op.NOP:
                raise BadDwarfError("a location expression goes on after it has named a place")
            else:
                self._step(code, operation)

    def _whole(self) -> Place:
        if self.found is not None:
            return self.found
        if not self.stack:
            raise BadDwarfError("a location expression leaves nothing on the stack")
        return InMemory(self.frame.memory, self._address(self.pop()))

    def _piece(self, operation: Operation) -> None:
        size = operation[1] * 8 if operation[0] == Op.PIECE else operation[1]
        offset = operation[2] if operation[0] == Op.BIT_PIECE else 0
        place = self._whole() if self.found is not None or self.stack else Nowhere(OPTIMISED_OUT)
        self.pieces.append(Piece(place, size, offset))
        self.found = None

    def _step(self, code: int, operation: Operation) -> None:
        frame = self.frame
        match code:
            case Op.CONSTS:
                self._push(operation[1])
            case Op.ADDR:
                self._push(operation[1] + frame.slide)
            case Op.BREGX:
                self._push(self._register(operation[1]) + operation[2])
            case Op.FBREG:
                self._push(self._frame_base() + operation[1])
            case Op.CALL_FRAME_CFA:
                self._push(self._cfa())
            case Op.PLUS_UCONST:
                top = self.pop()
                self._push(top.value + operation[1], top.type)
            case Op.STACK_VALUE:
                self.found = InBytes(to_bytes(self.pop()))
            case Op.REGX:
                self.found = self._register_place(operation[1])
            case Op.IMPLICIT_VALUE:
                self.found = InBytes(operation[1])
            case Op.IMPLICIT_POINTER:
                self.found = self._implicit_pointer(operation[1], operation[2])
            case Op.ENTRY_VALUE:
                self._push(self._entry_value(operation[1]))
            case Op.DEREF:
                self._push(self._memory(self._address(self.pop()), 8))
            case Op.DEREF_SIZE:
                self._push(self._memory(self._address(self.pop()), operation[1]))
            case Op.NOP:
                return
            case Op.UNREADABLE:
                raise Unavailable(Missing(Why.OPTIMISED_OUT, operation[1].decode("utf-8", "replace")))
            case _:
                if not self._shuffle(code, operation) and not self._typed(code, operation):
                    arithmetic(code, self.stack)

    def _shuffle(self, code: int, operation: Operation) -> bool:
        """Run an operation that only moves numbers on the stack; False where it is none of those."""
        stack = self.stack
        needed = {Op.DUP: 1, Op.DROP: 1, Op.OVER: 2, Op.SWAP: 2, Op.ROT: 3, Op.PICK: 1}.get(code)
        if needed is None:
            return False
        if code == Op.PICK:
            needed = operation[1] + 1
        if len(stack) < needed:
            raise BadDwarfError("a location expression takes more from the stack than is there")
        if code == Op.DUP:
            stack.append(stack[-1])
        elif code == Op.DROP:
            stack.pop()
        elif code == Op.OVER:
            stack.append(stack[-2])
        elif code == Op.PICK:
            stack.append(stack[-needed])
        elif code == Op.SWAP:
            stack[-1], stack[-2] = stack[-2], stack[-1]
        else:
            stack[-3:] = [stack[-1], stack[-3], stack[-2]]
        return True

    def _typed(self, code: int, operation: Operation) -> bool:
        """Run an operation on a base type or a reference; False where it is none of those."""
        match code:
            case Op.CONST_TYPE:
                kind = self._base_type(operation[1])
                self.stack.append(from_bytes(operation[2].ljust(kind.size, b"\0"), kind))
            case Op.REGVAL_TYPE:
                kind = self._base_type(operation[2])
                data = self._register_place(operation[1]).bytes(0, kind.size)
                self.stack.append(from_bytes(_available(data), kind))
            case Op.DEREF_TYPE:
                kind = self._base_type(operation[2])
                self._push(self._memory(self._address(self.pop()), operation[1]))
                self.stack.append(from_bytes(to_bytes(self.pop(), kind.size), kind))
            case Op.CONVERT:
                self.stack.append(convert(self.pop(), self._base_type(operation[1])))
            case Op.REINTERPRET:
                top, kind = self.pop(), self._base_type(operation[1])
                if top.type.size != kind.size:
                    raise BadDwarfError("DW_OP_reinterpret to a type of another size")
                self.stack.append(from_bytes(to_bytes(top), kind))
            case Op.VARIABLE_VALUE:
                place = self.frame.objects.object_place(operation[1], self._deeper())
                self._push(int.from_bytes(_available(place.bytes(0, 8)), "little"))
            case Op.PARAMETER_REF:
                raise Unavailable(
                    Missing(Why.OPTIMISED_OUT, "it depends on an argument only the caller knows")
                )
            case Op.FORM_TLS_ADDRESS | Op.PUSH_OBJECT_ADDRESS:
                raise Unavailable(Missing(Why.OPTIMISED_OUT, "its place depends on the running thread"))
            case _:
                return False
        return True

    def _base_type(self, number: int) -> BaseType:
        kind = self.frame.objects.base_type(number)
        if not 1 <= kind.size <= 16:
            raise BadDwarfError(f"a location expression uses a base type of {kind.size} bytes")
        return kind

    def _push(self, value: int | float, kind: BaseType = GENERIC) -> None:
        self.stack.append(normalise(value, kind))

    def _address(self, number: Number) -> int:
        if isinstance(number.value, float):
            raise BadDwarfError("a location expression uses a floating-point number as an address")
        return number.value & _MASK

    def _memory(self, address: int, size: int) -> int:
        if not 1 <= size <= 16:
            raise BadDwarfError(f"a location expression reads {size} bytes at once")
        data = self.frame.memory.read(address, size)
        if data is None:
            raise Unavailable(not_captured(address, size))
        return int.from_bytes(data, "little")

    def _register(self, number: int) -> int:
        place = self._register_place(number)
        return int.from_bytes(_available(place.bytes(0, 8)), "little")

    def _register_place(self, number: int) -> Place:
        if 0 <= number < len(self.frame.registers) and number <= 16:
            value = self.frame.registers[number]
            if value is None:
                return Nowhere(_NO_ENTRY)
            return InBytes((value & _MASK).to_bytes(8, "little"))
        return Nowhere(Missing(Why.NOT_CAPTURED, f"DWARF register {number} was not captured"))

    def _cfa(self) -> int:
        if self.frame.cfa is None:
            raise Unavailable(Missing(Why.NOT_CAPTURED, "the frame's address is not known here"))
        return self.frame.cfa

    def _frame_base(self) -> int:
        base = self.frame.frame_base
        if base is None:
            raise Unavailable(Missing(Why.OPTIMISED_OUT, "the function has no frame base"))
        if base == _CFA:
            return self._cfa()
        run = _Run(base, _without_base(self.frame))
        place = run.place()
        address = place.address()
        if address is not None:
            return address
        return int.from_bytes(_available(place.bytes(0, 8)), "little")

    def _entry_value(self, operations: Operations) -> int:
        registers = self.frame.entry()
        if registers is None:
            raise Unavailable(_NO_ENTRY)
        frame = replace(
            self.frame,
            registers=registers,
            memory=_EMPTY,
            cfa=None,
            frame_base=None,
            entry=_none,
            nested=self.frame.nested + 1,
        )
        run = _Run(operations, frame)
        if len(operations) == 1 and operations[0][0] == Op.REGX:
            return run._register(operations[0][1])
        run.execute(0)
        return self._address(run.pop())

    def _implicit_pointer(self, target: int, offset: int) -> Place:
        frame = self._deeper()
        return ImplicitPointer(lambda: frame.objects.object_place(target, frame), offset)

    def _deeper(self) -> FrameState:
        frame = self.frame
        if frame.nested > _MOST_NESTED:
            raise BadDwarfError("location expressions refer to each other in a circle")
        return replace(frame, nested=frame.nested + 1)


class _NoMemory:
    """The memory at a function's entry: nobody kept it."""

    def read(self, address: int, size: int) -> bytes | None:  # noqa: ARG002
        return None


_EMPTY: Final = _NoMemory()


def _none() -> None:
    return None


def _without_base(frame: FrameState) -> FrameState:
    return replace(frame, frame_base=None, nested=frame.nested + 1)


def _available(data: bytes | Missing) -> bytes:
    if isinstance(data, Missing):
        raise Unavailable(data)
    return data
