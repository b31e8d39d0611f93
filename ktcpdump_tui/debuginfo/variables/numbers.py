"""Numbers on the stack of a location expression, and the arithmetic on them (DWARF 5 section 2.5.1).

A number has a base type, or the generic one: 64 bits, unsigned unless an operation says otherwise.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.operations import Op
from ktcpdump_tui.debuginfo.variables.places import Missing, Why

if TYPE_CHECKING:
    from collections.abc import Callable


class BaseType(NamedTuple):
    """A type of numbers on the stack: ``size`` in bytes, DW_ATE ``encoding``."""

    size: int
    encoding: int


GENERIC: Final = BaseType(8, dwarf.ATE_UNSIGNED)


class Number(NamedTuple):
    """A number on the stack: the value its type gives its bits (a float for DW_ATE_float)."""

    value: int | float
    type: BaseType = GENERIC


class Unavailable(Exception):  # noqa: N818 - a result, not an error
    """The expression needs something that is not known."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.reason)
        self.missing = missing


def arithmetic(code: int, stack: list[Number]) -> None:
    """Run an arithmetic, logical or relational operation on the numbers on top of ``stack``.

    Raises BadDwarfError where there is no such operation or the operands do not fit it.
    """
    if code in _UNARY:
        top = _pop(stack)
        stack.append(normalise(_UNARY[code](_signed(top)), top.type))
        return
    operator = _BINARY.get(code)
    if operator is None:
        raise BadDwarfError(f"unknown operation {code:#04x} in a location expression")
    right, left = _pop(stack), _pop(stack)
    if code in _COMPARISONS:
        _same_type(left, right)
        stack.append(normalise(int(operator(_signed(left), _signed(right))), GENERIC))
    else:
        if code not in _SHIFTS:
            _same_type(left, right)
        stack.append(normalise(operator(left, right), left.type))


def _pop(stack: list[Number]) -> Number:
    if not stack:
        raise BadDwarfError("a location expression takes more from the stack than is there")
    return stack.pop()


def _is_float(kind: BaseType) -> bool:
    return kind.encoding == dwarf.ATE_FLOAT


def _is_signed(kind: BaseType) -> bool:
    return kind.encoding in (dwarf.ATE_SIGNED, dwarf.ATE_SIGNED_CHAR)


def normalise(value: int | float, kind: BaseType) -> Number:
    """Return ``value`` wrapped to the range of ``kind``."""
    if _is_float(kind):
        return from_bytes(to_bytes(Number(float(value), kind)), kind)
    bits = kind.size * 8
    number = int(value) & ((1 << bits) - 1)
    if _is_signed(kind) and number >> (bits - 1):
        number -= 1 << bits
    return Number(number, kind)


def _signed(number: Number) -> int | float:
    """Return a number as the operations see it that treat the generic type as signed (section 2.5.1.4)."""
    if number.type == GENERIC and number.value >= 1 << 63:
        return number.value - (1 << 64)
    return number.value


def from_bytes(data: bytes, kind: BaseType) -> Number:
    """Return the number that ``data`` (at least the type's size, little-endian) is."""
    if len(data) < kind.size:
        raise BadDwarfError(f"a constant of a location expression has fewer than {kind.size} bytes")
    data = data[: kind.size]
    if _is_float(kind):
        code = {4: "<f", 8: "<d"}.get(kind.size)
        if code is None:
            raise Unavailable(Missing(Why.OPTIMISED_OUT, f"numbers of {kind.size * 8} floating-point bits"))
        return Number(struct.unpack(code, data)[0], kind)
    return Number(int.from_bytes(data, "little", signed=_is_signed(kind)), kind)


