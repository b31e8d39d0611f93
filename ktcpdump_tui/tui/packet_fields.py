"""An event's packet, decoded by scapy. Slow to import: call it outside the interface's thread."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.tui.fields import Field, Tone

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes of a line of the hex dump.
_DUMP_BYTES: Final = 16

#: Below the fold for most: the payload stays closed, the headers are open.
_PAYLOADS: Final = ("Raw", "Padding")


@functools.cache
def _scapy() -> tuple[Any, Any, Any]:
    """Import what decodes the protocols of the network stack: (Ether, IP, IPv6)."""
    # scapy warns about the machine's own routes and interfaces, which are not our business.
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    return Ether, IP, IPv6


@functools.lru_cache(maxsize=256)
def packet_fields(data: bytes, link: str) -> tuple[Field, ...]:
    """Return one heading per layer with its fields.

    ``link`` is ``ethernet`` where ``data`` begins with a link-layer header, ``raw`` where with IPv4 or IPv6.
    """
    if not data:
        return (Field("packet", "<not captured>", tone=Tone.ABSENT),)
    ether, ip, ip6 = _scapy()
    first = ether if link == "ethernet" else ip6 if data[0] >> 4 == 6 else ip
    result = []
    layer: Any = first(data)
    seen: dict[str, int] = {}
    while layer is not None and layer.name != "NoPayload":
        kind = type(layer).__name__
        seen[kind] = number = seen.get(kind, 0) + 1
        key = kind if number == 1 else f"{kind} {number}"
        if kind in _PAYLOADS:
            content = bytes(layer.load)
            result.append(Field("payload", f"{len(content)} bytes", key, children=_dump(content)))
            break
        children = tuple(_layer_fields(layer))
        summary = str(layer.mysummary() or "").removeprefix(f"{layer.name} ")
        result.append(Field(layer.name, summary, key, Tone.HEADING, children=children))
        layer = layer.payload
    result.append(Field("captured", f"{len(data)} bytes", children=_dump(data)))
    return tuple(result)


def _layer_fields(layer: Any) -> Iterator[Field]:
    for description in layer.fields_desc:
        if hasattr(description, "cond") and not description.cond(layer):
            continue
        name = description.name
        value = layer.getfieldval(name)
        if value is None or (isinstance(value, list) and not value):
            continue
        text = description.i2repr(layer, value)
        if isinstance(value, int) and not isinstance(value, bool) and text == str(value) and value > 9:
            text = f"{value} (0x{value:x})"
        yield Field(name, str(text))


def _dump(data: bytes) -> tuple[Field, ...]:
    """Return a hex dump with 16 bytes to the line."""
    result = []
    for at in range(0, len(data), _DUMP_BYTES):
        piece = data[at : at + _DUMP_BYTES]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        result.append(Field(f"{at:04x}", f"{piece.hex(' '):<{3 * _DUMP_BYTES}} {shown}"))
    return tuple(result)
