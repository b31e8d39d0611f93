"""A value: a type and the place its bytes are in. What cannot be told is a ``Missing``, never a guess."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.variables.places import (
    OPTIMISED_OUT,
    ImplicitPointer,
    InBytes,
    InMemory,
    Missing,
    Nowhere,
    Place,
    ReadableMemory,
    Why,
)
from ktcpdump_tui.debuginfo.variables.types import Kind, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.variables.types import Member, Type

#: Elements of an array that are shown, and characters of a string.
MOST_ELEMENTS: Final = 256


@dataclass(slots=True)
class Value:
    """A C value at an event; of a bitfield, ``bits`` from bit ``shift`` of ``place`` (else ``bits`` is 0).

    ``name`` is the variable's or field's: it decides whether a __be32 is shown as an IPv4 address.
    ``memory`` is where pointers are followed. Nothing changes a value; it is not frozen because a frozen one
    takes three times as long to make, and an event has hundreds.
    """

    type: Type
    place: Place
    memory: ReadableMemory
    name: str = ""
    shift: int = 0
    bits: int = 0
    scalar: Type = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.scalar = self.type.stripped()

    @property
    def address(self) -> int | None:
        """The address of the value, None where it has none (registers, constants, bitfields)."""
        return None if self.bits else self.place.address()

    def number(self) -> int | float | Missing:
        """Return an integer, pointer, enumeration or floating-point value; pointers are unsigned addresses.

        An array's value is its address, as in C. A structure has none.
        """
        kind = self.scalar
        reading = kind.reading
        if reading is Reading.ADDRESS:
            address = self.place.address()
            return self._why() if address is None else address
        if reading is Reading.NONE:
            return Missing(Why.OPTIMISED_OUT, f"a value of type {self.type.spelling()} is not a number")
        raw = self.raw()
        if reading is Reading.UNSIGNED or isinstance(raw, Missing):
            return raw
        if reading is Reading.FLOAT:
            code = {4: "<f", 8: "<d"}.get(kind.size)
            if code:
                number: float = struct.unpack(code, raw.to_bytes(kind.size, "little"))[0]
                return number
            return _extended(raw) if kind.size in (12, 16) else raw
        width = self.bits or kind.size * 8
        return raw - (1 << width) if raw >> (width - 1) else raw

    def raw(self) -> int | Missing:
        """Return the value's bits as an unsigned number."""
        kind = self.scalar
        if kind.size == 16 and kind.reading is Reading.FLOAT:
            return self.place.bits(self.shift, 80)
        return self.place.bits(self.shift, self.bits or kind.size * 8)

    def bytes(self) -> bytes | Missing:
        """Return all bytes of the value (not of a bitfield)."""
        return self.place.bytes(0, self.type.byte_size())

    def missing(self) -> Missing | None:
        """Return why nothing of the value is known, None where something is."""
        if isinstance(self.place, Nowhere):
            return self.place.missing
        if self.scalar.is_structure or self.scalar.kind is Kind.ARRAY:
            return None
        number = self.number()
        return number if isinstance(number, Missing) else None

    def members(self) -> Iterator[Value]:
        """Yield the fields of a structure or union; the value itself must be one."""
        for member in self.scalar.members:
            yield self._field(member)

    def member(self, name: str) -> Value | None:
        """Return a field by name, also one of an unnamed structure inside; None where there is none."""
        found = self.scalar.field(name)
        return None if found is None else self._field(found)

    def index(self, number: int) -> Value:
        """Return an element of an array, or what a pointer points to ``number`` elements further."""
        base = self if self.scalar.kind is Kind.ARRAY else self.dereference()
        if base is not self:
            return Value(base.type, base.place.at(number * base.type.byte_size()), self.memory)
        element = self.scalar.target
        return Value(element, self.place.at(number * element.byte_size()), self.memory, self.name)

    def elements(self) -> Iterator[Value]:
        """Yield the elements of an array, at most MOST_ELEMENTS."""
        for number in range(min(self.scalar.count or 0, MOST_ELEMENTS)):
            yield self.index(number)

    def dereference(self) -> Value:
        """Return what a pointer points to. Nothing at a pointer that is not known, or is 0."""
        target = self.scalar.target
        if isinstance(self.place, ImplicitPointer):
            return Value(target, self.place.pointed(), self.memory)
        number = self.number()
        if isinstance(number, Missing):
            return Value(target, Nowhere(number), self.memory)
        return Value(target, InMemory(self.memory, int(number)), self.memory)

    def _field(self, member: Member) -> Value:
        if member.bits:
            first = member.offset >> 3
            return Value(
                member.type, self.place.at(first), self.memory, member.name, member.offset & 7, member.bits
            )
        return Value(member.type, self.place.at(member.offset >> 3), self.memory, member.name)

    def _why(self) -> Missing:
        if isinstance(self.place, Nowhere):
            return self.place.missing
        return Missing(Why.OPTIMISED_OUT, "it is not in memory, so that it has no address")


def of_number(number: int | float, kind: Type, memory: ReadableMemory, name: str = "") -> Value:
    """Return a value that has a number but no place, wrapped to the range of ``kind``."""
    scalar = kind.stripped()
    if scalar.is_float:
        code = "<f" if scalar.size == 4 else "<d"
        try:
            data = struct.pack(code, number)
        except OverflowError:
            data = struct.pack(code, float("inf") if number > 0 else float("-inf"))
    else:
        size = scalar.size or 8
        data = (int(number) & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    return Value(kind, InBytes(data), memory, name)


def nothing(kind: Type, memory: ReadableMemory, missing: Missing = OPTIMISED_OUT, name: str = "") -> Value:
    """Return a value that is not known."""
    return Value(kind, Nowhere(missing), memory, name)


def _extended(raw: int) -> float:
    """Return an x87 80-bit number (sign, 15-bit exponent biased by 16383, 64-bit mantissa) as a float."""
    sign = -1.0 if raw >> 79 else 1.0
    exponent = (raw >> 64) & 0x7FFF
    mantissa = raw & 0xFFFF_FFFF_FFFF_FFFF
    if exponent == 0x7FFF:
        return sign * float("inf") if not mantissa << 1 & 0xFFFF_FFFF_FFFF_FFFF else float("nan")
    try:
        return sign * mantissa * 2.0 ** (exponent - 16383 - 63)
    except OverflowError:
        return sign * float("inf")
