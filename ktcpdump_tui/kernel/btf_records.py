"""What BTF is made of: kinds of types, records, members (include/uapi/linux/btf.h)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ktcpdump_tui.kernel.btf import Btf


class Kind(enum.IntEnum):
    """BTF_KIND_*: what a type is."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Type(NamedTuple):
    """One record. ``size_or_type`` is bytes or a type id, by kind; ``at`` is where its fixed part ends."""

    id: int
    name: str
    kind: Kind
    vlen: int
    flag: bool
    size_or_type: int
    at: int


class Member(NamedTuple):
    """A member of a struct or union. ``bits`` is a bitfield's width, else 0; offsets are in bits."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


class Parameter(NamedTuple):
    """A parameter of a function; ``name`` is empty where the prototype gives none."""

    name: str
    type_id: int


class Struct:
    """A struct or union by name; members are named as C does: ``ns.inum``, ``__sk_common.skc_net``."""

    def __init__(self, btf: Btf, type_: Type) -> None:
        self._btf = btf
        self.type = type_
        self.name = type_.name
        self.size = type_.size_or_type

    def find(self, path: str) -> Member:
        """Return the member at ``path``, its offset from the struct's start; KeyError where there is none.

        Members of anonymous structs and unions are found by their own name, as in C.
        """
        type_id, offset = self.type.id, 0
        found: Member | None = None
        for name in path.split("."):
            container = self._btf.resolve(type_id)
            found = self._btf.member(container, name)
            if found is None:
                raise KeyError(f"struct {self.name} has no member {path}")
            offset += found.bit_offset
            type_id = found.type_id
        assert found is not None
        return found._replace(bit_offset=offset)

    def offset(self, path: str) -> int:
        """Return the member's offset in bytes; KeyError where there is none, or where it is a bitfield."""
        found = self.find(path)
        if found.bits:
            raise KeyError(f"struct {self.name}: {path} is a bitfield")
        return found.bit_offset // 8

    def bitfield(self, path: str) -> tuple[int, int] | None:
        """Return (offset, width) of a bitfield in bits; None where there is none of that name."""
        try:
            found = self.find(path)
        except KeyError:
            return None
        return (found.bit_offset, found.bits) if found.bits else None

    def __contains__(self, path: str) -> bool:
        try:
            self.find(path)
        except KeyError:
            return False
        return True

    def sizeof(self, path: str) -> int:
        """Return the bytes of the member's type."""
        return self._btf.size_of(self.find(path).type_id)
