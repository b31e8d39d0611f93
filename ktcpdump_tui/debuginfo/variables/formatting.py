"""How values are shown: by their type, and where C's types say too little, by the names the kernel uses."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo import dwarf
from ktcpdump_tui.debuginfo.variables.places import ImplicitPointer, Missing, Nowhere
from ktcpdump_tui.debuginfo.variables.types import Kind
from ktcpdump_tui.debuginfo.variables.values import MOST_ELEMENTS, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.debuginfo.variables.types import Type

    Symbolise = Callable[[int], str | None]

#: Longest text of a value (characters); the rest can be seen by expanding it.
MOST_TEXT: Final = 160

#: include/uapi/linux/types.h: numbers in network byte order.
_BIG_ENDIAN: Final = {"__be16": 2, "__be32": 4, "__be64": 8, "be16": 2, "be32": 4, "be64": 8}

_IPV4: Final = """
    saddr daddr s_addr skc_daddr skc_rcv_saddr inet_saddr inet_daddr inet_rcv_saddr addr ip ipv4 ip4 gw gw4
    rt_gw4 nexthop next_hop nh_gw nh_saddr ifa_local ifa_address ifa_mask ifa_broadcast mask netmask group
    multiaddr src_ip dst_ip sip tip src dst src_addr dst_addr ar_sip ar_tip local remote spec_dst ip_daddr
    ip_saddr faddr rt_src rt_dst ir_loc_addr ir_rmt_addr loc_addr rcv_saddr via target
"""
_MAC: Final = """
    h_dest h_source dev_addr perm_addr broadcast mac mac_addr hw_addr ha addr ar_sha ar_tha eth_dst eth_src
    src_mac dst_mac dest source lladdr smac dmac dev_addr_shadow src dst
"""

#: A __be32 of one of these names is an IPv4 address (iphdr, sock_common, flowi4, rtable, in_ifaddr ...).
_IPV4_NAMES: Final = frozenset(_IPV4.split())

#: An array of bytes of one of these names is a link-layer address.
_MAC_NAMES: Final = frozenset(_MAC.split())


def text(value: Value, symbolise: Symbolise | None = None) -> str:
    """Return a value as it is shown on one line; ``symbolise`` names addresses (``symbol+offset``).

    Structures are shown with their first fields. What is not known reads ``<optimised out>`` or
    ``<not captured>``.
    """
    shown = _text(value, symbolise, 0)
    return shown if len(shown) <= MOST_TEXT else shown[: MOST_TEXT - 1] + "…"


def meaning(value: Value) -> int | float | str | None:
    """Return a value for JSON: numbers as numbers (network order read in host meaning), else text.

    None where it is not known. Pointers are hexadecimal strings, addresses and names are text.
    """
    kind = value.scalar
    if isinstance(value.place, Nowhere):
        return None
    address = _network_address(value)
    if address is not None:
        return address
    if kind.is_structure or kind.kind is Kind.ARRAY:
        bytewise = kind.kind is Kind.ARRAY and kind.target.stripped().size == 1
        return None if bytewise and isinstance(value.bytes(), Missing) else text(value)
    number = value.number()
    if isinstance(number, Missing):
        return None
    if kind.kind is Kind.FUNCTION:
        return text(value)
    if kind.kind is Kind.POINTER:
        return hex(int(number))
    if isinstance(number, float):
        return number if math.isfinite(number) else str(number)
    if kind.kind is Kind.ENUM:
        name = enumerator(kind, number)
        return number if name == str(number) else name
    if kind.encoding == dwarf.ATE_BOOLEAN:
        return int(number)
    return host_order(value, number)


def host_order(value: Value, number: int) -> int:
    """Return what a number in network byte order means; others unchanged."""
    size = next((_BIG_ENDIAN[name] for name in value.type.typedefs() if name in _BIG_ENDIAN), 0)
    if not size or value.bits or size != value.scalar.size:
        return number
    return int.from_bytes((number & ((1 << (8 * size)) - 1)).to_bytes(size, "little"), "big")


def enumerator(kind: Type, number: int) -> str:
    """Return an enumeration's constant by name; flags joined by ``|``; a number where there is no name."""
    named = {value: name for name, value in reversed(list(kind.enumerators))}
    if number in named:
        return named[number]
    flags = {value: name for value, name in named.items() if value > 0 and value & (value - 1) == 0}
    # Flags: at least two single bits, and no plain counting (which would have 3, 5, ...).
    counted = any(value > 0 and value & (value - 1) and not _combined(value, flags) for value in named)
    rest = number
    parts = []
    if number > 0 and len(flags) >= 2 and not counted:
        for bit, name in sorted(flags.items()):
            if rest & bit:
                parts.append(name)
                rest &= ~bit
    if not parts:
        return str(number)
    return "|".join(parts + ([hex(rest)] if rest else []))


def _combined(value: int, flags: dict[int, str]) -> bool:
    """Whether ``value`` is made of single flags that have names, as masks are (4 | 2, not 3 of 1, 2, 3)."""
    rest = value
    for bit in flags:
        rest &= ~bit
    return rest == 0 and value != 3


def _text(value: Value, symbolise: Symbolise | None, depth: int) -> str:
    kind = value.scalar
    if isinstance(value.place, Nowhere):
        return str(value.place.missing)
    special = _network_address(value)
    if special is not None:
        return special
    if kind.kind is Kind.ARRAY:
        return _array(value, symbolise, depth)
    if kind.is_structure:
        return _structure(value, symbolise, depth)
    number = value.number()
    if isinstance(number, Missing):
        if isinstance(value.place, ImplicitPointer) and depth < 3:
            return f"→ {_text(value.dereference(), symbolise, depth + 1)}"
        return str(number)
    if isinstance(number, float):
        return repr(number)
    return _scalar(value, number, symbolise)