def to_bytes(number: Number, size: int | None = None) -> bytes:
    """Return a number's bytes, cut or widened to ``size``."""
    kind = number.type
    if isinstance(number.value, float):
        code = {4: "<f", 8: "<d"}.get(kind.size)
        if code is None or size not in (None, kind.size):
            raise Unavailable(Missing(Why.OPTIMISED_OUT, f"numbers of {kind.size * 8} floating-point bits"))
        try:
            return struct.pack(code, number.value)
        except OverflowError:
            return struct.pack(code, float("inf") if number.value > 0 else float("-inf"))
    size = kind.size if size is None else size
    return (number.value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")


def convert(number: Number, kind: BaseType) -> Number:
    """Return the number converted to ``kind`` as C does."""
    value = number.value
    if isinstance(value, float) and not _is_float(kind) and (value != value or abs(value) == float("inf")):
        value = 0
    return normalise(value, kind)


def _same_type(left: Number, right: Number) -> None:
    if left.type.size != right.type.size or _is_float(left.type) != _is_float(right.type):
        raise BadDwarfError("a location expression combines numbers of two types")


def _shift_left(left: Number, right: Number) -> int:
    value, count = _integers(left, right)
    return value << count if 0 <= count < left.type.size * 8 else 0


def _shift_right(left: Number, right: Number) -> int:
    value, count = _integers(left, right)
    bits = left.type.size * 8
    return (value & ((1 << bits) - 1)) >> count if 0 <= count < bits else 0


def _shift_arithmetic(left: Number, right: Number) -> int:
    _, count = _integers(left, right)
    return int(_signed(left)) >> (min(count, 127) if count >= 0 else 127)


def _integers(left: Number, right: Number) -> tuple[int, int]:
    if isinstance(left.value, float) or isinstance(right.value, float):
        raise BadDwarfError("a location expression uses a floating-point number as an integer")
    return left.value, right.value


def _divide(left: Number, right: Number) -> int | float:
    dividend, divisor = _signed(left), _signed(right)
    if divisor == 0:
        raise Unavailable(Missing(Why.OPTIMISED_OUT, "its place is computed by a division by zero"))
    if isinstance(dividend, float) or isinstance(divisor, float):
        return dividend / divisor
    quotient = abs(dividend) // abs(divisor)
    return -quotient if (dividend < 0) != (divisor < 0) else quotient


def _modulo(left: Number, right: Number) -> int:
    # As gdb does: the generic type is unsigned here (DWARF 5 section 2.5.1.4 does not say).
    dividend, divisor = _integers(left, right)
    if divisor == 0:
        raise Unavailable(Missing(Why.OPTIMISED_OUT, "its place is computed by a division by zero"))
    remainder = abs(dividend) % abs(divisor)
    return -remainder if dividend < 0 else remainder


def _bitwise(operator: Callable[[int, int], int]) -> Callable[[Number, Number], int]:
    return lambda left, right: operator(*_integers(left, right))


def _invert(value: int | float) -> int:
    if isinstance(value, float):
        raise BadDwarfError("a location expression uses a floating-point number as an integer")
    return ~value


_UNARY: Final[dict[int, Callable[[Any], int | float]]] = {
    Op.ABS: abs,
    Op.NEG: lambda value: -value,
    Op.NOT: _invert,
}
_COMPARISONS: Final = frozenset((Op.EQ, Op.GE, Op.GT, Op.LE, Op.LT, Op.NE))
_SHIFTS: Final = frozenset((Op.SHL, Op.SHR, Op.SHRA))
_BINARY: Final[dict[int, Callable[[Any, Any], int | float]]] = {
    Op.EQ: lambda a, b: a == b,
    Op.GE: lambda a, b: a >= b,
    Op.GT: lambda a, b: a > b,
    Op.LE: lambda a, b: a <= b,
    Op.LT: lambda a, b: a < b,
    Op.NE: lambda a, b: a != b,
    Op.PLUS: lambda a, b: a.value + b.value,
    Op.MINUS: lambda a, b: a.value - b.value,
    Op.MUL: lambda a, b: a.value * b.value,
    Op.DIV: _divide,
    Op.MOD: _modulo,
    Op.AND: _bitwise(lambda a, b: a & b),
    Op.OR: _bitwise(lambda a, b: a | b),
    Op.XOR: _bitwise(lambda a, b: a ^ b),
    Op.SHL: _shift_left,
    Op.SHR: _shift_right,
    Op.SHRA: _shift_arithmetic,
}
