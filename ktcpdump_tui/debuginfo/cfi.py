"""Frame rules from .debug_frame (DWARF 5 section 6.4): the CFA of each instruction."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb
from ktcpdump_tui.model import FrameRule

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTRY = struct.Struct("<IIQQ")
_CIE_MARK: Final = 0xFFFFFFFF

# Call frame instructions (DWARF 5 table 7.29) that say something of the CFA or of the place.
_SET_LOC, _ADVANCE_1, _ADVANCE_2, _ADVANCE_4 = 0x01, 0x02, 0x03, 0x04
_REMEMBER, _RESTORE = 0x0A, 0x0B
_DEF_CFA, _DEF_CFA_REGISTER, _DEF_CFA_OFFSET, _DEF_CFA_EXPRESSION = 0x0C, 0x0D, 0x0E, 0x0F
_DEF_CFA_SF, _DEF_CFA_OFFSET_SF = 0x12, 0x13
#: The others by the operands that have to be stepped over: u(leb), s(leb), b(lock).
_OTHERS: Final = {
    0x00: "", 0x05: "uu", 0x06: "u", 0x07: "u", 0x08: "u", 0x09: "uu", 0x10: "ub", 0x11: "us",
    0x14: "uu", 0x15: "us", 0x16: "ub", 0x2D: "", 0x2E: "u",
}  # fmt: skip

_OP_BREG0, _OP_BREG31, _OP_BREGX, _OP_DEREF = 0x70, 0x8F, 0x92, 0x06

#: (register, offset) while the rule is of that kind, else what an expression comes to.
_Rule = tuple[int, int] | FrameRule | None


@dataclass(frozen=True, slots=True)
class _Cie:
    """A common information entry: alignment factors, and the rule every function begins with."""

    code_factor: int
    data_factor: int
    rule: _Rule


class FrameTable:
    """The .debug_frame of one image. Raises ValueError, IndexError or struct.error on damaged data.

    Entries begin with their length, so that the one function asked for is reached without decoding the
    others. Only 32-bit DWARF with 8-byte addresses is read, which is what compilers write for x86-64.
    """

    def __init__(self, section: memoryview) -> None:
        self._section = section
        self._cies: dict[int, _Cie] = {}
        self._rules: dict[int, tuple[list[int], list[FrameRule | None]]] = {}

    def rule(self, address: int) -> FrameRule | None:
        """Return how to find the CFA at ``address``, None where no function is described."""
        lows, highs, offsets = self._functions
        row = int(np.searchsorted(lows, np.uint64(address), side="right")) - 1
        if row < 0 or address >= int(highs[row]):
            return None
        offset = int(offsets[row])
        if offset not in self._rules:
            self._rules[offset] = self._function(offset)
        starts, rules = self._rules[offset]
        at = bisect_right(starts, address) - 1
        return rules[at] if at >= 0 else None

    def rules(self, addresses: Sequence[int]) -> list[FrameRule | None]:
        """Return ``rule`` of each address."""
        return [self.rule(address) for address in addresses]

    def starts(self, low: int, high: int) -> list[int]:
        """Return the addresses in (low, high) where another row, or another function, begins."""
        lows, highs, offsets = self._functions
        found = set()
        first = max(int(np.searchsorted(lows, np.uint64(low), side="right")) - 1, 0)
        for row in range(first, int(np.searchsorted(lows, np.uint64(high), side="left"))):
            offset = int(offsets[row])
            if offset not in self._rules:
                self._rules[offset] = self._function(offset)
            found.update(self._rules[offset][0])
            found.add(int(highs[row]))
        return sorted(start for start in found if low < start < high)

    @cached_property
    def _functions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(first addresses, ends, offsets of the entries) of all functions, by address."""
        section, entry = self._section, _ENTRY
        found: list[tuple[int, int, int]] = []
        position, end = 0, len(section)
        while position + entry.size <= end:
            length, mark, low, size = entry.unpack_from(section, position)
            if length >= 0xFFFFFFF0:
                raise ValueError("64-bit DWARF in .debug_frame")
            if mark != _CIE_MARK and length >= 20:
                found.append((low, size, position))
            position += 4 + length
        found.sort()
        table = np.array(found, np.uint64).reshape(-1, 3)
        return table[:, 0], table[:, 0] + table[:, 1], table[:, 2]

    def _function(self, offset: int) -> tuple[list[int], list[FrameRule | None]]:
        length, cie_offset, low, _ = _ENTRY.unpack_from(self._section, offset)
        cie = self._cie(cie_offset)
        program = bytes(self._section[offset + _ENTRY.size : offset + 4 + length])
        rows = _run(program, cie.code_factor, cie.data_factor, low, cie.rule)
        return [start for start, _ in rows], [_finished(rule) for _, rule in rows]

    def _cie(self, offset: int) -> _Cie:
        if offset in self._cies:
            return self._cies[offset]
        (length,) = struct.unpack_from("<I", self._section, offset)
        data = bytes(self._section[offset : offset + 4 + length])
        version = data[8]
        end = data.index(b"\0", 9)
        if data[9:end] or version not in (1, 3, 4):
            raise ValueError(f"call frame information of version {version} with {data[9:end]!r}")
        position = end + 1 + (2 if version >= 4 else 0)  # address_size, segment_selector_size
        code_factor, position = read_uleb(data, position)
        data_factor, position = read_sleb(data, position)
        _, position = read_uleb(data, position)  # the return address's register
        rows = _run(data[position:], code_factor, data_factor, 0, None)
        self._cies[offset] = _Cie(code_factor, data_factor, rows[-1][1])
        return self._cies[offset]