def _scalar(value: Value, number: int, symbolise: Symbolise | None) -> str:
    kind = value.scalar
    if kind.kind is Kind.POINTER:
        return _pointer(value, number, symbolise)
    if kind.kind is Kind.FUNCTION:
        return _with_symbol(number, symbolise)
    if kind.kind is Kind.ENUM:
        name = enumerator(kind, number)
        return name if name == str(number) else f"{name} ({number})"
    if kind.encoding == dwarf.ATE_BOOLEAN:
        return {0: "false", 1: "true"}.get(number, str(number))
    if (
        kind.size == 1
        and kind.encoding in (dwarf.ATE_SIGNED_CHAR, dwarf.ATE_UNSIGNED_CHAR)
        and _is_char(value)
    ):
        return f"{number} {_character(number)}" if 32 <= number < 127 else str(number)
    meant = host_order(value, number)
    if any(name in _BIG_ENDIAN for name in value.type.typedefs()) and not value.bits:
        return f"{meant} (0x{meant:0{kind.size * 2}x})"
    return str(meant)


def _pointer(value: Value, number: int, symbolise: Symbolise | None) -> str:
    if not number:
        return "NULL"
    shown = _with_symbol(number, symbolise)
    target = value.scalar.target.stripped()
    if target.kind is Kind.BASE and target.size == 1 and _is_plain_char(value.scalar.target):
        string = _string_at(value, number)
        if string is not None:
            return f"{shown} {string}"
    return shown


def _with_symbol(number: int, symbolise: Symbolise | None) -> str:
    name = symbolise(number) if symbolise else None
    return f"{number:#x} <{name}>" if name else f"{number:#x}"


def _array(value: Value, symbolise: Symbolise | None, depth: int) -> str:
    kind = value.scalar
    element = kind.target.stripped()
    if element.kind is Kind.BASE and element.size == 1:
        data = value.bytes()
        if isinstance(data, Missing):
            return str(data)
        if _is_plain_char(kind.target):
            return _quote(data)
        return " ".join(f"{byte:02x}" for byte in data[:32]) + ("…" if len(data) > 32 else "")
    if depth >= 3:
        return "{…}"
    parts = [_text(one, symbolise, depth + 1) for one in _few(value)]
    if (kind.count or 0) > len(parts):
        parts.append("…")
    return "{" + ", ".join(parts) + "}"


def _few(value: Value) -> list[Value]:
    return [value.index(number) for number in range(min(value.scalar.count or 0, 8))]


def _structure(value: Value, symbolise: Symbolise | None, depth: int) -> str:
    if not value.scalar.complete:
        return "{…}"
    if depth >= 3:
        return "{…}"
    parts: list[str] = []
    length = 0
    for member in value.members():
        shown = _text(member, symbolise, depth + 1)
        parts.append(f"{member.name} = {shown}" if member.name else shown)
        length += len(parts[-1])
        if length > MOST_TEXT:
            parts.append("…")
            break
    return "{" + ", ".join(parts) + "}"


def _network_address(value: Value) -> str | None:
    """Return a value that is a network or link-layer address in its usual notation, else None."""
    kind = value.scalar
    if kind.is_structure and kind.name in ("in_addr", "in6_addr"):
        data = value.bytes()
        return None if isinstance(data, Missing) else str(ipaddress.ip_address(data))
    if kind.kind is Kind.ARRAY:
        if value.name not in _MAC_NAMES or kind.count not in (6, 32) or _is_plain_char(kind.target):
            return None
        data = value.place.bytes(0, 6)  # MAX_ADDR_LEN is 32; Ethernet uses the first 6
        return None if isinstance(data, Missing) or kind.target.byte_size() != 1 else data.hex(":")
    if value.name not in _IPV4_NAMES or value.bits or "__be32" not in value.type.typedefs():
        return None
    data = value.place.bytes(0, 4)
    return None if isinstance(data, Missing) else str(ipaddress.IPv4Address(data))


def _is_plain_char(kind: Type) -> bool:
    """Whether a type is ``char`` itself, not a byte's typedef such as u8."""
    return kind.stripped().name == "char" and not any(kind.typedefs())


def _is_char(value: Value) -> bool:
    return _is_plain_char(value.type)


def _character(number: int) -> str:
    return {39: r"'\''", 92: r"'\\'"}.get(number, f"'{chr(number)}'")


def _string_at(value: Value, address: int) -> str | None:
    """Return the string a ``char *`` points to, as far as it was captured; None where nothing was."""
    data = bytearray()
    while len(data) < MOST_ELEMENTS:
        byte = value.memory.read(address + len(data), 1)
        if byte is None:
            return _quote(bytes(data)) + "…" if data else None
        if byte == b"\0":
            break
        data += byte
    return _quote(bytes(data))


_ESCAPES: Final = {0x09: r"\t", 0x0A: r"\n", 0x0D: r"\r", 0x1B: r"\e", 0x22: r"\"", 0x5C: r"\\"}


def _quote(data: bytes) -> str:
    """Return bytes as C writes a string, up to the first NUL."""
    end = data.find(0)
    shown = data if end < 0 else data[:end]
    parts = [
        _ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in shown[:MOST_ELEMENTS]
    ]
    return '"' + "".join(parts) + '"' + ("…" if len(shown) > MOST_ELEMENTS else "")
