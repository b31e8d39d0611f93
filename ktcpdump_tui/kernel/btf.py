"""The running kernel's types, from BTF (Documentation/bpf/btf.rst, include/uapi/linux/btf.h).

A kernel has 130,000 to 200,000 types in 4-6 MB. Where each begins is found with numpy and one walk over
integers; a type is decoded only when it is asked for.
"""

from __future__ import annotations

import struct
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.btf_records import Kind, Member, Parameter, Struct, Type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BTF_DIRECTORY: Final = Path("/sys/kernel/btf")

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
#: struct btf_type: name_off, info, size or type.
_TYPE: Final = struct.Struct("<III")
_MEMBER: Final = struct.Struct("<III")
#: Guards against a loop in damaged data.
_MAX_NESTING: Final = 64


#: Kinds that only qualify or rename the type they refer to.
TRANSPARENT: Final = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_POINTER_BYTES: Final = 8

#: 4-byte words that follow a record: fixed, and per element of vlen, by kind.
_FIXED_WORDS: Final = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_WORDS_EACH: Final = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}


class Btf:
    """One BTF blob; ``base`` is the kernel's where this one is a module's (split BTF)."""

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        """Take the bytes of /sys/kernel/btf/NAME or of an ELF's .BTF section. Raises ValueError on damage."""
        if len(data) < _HEADER.size:
            raise ValueError("BTF is cut short")
        magic, version, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1:
            raise ValueError("not BTF of this machine's byte order, version 1")
        if max(header + type_off + type_len, header + str_off + str_len) > len(data) or type_len % 4:
            raise ValueError("BTF is cut short")
        self.data = data
        self.base = base
        self._types = header + type_off
        self._type_bytes = type_len
        self._strings = header + str_off
        self._string_bytes = str_len
        self._found_strings: dict[str, list[int]] = {}
        #: Strings and types of a split BTF are numbered from where its base ends.
        self._first_string: int = base._first_string + base._string_bytes if base else 0
        self.first_id: int = base.end_id if base else 1

    @classmethod
    def read(cls, module: str | None = None, base: Btf | None = None, directory: Path = BTF_DIRECTORY) -> Btf:
        """Read the kernel's BTF, or a module's with the kernel's as ``base``; UserError without BTF."""
        path = directory / (module or "vmlinux")
        try:
            return cls(path.read_bytes(), base)
        except OSError as error:
            raise UserError(
                f"this kernel describes no types: {path}: {error.strerror} (CONFIG_DEBUG_INFO_BTF)",
                "use a distribution's stock kernel, or capture in one: ktcpdump-tui --lab",
            ) from error
        except ValueError as error:
            raise UserError(f"{path}: {error}", "capture in a stock kernel: ktcpdump-tui --lab") from error

    @property
    def end_id(self) -> int:
        """The id after the last type's."""
        return self.first_id + len(self._places)

    # ---- types

    def type(self, type_id: int) -> Type:
        """Return the type with this id; 0 is void. Raises IndexError for an id there is not."""
        if type_id == 0:
            return Type(0, "void", Kind.VOID, 0, False, 0, 0)
        if type_id < self.first_id:
            if self.base is None:
                raise IndexError(type_id)
            return self.base.type(type_id)
        at = self._types + 4 * int(self._places[type_id - self.first_id])
        name, info, size = _TYPE.unpack_from(self.data, at)
        return Type(
            type_id,
            self.string(name),
            Kind(info >> 24 & 0x1F),
            info & 0xFFFF,
            bool(info >> 31),
            size,
            at + _TYPE.size,
        )

    def resolve(self, type_id: int) -> Type:
        """Return the type behind typedefs and qualifiers."""
        for _ in range(_MAX_NESTING):
            found = self.type(type_id)
            if found.kind not in TRANSPARENT:
                return found
            type_id = found.size_or_type
        raise ValueError("BTF: a type that refers to itself")

    def string(self, offset: int) -> str:
        """Return the string at ``offset`` of the string section."""
        if offset < self._first_string:
            return self.base.string(offset) if self.base else ""
        start = self._strings + offset - self._first_string
        return self.data[start : self.data.index(b"\0", start)].decode(errors="replace")

    def find(self, name: str, *kinds: Kind) -> list[Type]:
        """Return the types called ``name`` of one of ``kinds`` (none: of any), the base's first."""
        found = self.base.find(name, *kinds) if self.base else []
        for offset in self._string_offsets(name):
            for at in np.flatnonzero(self._name_offsets == offset):
                type_ = self.type(self.first_id + int(at))
                if not kinds or type_.kind in kinds:
                    found.append(type_)
        return found

    def struct(self, name: str) -> Struct:
        """Return the struct or union called ``name``; KeyError where this kernel has none."""
        found = self.find(name, Kind.STRUCT, Kind.UNION)
        if not found:
            raise KeyError(f"struct {name}")
        return Struct(self, found[0])

    def has_member(self, name: str, path: str) -> bool:
        """Tell whether there is a struct ``name`` with a member at ``path``."""
        return any(path in Struct(self, one) for one in self.find(name, Kind.STRUCT, Kind.UNION)[:1])

    def members(self, container: Type) -> list[Member]:
        """Return the direct members of a struct or union."""
        found = []
        for at in range(container.at, container.at + container.vlen * _MEMBER.size, _MEMBER.size):
            name, type_id, offset = _MEMBER.unpack_from(self._data_of(container.id), at)
            bits = offset >> 24 if container.flag else 0
            found.append(
                Member(self.string(name), type_id, offset & 0xFFFFFF if container.flag else offset, bits)
            )
        return found

    def member(self, container: Type, name: str) -> Member | None:
        """Return the member called ``name``, looked for in anonymous structs and unions too."""
        if container.kind not in (Kind.STRUCT, Kind.UNION):
            return None
        inner = []
        for one in self.members(container):
            if one.name == name:
                return one
            if not one.name:
                inner.append(one)
        for one in inner:
            found = self.member(self.resolve(one.type_id), name)
            if found:
                return found._replace(bit_offset=found.bit_offset + one.bit_offset)
        return None

    def size_of(self, type_id: int) -> int:
        """Return sizeof a type in bytes; 0 for void, functions and incomplete types."""
        found = self.resolve(type_id)
        if found.kind is Kind.PTR:
            return _POINTER_BYTES
        if found.kind is Kind.ARRAY:
            element, _, count = struct.unpack_from("<III", self._data_of(found.id), found.at)
            return self.size_of(element) * int(count)
        if found.kind in (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FLOAT):
            return found.size_or_type
        return 0

    def enum(self, name: str) -> dict[str, int]:
        """Return {name: value} of ``enum name``; KeyError where this kernel has none."""
        found = self.find(name, Kind.ENUM, Kind.ENUM64)
        if not found:
            raise KeyError(f"enum {name}")
        return dict(self._enumerators(found[0]))

    def enumerator(self, name: str) -> int | None:
        """Return the value of one enumerator of any enum, anonymous ones too, or None."""
        found = self.enumerator_of(name)
        return found[1] if found else None

    def enumerator_of(self, name: str) -> tuple[int, int] | None:
        """Return (type id of its enum, value) of an enumerator, or None; no name is decoded for it."""
        offsets = set(self._string_offsets(name))
        kinds = self.kinds
        for index in np.flatnonzero((kinds == Kind.ENUM) | (kinds == Kind.ENUM64)) if offsets else ():
            type_id = self.first_id + int(index)
            for offset, value in self._numbered(self.type(type_id)):
                if offset in offsets:
                    return type_id, value
        return self.base.enumerator_of(name) if self.base else None

    def _enumerators(self, type_: Type) -> Iterator[tuple[str, int]]:
        for offset, value in self._numbered(type_):
            yield self.string(offset), value

    def _numbered(self, type_: Type) -> Iterator[tuple[int, int]]:
        """Yield (offset of the name, value) of each enumerator."""
        data = self._data_of(type_.id)
        # kind_flag: the values are signed
        if type_.kind is Kind.ENUM:
            form = struct.Struct("<Ii" if type_.flag else "<II")
            for name, value in form.iter_unpack(data[type_.at : type_.at + type_.vlen * 8]):
                yield name, value
        else:
            for name, low, high in struct.iter_unpack("<III", data[type_.at : type_.at + type_.vlen * 12]):
                value = low | high << 32
                yield name, value - (1 << 64) if type_.flag and high >> 31 else value

    # ---- functions

    def parameters(self, function: Type) -> list[Parameter]:
        """Return the parameters of a FUNC or FUNC_PROTO, in order; a variadic tail has type id 0."""
        proto = self.type(function.size_or_type) if function.kind is Kind.FUNC else function
        data = self._data_of(proto.id)[proto.at : proto.at + proto.vlen * 8]
        return [Parameter(self.string(name), type_id) for name, type_id in struct.iter_unpack("<II", data)]

    def functions(self, name: str) -> list[Type]:
        """Return the FUNCs called ``name``; several where static functions of one name differ."""
        return self.find(name, Kind.FUNC)

    # ---- the index

    @cached_property
    def references(self) -> NDArray[Any]:
        """The size or type id of this blob's own types, by id - first_id."""
        return self._words[self._places + 2]

    def parameter_types(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return all parameters of this blob's own prototypes: (id of the FUNC_PROTO, id of the type)."""
        own = np.flatnonzero(self.kinds == Kind.FUNC_PROTO)
        counts = (self._words[self._places[own] + 1] & 0xFFFF).astype(np.int64)
        owner = np.repeat(own, counts)
        ordinal = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.first_id + owner, self._words[self._places[owner] + 3 + 2 * ordinal + 1]

    @cached_property
    def _words(self) -> NDArray[np.uint32]:
        return np.frombuffer(self.data, np.uint32, self._type_bytes // 4, self._types)

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The word each type's record begins at, by id - first_id."""
        words = self._words
        # What a record would span if one began at each word; then only the walk is left to do one by one.
        info = words[1:]
        kinds = info >> 24 & 0x1F
        fixed = np.zeros(32, np.int64)
        each = np.zeros(32, np.int64)
        for kind, count in _FIXED_WORDS.items():
            fixed[kind] = count
        for kind, count in _WORDS_EACH.items():
            each[kind] = count
        spans = (3 + fixed[kinds] + each[kinds] * (info & 0xFFFF)).tolist()
        places = []
        at, end = 0, len(spans)
        while at < end:
            places.append(at)
            at += spans[at]
        return np.array(places, np.int64)

    @cached_property
    def kinds(self) -> NDArray[Any]:
        """BTF_KIND_* of this blob's own types, by id - first_id."""
        return self._words[self._places + 1] >> 24 & 0x1F

    @cached_property
    def _name_offsets(self) -> NDArray[np.uint32]:
        return self._words[self._places]

    def _string_offsets(self, name: str) -> list[int]:
        """Return where ``name`` is in the string section; a split BTF may use its base's string."""
        if name in self._found_strings:
            return self._found_strings[name]
        found = list(self.base._string_offsets(name)) if self.base else []
        needle = b"\0" + name.encode() + b"\0"
        # a split BTF's strings need not begin with the empty one
        at = self.data.find(needle, max(self._strings - 1, 0), self._strings + self._string_bytes)
        if at >= 0:
            found.append(at + 1 - self._strings + self._first_string)
        self._found_strings[name] = found
        return found

    def _data_of(self, type_id: int) -> bytes:
        if type_id < self.first_id and self.base is not None:
            return self.base._data_of(type_id)
        return self.data
