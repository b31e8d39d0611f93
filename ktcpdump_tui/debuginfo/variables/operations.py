"""Location expressions (DWARF 5 sections 2.5, 7.7.1) in a form that no longer needs the file they came from.

An expression becomes a tuple of operations ``(code, operand, ...)``. References to types and variables become
the numbers of a table, entries of .debug_addr their values, branch distances the index of an operation.
Synonyms are folded: literals to DW_OP_consts, registers to DW_OP_regx and DW_OP_bregx, GNU's numbers to those
of DWARF 5.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from ktcpdump_tui.debuginfo.leb import read_sleb, read_uleb
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError

#: (code, operands...); operands are int, bytes, or for DW_OP_entry_value another Operations.
Operation = tuple[Any, ...]
Operations = tuple[Operation, ...]


class Op:
    """The codes left after folding (DWARF 5 table 7.9)."""

    UNREADABLE: Final = 0x00  # ours: the expression could not be decoded, the operand says why
    ADDR: Final = 0x03
    DEREF: Final = 0x06
    CONSTS: Final = 0x11
    DUP: Final = 0x12
    DROP: Final = 0x13
    OVER: Final = 0x14
    PICK: Final = 0x15
    SWAP: Final = 0x16
    ROT: Final = 0x17
    ABS: Final = 0x19
    AND: Final = 0x1A
    DIV: Final = 0x1B
    MINUS: Final = 0x1C
    MOD: Final = 0x1D
    MUL: Final = 0x1E
    NEG: Final = 0x1F
    NOT: Final = 0x20
    OR: Final = 0x21
    PLUS: Final = 0x22
    PLUS_UCONST: Final = 0x23
    SHL: Final = 0x24
    SHR: Final = 0x25
    SHRA: Final = 0x26
    XOR: Final = 0x27
    BRA: Final = 0x28
    EQ: Final = 0x29
    GE: Final = 0x2A
    GT: Final = 0x2B
    LE: Final = 0x2C
    LT: Final = 0x2D
    NE: Final = 0x2E
    SKIP: Final = 0x2F
    REGX: Final = 0x90
    FBREG: Final = 0x91
    BREGX: Final = 0x92
    PIECE: Final = 0x93
    DEREF_SIZE: Final = 0x94
    NOP: Final = 0x96
    PUSH_OBJECT_ADDRESS: Final = 0x97
    FORM_TLS_ADDRESS: Final = 0x9B
    CALL_FRAME_CFA: Final = 0x9C
    BIT_PIECE: Final = 0x9D
    IMPLICIT_VALUE: Final = 0x9E
    STACK_VALUE: Final = 0x9F
    IMPLICIT_POINTER: Final = 0xA0
    ENTRY_VALUE: Final = 0xA3
    CONST_TYPE: Final = 0xA4
    REGVAL_TYPE: Final = 0xA5
    DEREF_TYPE: Final = 0xA6
    CONVERT: Final = 0xA8
    REINTERPRET: Final = 0xA9
    PARAMETER_REF: Final = 0xFA  # GNU: the value of the caller's argument
    VARIABLE_VALUE: Final = 0xFD  # GNU: the value of another variable


_LIT0: Final = 0x30
_REG0: Final = 0x50
_BREG0: Final = 0x70

#: GNU's numbers before DWARF 5 standardised the operation.
_GNU: Final = {
    0xE0: 0x9B, 0xF0: 0x96, 0xF2: 0xA0, 0xF3: 0xA3, 0xF4: 0xA4, 0xF5: 0xA5, 0xF6: 0xA6, 0xF7: 0xA8,
    0xF9: 0xA9, 0xFB: 0xA1, 0xFC: 0xA2,
}  # fmt: skip

#: Constants: (bytes, signed).
_CONSTANTS: Final = {
    0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True),
    0x0C: (4, False), 0x0D: (4, True), 0x0E: (8, False), 0x0F: (8, True),
}  # fmt: skip

_PLAIN: Final = frozenset(
    {Op.DEREF, Op.DUP, Op.DROP, Op.OVER, Op.SWAP, Op.ROT, Op.ABS, Op.AND, Op.DIV, Op.MINUS, Op.MOD, Op.MUL}
    | {Op.NEG, Op.NOT, Op.OR, Op.PLUS, Op.SHL, Op.SHR, Op.SHRA, Op.XOR, Op.EQ, Op.GE, Op.GT, Op.LE, Op.LT}
    | {Op.NE, Op.NOP, Op.PUSH_OBJECT_ADDRESS, Op.FORM_TLS_ADDRESS, Op.CALL_FRAME_CFA, Op.STACK_VALUE}
)


class References(Protocol):
    """Where the operands that point out of an expression lead."""

    address_size: int
    offset_size: int

    def base_type(self, offset: int) -> int:
        """Return the number of the base type ``offset`` bytes into the unit; 0 is the generic type."""

    def variable(self, offset: int, *, relative: bool) -> int:
        """Return the number of the variable at ``offset`` of .debug_info (or of the unit)."""

    def indexed_address(self, index: int) -> int:
        """Return an entry of .debug_addr."""


def decode(data: bytes, references: References) -> Operations:
    """Return the operations of an expression.

    Raises BadDwarfError where it ends in the middle of an operation, branches to nowhere or uses an operation
    that DWARF 5 and GNU do not define for a variable's place.
    """
    try:
        return _Decoder(data, references).run()
    except (IndexError, RecursionError) as error:
        raise BadDwarfError("a location expression ends in the middle of an operation") from error


class _Decoder:
    def __init__(self, data: bytes, references: References) -> None:
        self.data = data
        self.position = 0
        self.references = references

    def run(self) -> Operations:
        starts: dict[int, int] = {}
        found: list[Operation] = []
        branches: list[int] = []
        while self.position < len(self.data):
            starts[self.position] = len(found)
            code = self.data[self.position]
            self.position += 1
            operation = self._operation(_GNU.get(code, code))
            if operation[0] in (Op.BRA, Op.SKIP):
                branches.append(len(found))
            found.append(operation)
        starts[len(self.data)] = len(found)
        for index in branches:
            code, target = found[index]
            if target not in starts:
                raise BadDwarfError("a location expression branches into the middle of an operation")
            found[index] = (code, starts[target])
        return tuple(found)

    def _operation(self, code: int) -> Operation:
        if _LIT0 <= code < _LIT0 + 32:
            return (Op.CONSTS, code - _LIT0)
        if _REG0 <= code < _REG0 + 32:
            return (Op.REGX, code - _REG0)
        if _BREG0 <= code < _BREG0 + 32:
            return (Op.BREGX, code - _BREG0, self._sleb())
        if code in _PLAIN:
            return (code,)
        if code in _CONSTANTS:
            size, signed = _CONSTANTS[code]
            return (Op.CONSTS, int.from_bytes(self._bytes(size), "little", signed=signed))
        return self._with_operands(code)

    def _with_operands(self, code: int) -> Operation:
        references = self.references
        match code:
            case Op.ADDR:
                return (code, self._unsigned(references.address_size))
            case 0x10 | Op.PLUS_UCONST:  # DW_OP_constu
                return (Op.CONSTS if code == 0x10 else code, self._uleb())
            case Op.CONSTS | Op.FBREG:
                return (code, self._sleb())
            case Op.PICK | Op.DEREF_SIZE:
                return (code, self._unsigned(1))
            case Op.BRA | Op.SKIP:
                distance = int.from_bytes(self._bytes(2), "little", signed=True)
                return (code, self.position + distance)
            case Op.REGX | Op.PIECE:
                return (code, self._uleb())
            case Op.BREGX:
                return (code, self._uleb(), self._sleb())
            case Op.BIT_PIECE:
                return (code, self._uleb(), self._uleb())
            case Op.IMPLICIT_VALUE:
                return (code, self._bytes(self._uleb()))
            case Op.IMPLICIT_POINTER:
                target = references.variable(self._unsigned(references.offset_size), relative=False)
                return (code, target, self._sleb())
            case Op.ENTRY_VALUE:
                return (code, _Decoder(self._bytes(self._uleb()), references).run())
            case Op.CONST_TYPE:
                kind = references.base_type(self._uleb())
                return (code, kind, self._bytes(self._unsigned(1)))
            case Op.REGVAL_TYPE:
                register = self._uleb()
                return (code, register, references.base_type(self._uleb()))
            case Op.DEREF_TYPE:
                size = self._unsigned(1)
                return (code, size, references.base_type(self._uleb()))
            case Op.CONVERT | Op.REINTERPRET:
                return (code, references.base_type(self._uleb()))
            case Op.PARAMETER_REF:
                return (code, references.variable(self._unsigned(4), relative=True))
            case Op.VARIABLE_VALUE:
                offset = self._unsigned(references.offset_size)
                return (code, references.variable(offset, relative=False))
            case 0xA1:  # DW_OP_addrx
                return (Op.ADDR, references.indexed_address(self._uleb()))
            case 0xA2:  # DW_OP_constx
                return (Op.CONSTS, references.indexed_address(self._uleb()))
        raise BadDwarfError(f"unknown operation {code:#04x} in a location expression")

    def _bytes(self, size: int) -> bytes:
        data = self.data[self.position : self.position + size]
        if len(data) < size:
            raise BadDwarfError("a location expression ends in the middle of an operation")
        self.position += size
        return data

    def _unsigned(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), "little")

    def _uleb(self) -> int:
        value, self.position = read_uleb(self.data, self.position)
        return value

    def _sleb(self) -> int:
        value, self.position = read_sleb(self.data, self.position)
        return value


def to_json(operations: Operations) -> list[list[Any]]:
    """Return the operations as JSON values: bytes as hexadecimal text, nested operations as lists."""
    return [
        [
            part.hex() if isinstance(part, bytes) else to_json(part) if isinstance(part, tuple) else part
            for part in operation
        ]
        for operation in operations
    ]


def from_json(value: list[list[Any]]) -> Operations:
    """Return the operations that ``to_json`` wrote. Raises ValueError or TypeError on anything else."""
    return tuple(tuple(_operand(part) for part in operation) for operation in value)


def _operand(part: Any) -> Any:
    if isinstance(part, str):
        return bytes.fromhex(part)
    return from_json(part) if isinstance(part, list) else part
