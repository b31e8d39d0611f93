"""A VariableTable from debug information: scopes and variables of the functions that a plan touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.debuginfo.variables.collect import TypeCollector
from ktcpdump_tui.debuginfo.variables.constants import At, Form, Tag
from ktcpdump_tui.debuginfo.variables.dies import BLOCKS, BadDwarfError, DebugEntries
from ktcpdump_tui.debuginfo.variables.lists import locations_of, ranges_of
from ktcpdump_tui.debuginfo.variables.operations import Op, decode
from ktcpdump_tui.debuginfo.variables.table import Declared, Function, Image, Referred, Scope, VariableTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.debuginfo.variables.dies import Die, Unit
    from ktcpdump_tui.debuginfo.variables.lists import Range
    from ktcpdump_tui.debuginfo.variables.operations import Operations
    from ktcpdump_tui.debuginfo.variables.table import Locations

#: Structures behind this many pointers, counted from a variable, are kept with their members.
POINTERS: Final = 3

_VARIABLES: Final = frozenset((Tag.VARIABLE, Tag.FORMAL_PARAMETER))

#: DW_AT_abstract_origin and DW_AT_specification lead at most this far.
_MOST_ORIGINS: Final = 8


class CompileUnit(Protocol):
    """What is needed of pyelftools' CompileUnit."""

    @property
    def cu_offset(self) -> int:
        """Its place in .debug_info."""


class DebugFile(Protocol):
    """What is needed of image.DebugImage."""

    @property
    def build_id(self) -> str | None:
        """The build-id in hexadecimal."""

    def section_bytes(self, name: str) -> memoryview:
        """Return a section, uncompressed and relocated; empty if it is missing."""

    def unit_at(self, address: int) -> CompileUnit | None:
        """Return the unit with code at ``address``."""


def build_table(
    image: DebugFile, addresses: Sequence[int], slide: int = 0, pointers: int = POINTERS
) -> VariableTable:
    """Return the variables and types of all functions that contain one of ``addresses``.

    ``addresses`` are the image's own (link-time for a vmlinux); ``slide`` (bytes) is added to them when the
    table is used. Structures behind more than ``pointers`` pointers are kept without their members. Addresses
    without debug information are passed over. Raises UserError where the file is damaged.
    """
    builder = _Builder(image, slide, pointers)
    for address in sorted(set(addresses)):
        builder.add(address)
    return builder.table


class _Builder:
    def __init__(self, image: DebugFile, slide: int, pointers: int) -> None:
        self.image = image
        self.table = VariableTable()
        self.table.images.append(Image(image.build_id, slide))
        self.entries = DebugEntries(image.section_bytes)
        self.types = TypeCollector(self.table.types, pointers)
        self._subprograms: dict[int, list[tuple[int, int, Die]]] = {}
        self._covered: list[Range] = []
        self._expressions: dict[Operations, int] = {}
        self._objects: dict[int, int] = {}
        self._pending: list[tuple[int, Die]] = []
        self.low = 0  # of the function in hand

    def add(self, address: int) -> None:
        """Add the function that contains ``address``, unless it is there already."""
        if any(low <= address < high for low, high in self._covered):
            return
        unit = self.image.unit_at(address)
        if unit is None:
            return
        for low, high, die in self._subprograms_of(self.entries.unit(unit.cu_offset)):
            if low <= address < high:
                self._function(die)
                return

    def _subprograms_of(self, unit: Unit) -> list[tuple[int, int, Die]]:
        found = self._subprograms.get(unit.offset)
        if found is None:
            found = self._subprograms[unit.offset] = [
                (low, high, die)
                for die in unit.root.children()
                if die.tag == Tag.SUBPROGRAM
                for low, high in ranges_of(die)
            ]
        return found

    def _function(self, die: Die) -> None:
        ranges = ranges_of(die)
        self._covered.extend(ranges)
        self.low = min(low for low, _ in ranges)
        scope = self._scope(die, _name(die) or "?", ranges)
        self.table.functions.append(Function(self.low, 0, self._locations(die, At.FRAME_BASE), scope))
        while self._pending:
            number, target = self._pending.pop()
            self.table.objects[number] = Referred(self.low, self._declared(target))

    def _scope(self, die: Die, function: str, ranges: list[Range]) -> Scope:
        scope = Scope(function, [[low - self.low, high - self.low] for low, high in ranges])
        self._fill(scope, die)
        return scope

    def _fill(self, scope: Scope, die: Die) -> None:
        """Add what is declared directly in ``die`` to ``scope``."""
        seen: set[int] = set()
        for child in die.children():
            origin = child.reference(At.ABSTRACT_ORIGIN)
            if origin is not None:
                seen.add(origin)
            self._child(scope, child)
        origin_die = die.refer(At.ABSTRACT_ORIGIN)
        if origin_die is None:
            return
        # What the compiler dropped altogether is only in the abstract instance (DWARF 5 section 3.3.8.1).
        for child in origin_die.children():
            if child.tag in _VARIABLES and child.offset not in seen:
                self._child(scope, child)

    def _child(self, scope: Scope, child: Die) -> None:
        if child.tag in _VARIABLES:
            declared = self._declared(child)
            # a declaration (extern) has no place of its own
            if declared.name and not (At.DECLARATION in child and not declared.locations):
                scope.variables.append(declared)
        elif child.tag == Tag.LEXICAL_BLOCK:
            ranges = ranges_of(child)
            if ranges:
                scope.scopes.append(self._scope(child, "", ranges))
            else:
                # No machine code belongs to it. gdb shows its variables as optimised out all over the
                # function; the kernel's macros leave a hundred of them in ip_rcv_core alone.
                self._fill(inner := Scope("", []), child)
                scope.variables += [variable for variable in inner.variables if variable.locations]
                scope.scopes += inner.scopes
        elif child.tag == Tag.INLINED_SUBROUTINE:
            ranges = ranges_of(child)
            if ranges:
                scope.scopes.append(self._scope(child, _name(child) or "?", ranges))

    def _declared(self, die: Die) -> Declared:
        holder = _holder(die, At.TYPE)
        kind = 0 if holder is None else self.types.of(holder)
        return Declared(
            _name(die) or "", kind, die.tag == Tag.FORMAL_PARAMETER, self._locations(die, At.LOCATION)
        )

    def _locations(self, die: Die, attribute: int) -> Locations:
        holder = _holder(die, attribute)
        if holder is not None:
            # references in an expression are relative to the unit it was written in
            unit, low = holder.unit, self.low
            return [
                [None, None, self._expression(unit, data)]
                if span is None
                else [span[0] - low, span[1] - low, self._expression(unit, data)]
                for span, data in locations_of(holder, attribute)
                if span is None or span[1] > span[0] or span[0] == low
            ]
        holder = _holder(die, At.CONST_VALUE) if attribute == At.LOCATION else None
        return [] if holder is None else [[None, None, self._number(_constant(holder))]]

    def _expression(self, unit: Unit, data: bytes) -> int:
        try:
            operations = decode(data, _UnitReferences(self, unit))
        except BadDwarfError as error:
            operations = ((Op.UNREADABLE, error.message.encode()),)
        return self._number(operations)

    def _number(self, operations: Operations) -> int:
        number = self._expressions.get(operations)
        if number is None:
            number = self._expressions[operations] = len(self.table.expressions)
            self.table.expressions.append(operations)
        return number

    def object_number(self, die: Die) -> int:
        """Return the number under which the table keeps a variable that an expression refers to."""
        number = self._objects.get(die.offset)
        if number is None:
            number = self._objects[die.offset] = len(self.table.objects)
            self.table.objects.append(Referred(self.low, Declared("", 0, parameter=False)))
            self._pending.append((number, die))
        return number


