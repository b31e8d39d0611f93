"""LEB128 numbers (DWARF 5 section 7.6)."""

from __future__ import annotations


def read_uleb(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (value, next position) of an unsigned number. Raises IndexError at the end of ``data``."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def read_sleb(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (value, next position) of a signed number. Raises IndexError at the end of ``data``."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value - (1 << shift) if byte & 0x40 else value), position