def _run(
    program: bytes, code_factor: int, data_factor: int, address: int, rule: _Rule
) -> list[tuple[int, _Rule]]:
    """Return (first address, rule) of each row the instructions make, as far as the CFA goes."""
    rows: list[tuple[int, _Rule]] = []
    begin, current = address, rule
    stack: list[_Rule] = []
    position, end = 0, len(program)
    while position < end:
        op = program[position]
        position += 1
        advance = 0
        if op >= 0x40:
            if op < 0x80:  # DW_CFA_advance_loc
                advance = op & 0x3F
            elif op < 0xC0:  # DW_CFA_offset
                _, position = read_uleb(program, position)
        elif op in (_ADVANCE_1, _ADVANCE_2, _ADVANCE_4):
            size = 1 << op - _ADVANCE_1
            advance = int.from_bytes(program[position : position + size], "little")
            position += size
        elif op == _SET_LOC:
            target = int.from_bytes(program[position : position + 8], "little")
            rows.append((begin, current))
            begin, position = target, position + 8
        elif op in (_DEF_CFA, _DEF_CFA_SF):
            register, position = read_uleb(program, position)
            offset, position = _offset(program, position, data_factor, signed=op == _DEF_CFA_SF)
            current = (register, offset)
        elif op == _DEF_CFA_REGISTER:
            register, position = read_uleb(program, position)
            current = (register, current[1] if isinstance(current, tuple) else 0)
        elif op in (_DEF_CFA_OFFSET, _DEF_CFA_OFFSET_SF):
            offset, position = _offset(program, position, data_factor, signed=op == _DEF_CFA_OFFSET_SF)
            current = (current[0], offset) if isinstance(current, tuple) else None
        elif op == _DEF_CFA_EXPRESSION:
            length, position = read_uleb(program, position)
            current = _of_expression(program[position : position + length])
            position += length
        elif op == _REMEMBER:
            stack.append(current)
        elif op == _RESTORE:
            current = stack.pop()
        elif op in _OTHERS:
            position = _skip(program, position, _OTHERS[op])
        else:
            raise ValueError(f"unknown call frame instruction {op:#x}")
        if advance:
            rows.append((begin, current))
            begin += advance * code_factor
    rows.append((begin, current))
    return rows


def _offset(program: bytes, position: int, factor: int, *, signed: bool) -> tuple[int, int]:
    if not signed:
        return read_uleb(program, position)
    value, position = read_sleb(program, position)
    return value * factor, position


def _skip(program: bytes, position: int, operands: str) -> int:
    for kind in operands:
        value, position = read_uleb(program, position)
        if kind == "b":
            position += value
    return position


def _of_expression(expression: bytes) -> FrameRule | None:
    """Return the rule an expression comes to: register + offset, perhaps loaded from there; else None."""
    if not expression:
        return None
    op, position = expression[0], 1
    if _OP_BREG0 <= op <= _OP_BREG31:
        register = op - _OP_BREG0
    elif op == _OP_BREGX:
        register, position = read_uleb(expression, position)
    else:
        return None
    offset, position = read_sleb(expression, position)
    rest = expression[position:]
    if rest in (b"", bytes([_OP_DEREF])):
        return FrameRule(register, offset, indirect=bool(rest))
    return None


def _finished(rule: _Rule) -> FrameRule | None:
    return FrameRule(*rule) if isinstance(rule, tuple) else rule
