"""Types from BTF (Documentation/bpf/btf.rst) where there is no DWARF, and those every packet needs anyway."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Protocol

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.variables.copying import copied
from ktcpdump_tui.debuginfo.variables.table import VariableTable
from ktcpdump_tui.debuginfo.variables.type_table import TypeTable
from ktcpdump_tui.debuginfo.variables.types import Kind, Type

if TYPE_CHECKING:
    from collections.abc import Sequence


class BtfType(Protocol):
    """What is needed of kernel.btf.Type, one record: its properties are explained there."""

    id: int
    name: str
    kind: int
    vlen: int
    flag: bool
    size_or_type: int
    at: int


class Btf(Protocol):
    """What is needed of kernel.btf.Btf."""

    data: bytes
    first_id: int
    base: Any

    @property
    def kinds(self) -> Any:
        """The kind of each type, by id - first_id (a numpy array)."""

    def type(self, type_id: int) -> Any:
        """Return a BtfType; IndexError where there is none."""

    def string(self, offset: int) -> str:
        """Return a string of the string section."""

    def members(self, container: Any) -> Sequence[tuple[str, int, int, int]]:
        """Return (name, type id, offset in bits, bits or 0) of each member of a structure."""

    def find(self, name: str, *kinds: Any) -> Sequence[Any]:
        """Return the BtfTypes of a name."""

    def enumerator_of(self, name: str) -> tuple[int, int] | None:
        """Return (type id of its enum, value) of an enumerator, or None."""


# BTF_KIND_* (include/uapi/linux/btf.h).
_INT: Final = 1
_ARRAY: Final = 3
_ENUM: Final = 6
_FWD: Final = 7
_FUNC_PROTO: Final = 13
_FLOAT: Final = 16
_TYPE_TAG: Final = 18
_ENUM64: Final = 19
_LINKS: Final = {2: Kind.POINTER, 8: Kind.TYPEDEF, 9: Kind.VOLATILE, 10: Kind.CONST, 11: Kind.RESTRICT}
_STRUCTURES: Final = {4: Kind.STRUCT, 5: Kind.UNION}

#: Where a type of ours is looked for.
_WANTED: Final = {
    Kind.BASE: (_INT, _FLOAT),
    Kind.STRUCT: (4,),
    Kind.UNION: (5,),
    Kind.ENUM: (_ENUM, _ENUM64),
    Kind.TYPEDEF: (8,),
}

_NAMES: Final = """
    sk_buff skb_shared_info skb_shared_hwtstamps skb_ext net_device net net_device_core_stats
    ethhdr vlan_hdr vlan_ethhdr arphdr iphdr ipv6hdr ipv6_opt_hdr frag_hdr tcphdr udphdr icmphdr icmp6hdr
    igmphdr sctphdr gre_base_hdr vxlanhdr genevehdr ip_esp_hdr ip_auth_hdr
    sock sock_common inet_sock tcp_sock udp_sock dst_entry rtable rt6_info nf_conn nf_conntrack_tuple
    nft_pktinfo nf_hook_state inet_skb_parm inet6_skb_parm tcp_skb_cb qdisc_skb_cb
