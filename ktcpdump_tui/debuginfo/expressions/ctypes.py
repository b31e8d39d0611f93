"""C's arithmetic types on x86-64 (System V ABI, figure 3.1) and the kernel's names for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.variables.types import Kind, Type

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable


class Integer(NamedTuple):
    """An integer type after promotion: ``size`` in bytes."""

    size: int
    signed: bool


INT: Final = Integer(4, True)
LONG: Final = Integer(8, True)
UNSIGNED_LONG: Final = Integer(8, False)

#: The words C's own types are written with.
BASE_WORDS: Final = frozenset(
    ("void", "char", "short", "int", "long", "signed", "unsigned", "_Bool", "__int128", "float", "double")
)

_NAMES: Final = {
    (1, True): ("signed char", dwarf.ATE_SIGNED_CHAR),
    (1, False): ("unsigned char", dwarf.ATE_UNSIGNED_CHAR),
    (2, True): ("short int", dwarf.ATE_SIGNED),
    (2, False): ("short unsigned int", dwarf.ATE_UNSIGNED),
    (4, True): ("int", dwarf.ATE_SIGNED),
    (4, False): ("unsigned int", dwarf.ATE_UNSIGNED),
    (8, True): ("long int", dwarf.ATE_SIGNED),
    (8, False): ("long unsigned int", dwarf.ATE_UNSIGNED),
    (16, True): ("__int128", dwarf.ATE_SIGNED),
    (16, False): ("__int128 unsigned", dwarf.ATE_UNSIGNED),
}

#: include/uapi/linux/types.h, include/linux/types.h: in every kernel, also where no variable has the type.
_BUILTIN: Final = {
    name.format(bits=bits): (bits // 8, name.strip("_") in ("s{bits}", "int{bits}_t"))
    for name in ("u{bits}", "s{bits}", "__u{bits}", "__s{bits}", "uint{bits}_t", "int{bits}_t")
    for bits in (8, 16, 32, 64)
} | {
    **{f"__{order}{bits}": (bits // 8, False) for order in ("be", "le") for bits in (16, 32, 64)},
    "size_t": (8, False),
    "ssize_t": (8, True),
    "ulong": (8, False),
    "uint": (4, False),
    "ushort": (2, False),
    "uintptr_t": (8, False),
    "__sum16": (2, False),
    "__wsum": (4, False),
}


def is_builtin(name: str) -> bool:
    """Tell whether a typedef is known without any debug information."""
    return name in _BUILTIN or name == "bool"


def builtin(table: TypeTable, name: str) -> Type | None:
    """Return a typedef of the kernel by name."""
    if name == "bool":
        return Type(table, Kind.TYPEDEF, name, 0, table.base("_Bool", 1, dwarf.ATE_BOOLEAN))
    found = _BUILTIN.get(name)
    return None if found is None else Type(table, Kind.TYPEDEF, name, 0, integer_type(table, Integer(*found)))


def integer_type(table: TypeTable, kind: Integer) -> Type:
    """Return the C type of an integer."""
    name, encoding = _NAMES[kind]
    return table.base(name, kind.size, encoding)


def base_type(table: TypeTable, words: list[str]) -> Type | None:
    """Return the type that C's own words name in any order (``long unsigned``); None for no such type."""
    rest = sorted(words)
    if rest == ["void"]:
        return table.void
    if rest == ["_Bool"]:
        return table.base("_Bool", 1, dwarf.ATE_BOOLEAN)
    if rest in (["float"], ["double"]):
        return table.base(rest[0], 4 if rest == ["float"] else 8, dwarf.ATE_FLOAT)
    if rest == ["char"]:
        return table.base("char", 1, dwarf.ATE_SIGNED_CHAR)
    signs = [word for word in rest if word in ("signed", "unsigned")]
    sizes = [word for word in rest if word not in ("signed", "unsigned", "int")]
    signed = signs != ["unsigned"]
    size = {(): 4, ("char",): 1, ("short",): 2, ("long",): 8, ("long", "long"): 8, ("__int128",): 16}.get(
        tuple(sizes)
    )
    if size is None or len(signs) > 1 or rest.count("int") > 1 or (rest.count("int") and size in (1, 16)):
        return None
    return integer_type(table, Integer(size, signed))


def promoted(kind: Type, bits: int = 0) -> Integer:
    """Return the type of an integer in arithmetic (C11 6.3.1.1): int where that holds all values.

    A bitfield wider than int keeps its declared type, as clang has it (gcc has a type of that many bits).
    """
    width = bits or kind.size * 8
    if width < 32:
        return INT
    return Integer(4 if width == 32 else kind.size, kind.signed)


def common(left: Integer, right: Integer) -> Integer:
    """Return the type two integers meet in (C11 6.3.1.8)."""
    if left.size != right.size:
        return left if left.size > right.size else right
    return Integer(left.size, left.signed and right.signed)


def wrap(number: int, kind: Integer) -> int:
    """Return ``number`` reduced to the range of ``kind``: the kernel is built with -fno-strict-overflow."""
    bits = kind.size * 8
    number &= (1 << bits) - 1
    return number - (1 << bits) if kind.signed and number >> (bits - 1) else number
