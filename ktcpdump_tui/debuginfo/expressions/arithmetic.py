"""C's operators on values whose numbers may be missing: types are always worked out, numbers where known."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import ctypes
from ktcpdump_tui.debuginfo.expressions.problems import ProblemError
from ktcpdump_tui.debuginfo.variables.places import InMemory, Missing, Nowhere, Why
from ktcpdump_tui.debuginfo.variables.types import Kind, Type
from ktcpdump_tui.debuginfo.variables.values import Value, of_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.debuginfo.variables.places import ReadableMemory
    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable

_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le,
    ">=": operator.ge,
}  # fmt: skip
_PLAIN: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_, "|": operator.or_,
    "^": operator.xor,
}  # fmt: skip


class Arithmetic:
    """Operators for one evaluation; results have types of ``types`` and no place."""

    def __init__(self, types: TypeTable, memory: ReadableMemory) -> None:
        self._types = types
        self._memory = memory

    def integer(self, number: int | Missing, kind: ctypes.Integer = ctypes.INT) -> Value:
        """Return a value of a plain integer type."""
        return self.result(number, ctypes.integer_type(self._types, kind))

    def result(self, number: int | Missing, kind: Type) -> Value:
        """Return a value of any scalar type."""
        if isinstance(number, Missing):
            return Value(kind, Nowhere(number), self._memory)
        return of_number(number, kind, self._memory)

    def decayed(self, value: Value) -> Value:
        """Return an array as the pointer to its first element, a function as its address (C11 6.3.2.1)."""
        kind = value.scalar
        if kind.kind is Kind.ARRAY:
            return self.result(_whole(value.number()), kind.target.pointer())
        if kind.kind is Kind.FUNCTION:
            return self.result(_whole(value.number()), value.type.pointer())
        return value

    def scalar(self, value: Value, at: int) -> Value:
        """Return a value that has a number: integers and pointers. Raises ProblemError on others."""
        value = self.decayed(value)
        kind = value.scalar
        if kind.kind is Kind.POINTER or kind.is_integer:
            return value
        if kind.is_float:
            raise ProblemError(at, "floating-point numbers can be shown, not computed with")
        raise ProblemError(at, f"a value of type {value.type.spelling()} is not a number")

    def unary(self, sign: str, value: Value, at: int) -> Value:
        """Return ``-x``, ``+x``, ``~x`` or ``!x``."""
        value = self.scalar(value, at)
        number = _whole(value.number())
        if sign == "!":
            return self.integer(number if isinstance(number, Missing) else int(not number))
        if value.scalar.kind is Kind.POINTER:
            raise ProblemError(at, f"{sign} cannot be applied to a pointer")
        kind = ctypes.promoted(value.scalar, value.bits)
        if isinstance(number, Missing):
            return self.integer(number, kind)
        return self.integer(ctypes.wrap({"-": -number, "+": number, "~": ~number}[sign], kind), kind)

    def binary(self, sign: str, left: Value, right: Value, at: int) -> Value:
        """Return ``left sign right`` for everything but ``&&`` and ``||``."""
        left, right = self.scalar(left, at), self.scalar(right, at)
        if sign in _COMPARISONS:
            return self._compare(sign, left, right)
        pointers = (left.scalar.kind is Kind.POINTER) + (right.scalar.kind is Kind.POINTER)
        if pointers:
            return self._pointers(sign, left, right, at)
        first = ctypes.promoted(left.scalar, left.bits)
        second = ctypes.promoted(right.scalar, right.bits)
        kind = first if sign in ("<<", ">>") else ctypes.common(first, second)
        one, other = _whole(left.number()), _whole(right.number())
        if isinstance(one, Missing) or isinstance(other, Missing):
            return self.integer(one if isinstance(one, Missing) else other, kind)
        if sign in ("<<", ">>"):
            return self.integer(_shift(sign, one, other, kind), kind)
        one, other = ctypes.wrap(one, kind), ctypes.wrap(other, kind)
        if sign in ("/", "%"):
            return self.integer(_divide(sign, one, other, kind), kind)
        return self.integer(ctypes.wrap(_PLAIN[sign](one, other), kind), kind)

    def convert(self, value: Value, kind: Type, at: int) -> Value:
        """Return ``(kind)value``."""
        target = kind.stripped()
        if target.kind is Kind.VOID or target.is_structure or target.kind in (Kind.ARRAY, Kind.FUNCTION):
            raise ProblemError(at, f"a value cannot be cast to {kind.spelling()}")
        if target.is_float:
            raise ProblemError(at, "floating-point numbers can be shown, not computed with")
        value = self.scalar(value, at)
        number = _whole(value.number())
        if not isinstance(number, Missing) and target.kind is Kind.BASE and target.name == "_Bool":
            number = int(number != 0)
        if isinstance(number, Missing) and target.kind is Kind.POINTER:
            return Value(kind, value.place, self._memory)  # an implicit pointer stays one
        return self.result(number, kind)

    def choose(self, condition: Value, then: Value, other: Value, at: int) -> Value:
        """Return ``condition ? then : other``, both of which are known as far as they can be."""
        number = _whole(self.scalar(condition, at).number())
        then, other = self.decayed(then), self.decayed(other)
        kind = self._common_type(then, other, at)
        if isinstance(number, Missing):
            return Value(kind, Nowhere(number), self._memory)
        chosen = then if number else other
        if kind is chosen.type:
            return chosen
        return self.convert(chosen, kind, at)

    def _common_type(self, then: Value, other: Value, at: int) -> Type:
        if then.scalar.is_structure and other.scalar.is_structure and then.scalar.name == other.scalar.name:
            return then.type
        then, other = self.scalar(then, at), self.scalar(other, at)
        for one in (then, other):
            if one.scalar.kind is Kind.POINTER:
                return one.type
        kind = ctypes.common(
            ctypes.promoted(then.scalar, then.bits), ctypes.promoted(other.scalar, other.bits)
        )
        return ctypes.integer_type(self._types, kind)

    def _compare(self, sign: str, left: Value, right: Value) -> Value:
        one, other = _whole(left.number()), _whole(right.number())
        if isinstance(one, Missing) or isinstance(other, Missing):
            return self.integer(one if isinstance(one, Missing) else other)
        if Kind.POINTER in (left.scalar.kind, right.scalar.kind):
            kind = ctypes.UNSIGNED_LONG
        else:
            kind = ctypes.common(
                ctypes.promoted(left.scalar, left.bits), ctypes.promoted(right.scalar, right.bits)
            )
        return self.integer(int(_COMPARISONS[sign](ctypes.wrap(one, kind), ctypes.wrap(other, kind))))

    def _pointers(self, sign: str, left: Value, right: Value, at: int) -> Value:
        both = left.scalar.kind is right.scalar.kind
        if (
            sign not in ("+", "-")
            or (both and sign == "+")
            or (sign == "-" and left.scalar.kind is not Kind.POINTER)
        ):
            raise ProblemError(at, f"{sign} cannot be applied to a pointer here")
        pointer, number = (left, right) if left.scalar.kind is Kind.POINTER else (right, left)
        # GNU C: arithmetic on void * and on pointers to functions counts bytes.
        step = pointer.scalar.target.byte_size() or self._incomplete(pointer.scalar.target, at)
        one, other = _whole(pointer.number()), _whole(number.number())
        if both:
            difference = one if isinstance(one, Missing) else other
            if not isinstance(one, Missing) and not isinstance(other, Missing):
                difference = ctypes.wrap(one - other, ctypes.LONG)
                difference = difference // step if difference >= 0 else -(-difference // step)
            return self.integer(difference, ctypes.LONG)
        if isinstance(one, Missing) or isinstance(other, Missing):
            return self.result(one if isinstance(one, Missing) else other, pointer.type)
        return self.result(one + other * step if sign == "+" else one - other * step, pointer.type)

    def _incomplete(self, kind: Type, at: int) -> int:
        if kind.stripped().is_structure:
            raise ProblemError(at, f"the size of {kind.spelling()} is not known")
        return 1

    def index(self, base: Value, index: Value, at: int) -> Value:
        """Return ``base[index]``."""
        if base.scalar.kind is not Kind.ARRAY and base.scalar.kind is not Kind.POINTER:
            base, index = index, base
        number = _whole(self.scalar(index, at).number())
        if base.scalar.kind not in (Kind.ARRAY, Kind.POINTER) or index.scalar.kind is Kind.POINTER:
            raise ProblemError(at, f"a value of type {base.type.spelling()} has no elements")
        if isinstance(number, Missing):
            return Value(base.scalar.target, Nowhere(number), self._memory)
        return base.index(number)

    def address_of(self, value: Value, at: int) -> Value:
        """Return ``&value``."""
        if value.bits:
            raise ProblemError(at, "a bitfield has no address")
        address = value.place.address()
        if address is not None:
            return self.result(address, value.type.pointer())
        missing = value.place.missing if isinstance(value.place, Nowhere) else None
        reason = Missing(Why.OPTIMISED_OUT, "the value is not in memory, so that it has no address")
        return self.result(missing or reason, value.type.pointer())

    def dereference(self, value: Value, at: int) -> Value:
        """Return ``*value``."""
        value = self.decayed(value)
        if value.scalar.kind is not Kind.POINTER:
            raise ProblemError(at, f"* needs a pointer, not a value of type {value.type.spelling()}")
        target = value.scalar.target.stripped()
        if target.kind is Kind.VOID:
            raise ProblemError(at, "void * must be cast to another pointer first")
        return value.dereference()


def string_of(value: Value) -> bytes | Missing | None:
    """Return the string in a char array or behind a char pointer; None where the type is another."""
    kind = value.scalar
    if kind.kind not in (Kind.ARRAY, Kind.POINTER) or kind.target.byte_size() != 1:
        return None
    if kind.kind is Kind.ARRAY and kind.count:
        data = value.place.bytes(0, kind.count)
        return data if isinstance(data, Missing) else data.split(b"\0")[0]
    address = value.number()
    if isinstance(address, Missing):
        return address
    place = InMemory(value.memory, int(address))
    found = bytearray()
    while len(found) < 4096:
        byte = place.bytes(len(found), 1)
        if isinstance(byte, Missing):
            return byte
        if byte == b"\0":
            break
        found += byte
    return bytes(found)


def _whole(number: int | float | Missing) -> int | Missing:
    return number if isinstance(number, Missing) else int(number)


def _shift(sign: str, value: int, count: int, kind: ctypes.Integer) -> int | Missing:
    if not 0 <= count < kind.size * 8:
        return Missing(Why.UNDEFINED, f"a shift of {kind.size * 8} bits by {count}")
    value = ctypes.wrap(value, kind)
    return ctypes.wrap(value << count if sign == "<<" else value >> count, kind)


def _divide(sign: str, one: int, other: int, kind: ctypes.Integer) -> int | Missing:
    if other == 0:
        return Missing(Why.UNDEFINED, "a division by zero")
    if other == -1 and one == -(1 << (kind.size * 8 - 1)):
        return Missing(Why.UNDEFINED, "a division whose result is too large")
    quotient = abs(one) // abs(other)
    if (one < 0) != (other < 0):
        quotient = -quotient
    return quotient if sign == "/" else one - quotient * other
