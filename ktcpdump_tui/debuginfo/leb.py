"""LEB128 numbers (DWARF 5 section 7.6)."""

from __future__ import annotations

from typing import Final

#: Bits beyond which a number is damage: values have 64, and padding is never this long.
_LONGEST: Final = 280


def read_uleb(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (value, next position) of an unsigned number.

    Raises IndexError at the end of ``data``, ValueError where the number does not end.
    """
    value = shift = 0
    while shift < _LONGEST:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a LEB128 number without an end")


def read_sleb(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (value, next position) of a signed number; raises as read_uleb does."""
    value = shift = 0
    while shift < _LONGEST:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value - (1 << shift) if byte & 0x40 else value), position
    raise ValueError("a LEB128 number without an end")
