"""C types as a table keeps them: numbered records, each made into a ``Type`` when it is first asked for.

A record is ``[kind, name, size, target, detail]``: ``size`` in bytes, ``target`` the number of another record
(0 is void), ``detail`` what a kind needs besides (see ``Kind``). That is also the serialised form.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ktcpdump_tui.debuginfo import dwarf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable

Record = list[Any]


class Kind(enum.IntEnum):
    """What a type is; behind each, what its record's ``detail`` holds."""

    VOID = 0
    BASE = 1  # DW_ATE encoding (constants.Encoding)
    POINTER = 2
    STRUCT = 3  # [[name, type, offset in bits, bits or 0], ...], null where only declared
    UNION = 4  # the same
    ENUM = 5  # [[name, value], ...]
    ARRAY = 6  # number of elements, null where not known
    TYPEDEF = 7
    CONST = 8
    VOLATILE = 9
    RESTRICT = 10
    ATOMIC = 11
    FUNCTION = 12  # parameter types, -1 for "..."; null without a prototype
    UNKNOWN = 13


QUALIFIERS: Final = frozenset((Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.ATOMIC))
_QUALIFIER_NAMES: Final = {
    Kind.CONST: "const",
    Kind.VOLATILE: "volatile",
    Kind.RESTRICT: "restrict",
    Kind.ATOMIC: "_Atomic",
}
_TAGS: Final = {Kind.STRUCT: "struct", Kind.UNION: "union", Kind.ENUM: "enum"}


class Reading(enum.Enum):
    """How bits become a number."""

    UNSIGNED = enum.auto()
    SIGNED = enum.auto()
    FLOAT = enum.auto()
    ADDRESS = enum.auto()  # of an array or a function
    NONE = enum.auto()


class Member(NamedTuple):
    """A field. ``offset`` is in bits from the start of the structure, ``bits`` 0 unless it is a bitfield."""

    name: str
    type: Type
    offset: int
    bits: int


class Type:
    """One C type. Two Types of different tables, or made at different times, may mean the same type."""

    __slots__ = (
        "_detail", "_fields", "_members", "_reading", "_stripped", "_table", "_target",
        "kind", "name", "size",
    )  # fmt: skip

    def __init__(
        self, table: TypeTable, kind: Kind, name: str, size: int, target: Type | int = 0, detail: Any = None
    ) -> None:
        self._table = table
        self.kind = kind
        self.name = name
        self.size = size
        self._target = target
        self._detail = detail
        self._members: tuple[Member, ...] | None = None
        self._stripped: Type | None = None
        self._fields: dict[str, Member | None] = {}
        self._reading: Reading | None = None

    def __repr__(self) -> str:
        return f"<{self.spelling()}>"

    @property
    def table(self) -> TypeTable:
        """The table the type belongs to."""
        return self._table

    @property
    def target(self) -> Type:
        """What a pointer points to, an array consists of, a typedef stands for, a function returns."""
        if isinstance(self._target, int):
            self._target = self._table[self._target]
        return self._target

    @property
    def encoding(self) -> int:
        """DW_ATE of a base type (0 for others)."""
        return self._detail if self.kind is Kind.BASE else 0

    @property
    def count(self) -> int | None:
        """Number of an array's elements, None where not known (a flexible array member)."""
        return self._detail if self.kind is Kind.ARRAY else None

    @property
    def complete(self) -> bool:
        """Whether a structure's members are known here."""
        return self.kind not in (Kind.STRUCT, Kind.UNION) or self._detail is not None

    @property
    def members(self) -> tuple[Member, ...]:
        """Fields of a structure or union in the order of declaration; unnamed ones have the name ``""``."""
        if self._members is None:
            rows = self._detail if self.kind in (Kind.STRUCT, Kind.UNION) and self._detail else ()
            self._members = tuple(Member(name, self._table[kind], at, bits) for name, kind, at, bits in rows)
        return self._members

    def field(self, name: str) -> Member | None:
        """Return a field by name, None where there is none; ``offset`` counts from this structure's start.

        Fields of unnamed structures inside are found too, as in C.
        """
        try:
            return self._fields[name]
        except KeyError:
            found = self._fields[name] = self._find_field(name, 0)
            return found

    def _find_field(self, name: str, depth: int) -> Member | None:
        for member in self.members:
            if member.name == name:
                return member
        if depth > _MOST_UNNAMED:
            return None
        for member in self.members:
            if not member.name:
                found = member.type.stripped()._find_field(name, depth + 1)
                if found is not None:
                    return found._replace(offset=member.offset + found.offset)
        return None

    @property
    def enumerators(self) -> Sequence[tuple[str, int]]:
        """(name, value) of an enumeration's constants."""
        return [(name, value) for name, value in self._detail] if self.kind is Kind.ENUM else ()

    @property
    def parameters(self) -> list[Type | None] | None:
        """A function's parameter types, a None at the end for ``...``; None without a prototype."""
        if self.kind is not Kind.FUNCTION or self._detail is None:
            return None
        return [None if number == -1 else self._table[number] for number in self._detail]

    @property
    def reading(self) -> Reading:
        """How a value of this (stripped) type is read as a number."""
        if self._reading is None:
            self._reading = self._how_to_read()
        return self._reading

    def _how_to_read(self) -> Reading:
        if self.kind in (Kind.ARRAY, Kind.FUNCTION):
            return Reading.ADDRESS
        if self.is_structure or self.kind is Kind.VOID or not self.size:
            return Reading.NONE
        if self.is_float:
            return Reading.FLOAT
        return Reading.SIGNED if self.signed else Reading.UNSIGNED

    @property
    def signed(self) -> bool:
        """Whether numbers of this (stripped) type may be negative."""
        if self.kind is Kind.BASE:
            return self._detail in (dwarf.ATE_SIGNED, dwarf.ATE_SIGNED_CHAR)
        if self.kind is Kind.ENUM:
            underlying = self.target.stripped()
            if underlying.kind is Kind.BASE:
                return underlying.signed
            return any(value < 0 for _, value in self._detail)
        return False

    @property
    def is_integer(self) -> bool:
        """Whether the (stripped) type is an integer of C: also _Bool, char and enumerations."""
        return self.kind is Kind.ENUM or (
            self.kind is Kind.BASE and self._detail not in (dwarf.ATE_FLOAT, dwarf.ATE_COMPLEX_FLOAT)
        )

    @property
    def is_float(self) -> bool:
        """Whether the (stripped) type is float or double."""
        return self.kind is Kind.BASE and self._detail == dwarf.ATE_FLOAT

    @property
    def is_structure(self) -> bool:
        """Whether the (stripped) type is a struct or union."""
        return self.kind in (Kind.STRUCT, Kind.UNION)

    def stripped(self) -> Type:
        """Return the type without typedefs and qualifiers; a structure with its members if they are known."""
        if self._stripped is not None:
            return self._stripped
        kind = self
        for _ in range(_MOST_LINKS):
            if kind.kind is Kind.TYPEDEF or kind.kind in QUALIFIERS:
                kind = kind.target
            elif not kind.complete:
                return self._table.completed(kind)  # not kept: the table may be told of others later
            else:
                self._stripped = kind
                return kind
        return self._table.unknown

    def typedefs(self) -> Iterator[str]:
        """Yield the typedef names on the way to the stripped type, outermost first."""
        kind = self
        for _ in range(_MOST_LINKS):
            if kind.kind is Kind.TYPEDEF:
                yield kind.name
            elif kind.kind not in QUALIFIERS:
                return
            kind = kind.target

    def pointer(self) -> Type:
        """Return the type ``T *``."""
        return Type(self._table, Kind.POINTER, "", 8, self)

    def array(self, count: int) -> Type:
        """Return the type ``T [count]``."""
        return Type(self._table, Kind.ARRAY, "", self.byte_size() * count, self, count)

    def byte_size(self) -> int:
        """Return sizeof in bytes (0 for void, functions and what is not known)."""
        kind = self.stripped()
        if kind.kind is Kind.ARRAY and not kind.size and kind.count:
            return kind.count * kind.target.byte_size()
        return kind.size

    def spelling(self, declarator: str = "") -> str:
        """Return the type as C writes it, around ``declarator``: ``int (*)(struct net *)``, ``u8[6]``."""
        return _spell(self, declarator, 0)


