"""Functions that may be called in an expression: byte order, container_of, and where a packet's headers are.

What the kernel defines as an inline function over the fields of a packet is an expression here too.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import ctypes, nodes
from ktcpdump_tui.debuginfo.expressions.environment import Overlay
from ktcpdump_tui.debuginfo.expressions.problems import ProblemError, nearest
from ktcpdump_tui.debuginfo.variables.places import Missing
from ktcpdump_tui.debuginfo.variables.values import nothing

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.expressions.arithmetic import Arithmetic
    from ktcpdump_tui.debuginfo.expressions.environment import Environment
    from ktcpdump_tui.debuginfo.expressions.evaluate import Evaluation
    from ktcpdump_tui.debuginfo.variables.values import Value

#: {name: (bytes, whether the bytes are swapped)}; x86-64 is little-endian.
_BYTE_ORDER: Final = {
    "ntohs": (2, True),
    "htons": (2, True),
    "ntohl": (4, True),
    "htonl": (4, True),
    **{
        f"{order}{bits}_to_cpu": (bits // 8, order == "be") for order in ("be", "le") for bits in (16, 32, 64)
    },
    **{
        f"cpu_to_{order}{bits}": (bits // 8, order == "be") for order in ("be", "le") for bits in (16, 32, 64)
    },
}

#: {name: expression over skb} (include/linux/skbuff.h and the headers' own files say what they are).
_PACKET: Final = {
    "skb_network_header": "skb->head + skb->network_header",
    "skb_transport_header": "skb->head + skb->transport_header",
    "skb_mac_header": "skb->head + skb->mac_header",
    "skb_end_pointer": "skb->head + skb->end",
    "skb_headlen": "skb->len - skb->data_len",
    "skb_headroom": "(unsigned int)(skb->data - skb->head)",
    "skb_shinfo": "(struct skb_shared_info *)(skb->head + skb->end)",
    "eth_hdr": "(struct ethhdr *)(skb->head + skb->mac_header)",
    "ip_hdr": "(struct iphdr *)(skb->head + skb->network_header)",
    "ipv6_hdr": "(struct ipv6hdr *)(skb->head + skb->network_header)",
    "arp_hdr": "(struct arphdr *)(skb->head + skb->network_header)",
    "tcp_hdr": "(struct tcphdr *)(skb->head + skb->transport_header)",
    "udp_hdr": "(struct udphdr *)(skb->head + skb->transport_header)",
    "icmp_hdr": "(struct icmphdr *)(skb->head + skb->transport_header)",
    "icmp6_hdr": "(struct icmp6hdr *)(skb->head + skb->transport_header)",
}

NAMES: Final = (*_BYTE_ORDER, *_PACKET, "container_of", "offsetof")


def call(node: nodes.Call, evaluation: Evaluation, environment: Environment, arithmetic: Arithmetic) -> Value:
    """Return the value of a call. Raises ProblemError for an unknown function or wrong arguments."""
    name, arguments = node.name, node.arguments
    if name == "container_of" or name == "offsetof":
        return _container(node, evaluation, arithmetic)
    if name not in _BYTE_ORDER and name not in _PACKET:
        raise ProblemError(node.at, f"there is no helper function {name}{nearest(name, NAMES)}")
    if len(arguments) != 1 or isinstance(arguments[0], nodes.TypeName):
        raise ProblemError(node.at, f"{name} takes one value")
    value = evaluation.value(arguments[0])
    if name in _PACKET:
        return _packet(node, value, environment)
    size, swapped = _BYTE_ORDER[name]
    number = arithmetic.scalar(value, node.at).number()
    kind = ctypes.integer_type(environment.types, ctypes.Integer(size, False))
    if isinstance(number, Missing):
        return nothing(kind, environment.memory, number)
    data = (int(number) & ((1 << (8 * size)) - 1)).to_bytes(size, "little")
    return arithmetic.result(int.from_bytes(data, "big" if swapped else "little"), kind)


def _packet(node: nodes.Call, skb: Value, environment: Environment) -> Value:
    from ktcpdump_tui.debuginfo.expressions.evaluate import Evaluation

    try:
        return Evaluation(Overlay(environment, "skb", skb)).value(_parsed(_PACKET[node.name]))
    except ProblemError as error:
        raise ProblemError(node.at, f"{node.name}: {error.sentence}") from error


@cache
def _parsed(text: str) -> nodes.Node:
    from ktcpdump_tui.debuginfo.expressions.parser import parse

    return parse(text, lambda _: False)


def _container(node: nodes.Call, evaluation: Evaluation, arithmetic: Arithmetic) -> Value:
    """``offsetof(type, field.path)`` and ``container_of(pointer, type, field.path)``."""
    arguments = node.arguments
    wanted = 2 if node.name == "offsetof" else 3
    if len(arguments) != wanted or not isinstance(arguments[-2], nodes.TypeName):
        form = "type, field" if wanted == 2 else "pointer, type, field"
        raise ProblemError(node.at, f"{node.name} is written {node.name}({form})")
    kind = evaluation.type(arguments[-2])
    path, pointer = arguments[-1], arguments[0]
    base = arithmetic.result(0, kind.pointer())
    field = evaluation.value_of_path(path, base.dereference(), node.at)
    offset = field.place.address() or 0
    if node.name == "offsetof":
        return arithmetic.integer(offset, ctypes.UNSIGNED_LONG)
    if isinstance(pointer, nodes.TypeName):
        raise ProblemError(pointer.at, "the first argument of container_of is a pointer")
    number = arithmetic.scalar(evaluation.value(pointer), node.at).number()
    if isinstance(number, Missing):
        return arithmetic.result(number, kind.pointer())
    return arithmetic.result(int(number) - offset, kind.pointer())