"""
#: Structures that expressions on any packet may name, whether or not a traced function uses them.
WELL_KNOWN: Final = tuple(_NAMES.split())

#: Enumerations likewise; an enumerator stands for one without a name.
WELL_KNOWN_ENUMS: Final = ("skb_drop_reason", "nf_inet_hooks", "tcp_conntrack", "pkt_hash_types")
WELL_KNOWN_ENUMERATORS: Final = ("IPPROTO_TCP", "TCP_ESTABLISHED", "NFPROTO_IPV4", "SKBFL_ZEROCOPY_ENABLE")


class BtfTypes(TypeTable):
    """All types of a kernel, each decoded when it is asked for; numbers are BTF's ids."""

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf

    def __getitem__(self, number: int) -> Type:
        made = self._made.get(number)
        if made is None:
            made = self._made[number] = self._make(number)
        return made

    def own(self, kind: Kind, name: str) -> Type | None:
        """Return the type called ``name``."""
        found = self._btf.find(name, *_WANTED[kind]) if kind in _WANTED else ()
        return self[found[0].id] if found else None

    def names(self, kind: Kind) -> list[str]:
        """Return all names of types of a kind."""
        wanted = _WANTED.get(kind, ())
        ids = [
            self._btf.first_id + index for index, one in enumerate(self._btf.kinds.tolist()) if one in wanted
        ]
        return [name for number in ids if (name := self._btf.type(number).name)]

    def constant(self, name: str) -> tuple[int, Type] | None:
        """Return (value, enumeration) of an enumerator, without decoding the names of all."""
        found = self._btf.enumerator_of(name)
        return (found[1], self[found[0]]) if found else super().constant(name)

    def _by_enumerator(self) -> dict[str, tuple[int, int]]:
        if self._constants is None:
            self._constants = {}
            for index, kind in enumerate(self._btf.kinds.tolist()):
                if kind in (_ENUM, _ENUM64):
                    number = self._btf.first_id + index
                    for name, value in self._enumerators(self._btf.type(number)):
                        self._constants.setdefault(name, (value, number))
        return self._constants

    def _make(self, number: int) -> Type:
        if not number:
            return Type(self, Kind.VOID, "", 0)
        try:
            record = self._btf.type(number)
        except (IndexError, ValueError):
            return self.unknown
        kind = int(record.kind)
        if kind == _TYPE_TAG:  # __user, __rcu ...: nothing for the value
            return self[record.size_or_type] if record.size_or_type < number else self.unknown
        if kind in _LINKS:
            name = record.name if kind == 8 else ""
            return Type(self, _LINKS[kind], name, 8 if kind == 2 else 0, record.size_or_type)
        if kind in _STRUCTURES:
            members = [list(member) for member in self._btf.members(record)]
            return Type(self, _STRUCTURES[kind], record.name, record.size_or_type, 0, members)
        if kind == _FWD:
            return Type(self, Kind.UNION if record.flag else Kind.STRUCT, record.name, 0)
        if kind in (_ENUM, _ENUM64):
            return Type(self, Kind.ENUM, record.name, record.size_or_type, 0, self._enumerators(record))
        return self._make_other(kind, record)

    def _make_other(self, kind: int, record: BtfType) -> Type:
        data = self._data(record)
        if kind == _INT:
            (word,) = struct.unpack_from("<I", data, record.at)
            return Type(self, Kind.BASE, record.name, record.size_or_type, 0, _encoding(word >> 24, record))
        if kind == _FLOAT:
            return Type(self, Kind.BASE, record.name, record.size_or_type, 0, dwarf.ATE_FLOAT)
        if kind == _ARRAY:
            element, _, count = struct.unpack_from("<III", data, record.at)
            return Type(self, Kind.ARRAY, "", self[element].byte_size() * count, element, count)
        if kind == _FUNC_PROTO:
            pairs = struct.iter_unpack("<II", data[record.at : record.at + record.vlen * 8])
            parameters = [type_id or -1 for _, type_id in pairs]  # a type of 0 is "..."
            return Type(self, Kind.FUNCTION, "", 0, record.size_or_type, parameters)
        return self.unknown

    def _enumerators(self, record: BtfType) -> list[tuple[str, int]]:
        wide = int(record.kind) == _ENUM64
        size = 12 if wide else 8
        data = self._data(record)[record.at : record.at + record.vlen * size]
        found = []
        for name, *words in struct.iter_unpack("<III" if wide else "<II", data):
            value = sum(word << 32 * index for index, word in enumerate(words))
            bits = 64 if wide else 32
            if record.flag and value >> (bits - 1):
                value -= 1 << bits
            found.append((self._btf.string(name), value))
        return found

    def _data(self, record: BtfType) -> bytes:
        btf = self._btf
        while record.id < btf.first_id and btf.base is not None:
            btf = btf.base
        return btf.data


def known_types(btf: Btf, pointers: int = 1) -> VariableTable:
    """Return a table without variables, with the types that expressions on a packet need: WELL_KNOWN.

    A trace carries it beside the tables of its functions (table.share_types), alone where there is no DWARF.
    """
    types = BtfTypes(btf)
    roots = [types.find(kind, name) for name in WELL_KNOWN for kind in (Kind.STRUCT, Kind.UNION)]
    roots += [types.find(Kind.ENUM, name) for name in WELL_KNOWN_ENUMS]
    roots += [found[1] for name in WELL_KNOWN_ENUMERATORS if (found := types.constant(name))]
    roots += [
        types.find(Kind.TYPEDEF, name) for name in ("__be16", "__be32", "__be64", "u8", "u16", "u32", "u64")
    ]
    table = VariableTable()
    table.types = copied([root for root in roots if root is not None], pointers)
    return table


def _encoding(flags: int, record: BtfType) -> int:
    """Return the DW_ATE of BTF_INT_ENCODING: 1 signed, 2 char, 4 bool."""
    if flags & 4:
        return dwarf.ATE_BOOLEAN
    if record.size_or_type == 1 and "char" in record.name:
        return dwarf.ATE_SIGNED_CHAR if flags & 1 else dwarf.ATE_UNSIGNED_CHAR
    return dwarf.ATE_SIGNED if flags & 1 else dwarf.ATE_UNSIGNED