#: Unnamed structures nested deeper than this are damage.
_MOST_UNNAMED: Final = 16
#: Longer chains of typedefs and qualifiers are circles.
_MOST_LINKS: Final = 64


def _spell(kind: Type, declarator: str, depth: int) -> str:
    if depth > _MOST_LINKS:
        return "?"
    if kind.kind is Kind.POINTER:
        inner = kind.target
        if inner.kind in (Kind.ARRAY, Kind.FUNCTION):
            return _spell(inner, f"(*{declarator})", depth + 1)
        return _spell(inner, f"*{declarator}", depth + 1)
    if kind.kind is Kind.ARRAY:
        count = "" if kind.count is None else str(kind.count)
        return _spell(kind.target, f"{declarator}[{count}]", depth + 1)
    if kind.kind is Kind.FUNCTION:
        parameters = kind.parameters
        if parameters is None:
            listed = ""
        elif not parameters:
            listed = "void"
        else:
            listed = ", ".join("..." if one is None else _spell(one, "", depth + 1) for one in parameters)
        return _spell(kind.target, f"{declarator}({listed})", depth + 1)
    if kind.kind in QUALIFIERS:
        kinds: set[Kind] = set()
        while kind.kind in QUALIFIERS and depth <= _MOST_LINKS:
            kinds.add(kind.kind)
            kind, depth = kind.target, depth + 1
        words = " ".join(_QUALIFIER_NAMES[one] for one in sorted(kinds))
        if kind.kind is Kind.POINTER:
            return _spell(kind, f"{words} {declarator}".rstrip(), depth)
        return f"{words} {_spell(kind, declarator, depth)}"
    if kind.kind is Kind.VOID:
        name = "void"
    elif kind.kind in _TAGS:
        name = f"{_TAGS[kind.kind]} {kind.name or '{...}'}"
    else:
        name = kind.name or "?"
    if not declarator:
        return name
    return f"{name}{declarator}" if declarator.startswith("[") else f"{name} {declarator}"