class _UnitReferences:
    """What the operands of one unit's expressions refer to (operations.References)."""

    def __init__(self, builder: _Builder, unit: Unit) -> None:
        self._builder = builder
        self._unit = unit
        self.address_size = unit.address_size
        self.offset_size = unit.offset_size

    def base_type(self, offset: int) -> int:
        """Return the number of the base type at ``offset`` of the unit."""
        if not offset:
            return 0
        return self._builder.types.add(self._builder.entries.die(self._unit.offset + offset), 0, 0)

    def variable(self, offset: int, *, relative: bool) -> int:
        """Return the number of the variable at ``offset``."""
        offset += self._unit.offset if relative else 0
        return self._builder.object_number(self._builder.entries.die(offset))

    def indexed_address(self, index: int) -> int:
        """Return an entry of .debug_addr."""
        return self._unit.indexed_address(index)


def _origins(die: Die) -> Iterator[Die]:
    """Yield the entry and what it is an instance or completion of (DWARF 5 sections 2.13.2, 3.3.8)."""
    current: Die | None = die
    for _ in range(_MOST_ORIGINS):
        if current is None:
            return
        yield current
        current = current.refer(At.ABSTRACT_ORIGIN) or current.refer(At.SPECIFICATION)


def _holder(die: Die, attribute: int) -> Die | None:
    """Return the entry that has ``attribute`` for ``die``."""
    return next((one for one in _origins(die) if attribute in one), None)


def _name(die: Die) -> str | None:
    holder = _holder(die, At.NAME)
    return None if holder is None else holder.text()


def _constant(die: Die) -> Operations:
    """Return operations for DW_AT_const_value (DWARF 5 section 4.1, item 10)."""
    form = die.form(At.CONST_VALUE)
    value = die.raw(At.CONST_VALUE)
    if isinstance(value, int) and form in _STRINGS:
        return ((Op.IMPLICIT_VALUE, (die.text(At.CONST_VALUE) or "").encode() + b"\0"),)
    if isinstance(value, int):
        return ((Op.CONSTS, value), (Op.STACK_VALUE,))
    if form in BLOCKS or form == Form.DATA16:
        return ((Op.IMPLICIT_VALUE, value or b""),)
    return ((Op.IMPLICIT_VALUE, (value or b"") + b"\0"),)


_STRINGS: Final = frozenset(
    (Form.STRP, Form.LINE_STRP, Form.STRX, Form.STRX1, Form.STRX2, Form.STRX3, Form.STRX4)
)
