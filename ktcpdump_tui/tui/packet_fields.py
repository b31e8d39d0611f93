"""An event's packet, decoded by scapy. Slow to import: call it outside the interface's thread."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.tui.fields import Field, Tone
from ktcpdump_tui.tui.hex_dump import hex_dump

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a line of the hex dump, where there is room and where there is not.
DUMP_BYTES: Final = (16, 8)

#: Below the fold for most: the payload stays closed, the headers are open.
_PAYLOADS: Final = ("Raw", "Padding")

#: Fields that nobody reads in hexadecimal.
_PORTS: Final = ("sport", "dport")


@functools.cache
def _scapy() -> tuple[Any, Any, Any]:
    """Import what decodes the protocols of the network stack: (Ether, IP, IPv6)."""
    # scapy warns about the machine's own routes and interfaces, which are not our business.
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.config import conf
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    # Ports are numbers, as with tcpdump -n: whose they are by /etc/services says nothing of this packet.
    conf.noenum.add(TCP.sport, TCP.dport, UDP.sport, UDP.dport)
    return Ether, IP, IPv6


@functools.lru_cache(maxsize=256)
def packet_fields(data: bytes, link: str, per_line: int = DUMP_BYTES[0]) -> tuple[Field, ...]:
    """Return one heading per layer with its fields, and the bytes, ``per_line`` of them to a line.

    ``link`` is ``ethernet`` where ``data`` begins with a link-layer header, ``raw`` where with IPv4 or IPv6.
    """
    if not data:
        return (Field("packet", "<not captured>", tone=Tone.ABSENT),)
    ether, ip, ip6 = _scapy()
    first = ether if link == "ethernet" else ip6 if data[0] >> 4 == 6 else ip
    result = []
    layer: Any = first(data)
    seen: dict[str, int] = {}
    start: int | None = 0
    while layer is not None and layer.name != "NoPayload":
        kind = type(layer).__name__
        seen[kind] = number = seen.get(kind, 0) + 1
        key = kind if number == 1 else f"{kind} {number}"
        if kind in _PAYLOADS:
            content = bytes(layer.load)
            span = None
            if start is not None and data[start : start + len(content)] == content:
                span = (start, start + len(content))
            dump = hex_dump(content, per_line, start or 0, numbered_from=0)
            result.append(Field("payload", f"{len(content)} bytes", key, children=dump, span=span))
            start = span[1] if span else None
            layer = layer.payload
            continue
        spans = _spans(layer, data, start)
        children = tuple(_layer_fields(layer, spans))
        summary = str(layer.mysummary() or "").removeprefix(f"{layer.name} ")
        whole = spans.get("")
        result.append(Field(layer.name, summary, key, Tone.HEADING, children=children, span=whole))
        start = whole[1] if whole else None
        layer = layer.payload
    result.append(Field("captured", f"{len(data)} bytes", children=hex_dump(data, per_line)))
    return tuple(result)


def _spans(layer: Any, data: bytes, start: int | None) -> dict[str, tuple[int, int]]:
    """Return the first byte of each field of a layer and the one after its last, and under "" the layer's.

    scapy keeps no offsets, so each field takes from the header's bytes again what it took when the packet was
    decoded; fields of some bits hand on how many of a byte are gone. Empty where ``data`` at ``start`` is not
    what the layer was made of: after a decoder that had changed the bytes (decompressed them, for instance).
    """
    header = layer.raw_packet_cache
    if start is None or not header or data[start : start + len(header)] != header:
        return {}
    found: dict[str, tuple[int, int]] = {}
    rest: Any = header
    at = 0  # bits
    for description in layer.fields_desc:
        rest, value = description.getfield(layer, rest)
        left, gone = rest if isinstance(rest, tuple) else (rest, 0)
        after = 8 * (len(header) - len(left)) + gone
        if after > at and value is not None:
            found[description.name] = (start + at // 8, start + (after + 7) // 8)
        at = after
        if not left:
            break
    if at != 8 * len(header):
        return {}
    return {"": (start, start + len(header)), **found}


def _layer_fields(layer: Any, spans: dict[str, tuple[int, int]]) -> Iterator[Field]:
    for description in layer.fields_desc:
        if hasattr(description, "cond") and not description.cond(layer):
            continue
        name = description.name
        value = layer.getfieldval(name)
        if value is None or (isinstance(value, list) and not value):
            continue
        text = description.i2repr(layer, value)
        plain = isinstance(value, int) and not isinstance(value, bool) and text == str(value)
        if plain and value > 9 and name not in _PORTS:
            text = f"{value} (0x{value:x})"
        yield Field(name, str(text), span=spans.get(name))
