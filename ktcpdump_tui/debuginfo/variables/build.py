"""A VariableTable from debug information: scopes and variables of the functions that a plan touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.errors import reading
from ktcpdump_tui.debuginfo.units import subprogram_at
from ktcpdump_tui.debuginfo.variables.collect import TypeCollector
from ktcpdump_tui.debuginfo.variables.damage import BadDwarfError
from ktcpdump_tui.debuginfo.variables.entries import BLOCKS, STRING_INDEXES, Entries
from ktcpdump_tui.debuginfo.variables.lists import locations_of
from ktcpdump_tui.debuginfo.variables.operations import Op, decode
from ktcpdump_tui.debuginfo.variables.table import Declared, Function, Image, Referred, Scope, VariableTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.debuginfo.ranges import Ranges
    from ktcpdump_tui.debuginfo.variables.entries import Die, UnitEntries
    from ktcpdump_tui.debuginfo.variables.operations import Operations
    from ktcpdump_tui.debuginfo.variables.table import Locations

#: Structures behind this many pointers, counted from a variable, are kept with their members.
POINTERS: Final = 3

_VARIABLES: Final = frozenset((dwarf.TAG_VARIABLE, dwarf.TAG_FORMAL_PARAMETER))

_CALLS: Final = frozenset({dwarf.TAG_CALL_SITE, dwarf.TAG_GNU_CALL_SITE})
_PASSED: Final = frozenset({dwarf.TAG_CALL_SITE_PARAMETER, dwarf.TAG_GNU_CALL_SITE_PARAMETER})

#: DW_AT_abstract_origin and DW_AT_specification lead at most this far.
_MOST_ORIGINS: Final = 8


def build_table(
    image: DebugImage, addresses: Sequence[int], slide: int = 0, pointers: int = POINTERS
) -> VariableTable:
    """Return the variables and types of all functions that contain one of ``addresses``.

    ``addresses`` are the image's own (link-time for a vmlinux); ``slide`` (bytes) is added to them when the
    table is used. Structures behind more than ``pointers`` pointers are kept without their members. Addresses
    without debug information are passed over. Raises UserError where the file is damaged.
    """
    with reading(image.path, "variables"):
        builder = _Builder(image, slide, pointers)
        for address in sorted(set(addresses)):
            builder.add(address)
        return builder.table


class _Builder:
    def __init__(self, image: DebugImage, slide: int, pointers: int) -> None:
        self.image = image
        self.table = VariableTable()
        self.table.images.append(Image(image.build_id, slide))
        self.entries = Entries(image.reader)
        self.types = TypeCollector(self.table.types, pointers)
        self._covered: list[tuple[int, int]] = []
        self._expressions: dict[Operations, int] = {}
        self._objects: dict[int, int] = {}
        self._pending: list[tuple[int, Die]] = []
        self.low = 0  # of the function in hand

    def add(self, address: int) -> None:
        """Add the function that contains ``address``, unless it is there already."""
        if any(low <= address < high for low, high in self._covered):
            return
        unit = self.image.units.at(address)
        offset = None if unit is None else subprogram_at(unit, address)
        if unit is not None and offset is not None:
            self._function(self.entries.unit(unit.offset).entry(offset))

    def _function(self, die: Die) -> None:
        ranges = die.ranges()
        self._covered.extend(ranges)
        self.low = min(low for low, _ in ranges)
        self._calls: list[list[Any]] = []
        scope = self._scope(die, _name(die) or "?", ranges)
        base = self._locations(die, dwarf.AT_FRAME_BASE)
        self.table.functions.append(Function(self.low, 0, base, scope, self._calls))
        while self._pending:
            number, target = self._pending.pop()
            self.table.objects[number] = Referred(self.low, self._declared(target))

    def _scope(self, die: Die, function: str, ranges: Ranges) -> Scope:
        scope = Scope(function, [[low - self.low, high - self.low] for low, high in ranges])
        self._fill(scope, die)
        return scope

    def _fill(self, scope: Scope, die: Die) -> None:
        """Add what is declared directly in ``die`` to ``scope``."""
        seen: set[int] = set()
        for child in die.children():
            origin = child.reference(dwarf.AT_ABSTRACT_ORIGIN)
            if origin is not None:
                seen.add(origin)
            self._child(scope, child)
        origin_die = die.refer(dwarf.AT_ABSTRACT_ORIGIN)
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
            if declared.name and not (dwarf.AT_DECLARATION in child and not declared.locations):
                scope.variables.append(declared)
        elif child.tag == dwarf.TAG_LEXICAL_BLOCK:
            ranges = child.ranges()
            if ranges:
                scope.scopes.append(self._scope(child, "", ranges))
            else:
                # No machine code belongs to it. gdb shows its variables as optimised out all over the
                # function; the kernel's macros leave a hundred of them in ip_rcv_core alone.
                self._fill(inner := Scope("", []), child)
                scope.variables += [variable for variable in inner.variables if variable.locations]
                scope.scopes += inner.scopes
        elif child.tag in _CALLS:
            self._call(child)
        elif child.tag == dwarf.TAG_INLINED_SUBROUTINE:
            ranges = child.ranges()
            if ranges:
                scope.scopes.append(self._scope(child, _name(child) or "?", ranges))

    def _call(self, die: Die) -> None:
        """Keep what a call site passes where that is the same at every call (DWARF 5 section 3.4)."""
        after = die.address(dwarf.AT_CALL_RETURN_PC)
        if after is None:
            after = die.address(dwarf.AT_LOW_PC)  # GNU's form before DWARF 5
        passed = []
        for child in die.children() if after is not None else ():
            place = child.block(dwarf.AT_LOCATION)
            value = child.block(dwarf.AT_CALL_VALUE) or child.block(dwarf.AT_GNU_CALL_SITE_VALUE)
            if child.tag not in _PASSED or place is None or value is None:
                continue
            register = self.table.expressions[self._expression(die.unit, place)]
            number = self._expression(die.unit, value)
            if (
                len(register) == 1
                and register[0][0] == Op.REGX
                and _is_constant(self.table.expressions[number])
            ):
                passed.append([register[0][1], number])
        if passed and after is not None:
            self._calls.append([after - self.low, passed])

    def _declared(self, die: Die) -> Declared:
        holder = _holder(die, dwarf.AT_TYPE)
        kind = 0 if holder is None else self.types.of(holder)
        return Declared(
            _name(die) or "",
            kind,
            die.tag == dwarf.TAG_FORMAL_PARAMETER,
            self._locations(die, dwarf.AT_LOCATION),
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
        holder = _holder(die, dwarf.AT_CONST_VALUE) if attribute == dwarf.AT_LOCATION else None
        return [] if holder is None else [[None, None, self._number(_constant(holder))]]

    def _expression(self, unit: UnitEntries, data: bytes) -> int:
        try:
            operations = decode(data, _UnitReferences(self, unit))
        except (BadDwarfError, IndexError) as error:
            operations = ((Op.UNREADABLE, str(error).encode()),)
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

    def __init__(self, builder: _Builder, unit: UnitEntries) -> None:
        self._builder = builder
        self._unit = unit
        self.address_size = unit.unit.address_size
        self.offset_size = unit.unit.offset_size

    def base_type(self, offset: int) -> int:
        """Return the number of the base type at ``offset`` of the unit."""
        if not offset:
            return 0
        return self._builder.types.add(self._unit.die(self._unit.offset + offset), 0, 0)

    def variable(self, offset: int, *, relative: bool) -> int:
        """Return the number of the variable at ``offset``."""
        offset += self._unit.offset if relative else 0
        return self._builder.object_number(self._unit.die(offset))

    def indexed_address(self, index: int) -> int:
        """Return an entry of .debug_addr."""
        return self._unit.indexed_address(index)


def _is_constant(operations: Operations) -> bool:
    """Whether an expression only needs itself."""
    return all(operation[0] in _CONSTANT for operation in operations)


_CONSTANT: Final = frozenset(
    {Op.CONSTS, Op.ADDR, Op.PLUS, Op.MINUS, Op.PLUS_UCONST, Op.NEG, Op.NOT, Op.STACK_VALUE, Op.SHL, Op.OR}
)


def _origins(die: Die) -> Iterator[Die]:
    """Yield the entry and what it is an instance or completion of (DWARF 5 sections 2.13.2, 3.3.8)."""
    current: Die | None = die
    for _ in range(_MOST_ORIGINS):
        if current is None:
            return
        yield current
        current = current.refer(dwarf.AT_ABSTRACT_ORIGIN) or current.refer(dwarf.AT_SPECIFICATION)


def _holder(die: Die, attribute: int) -> Die | None:
    """Return the entry that has ``attribute`` for ``die``."""
    return next((one for one in _origins(die) if attribute in one), None)


def _name(die: Die) -> str | None:
    holder = _holder(die, dwarf.AT_NAME)
    return None if holder is None else holder.text()


def _constant(die: Die) -> Operations:
    """Return operations for DW_AT_const_value (DWARF 5 section 4.1, item 10)."""
    form = die.form(dwarf.AT_CONST_VALUE)
    value = die.raw(dwarf.AT_CONST_VALUE)
    if isinstance(value, int) and form in _STRINGS:
        return ((Op.IMPLICIT_VALUE, (die.text(dwarf.AT_CONST_VALUE) or "").encode() + b"\0"),)
    if isinstance(value, int):
        return ((Op.CONSTS, value), (Op.STACK_VALUE,))
    if form in BLOCKS or form == dwarf.FORM_DATA16:
        return ((Op.IMPLICIT_VALUE, value or b""),)
    return ((Op.IMPLICIT_VALUE, (value or b"") + b"\0"),)


_STRINGS: Final = STRING_INDEXES | {dwarf.FORM_STRP, dwarf.FORM_LINE_STRP}
