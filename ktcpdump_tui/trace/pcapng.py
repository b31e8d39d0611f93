"""Events as pcapng: one frame per event, with the place in the code as the packet's comment.

Section numbers are those of draft-ietf-opsawg-pcapng. Each network device is an interface of the file, per
network namespace, and once more for packets at instructions where they have no link-layer header. Those
get an Ethernet header of zeros, and their interface's description says so: pcapng itself could mix link
types, but libpcap, and so tcpdump, stops at the first interface whose type differs. The packet's identity
(epb_packetid) ties the frames of one packet together.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.trace.pcap import (
    LINKTYPE_ETHERNET,
    MAX_SNAPLEN,
    FileWriter,
    ethernet_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.model import Event, TraceHeader

# Block types: sections 4.1, 4.2 and 4.3.
SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE_DESCRIPTION: Final = 1
ENHANCED_PACKET: Final = 6

BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D

# Options: section 3.5 for the first two, then those of the blocks.
_END_OF_OPTIONS: Final = 0
_COMMENT: Final = 1
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_FILTER = 2, 3, 9, 11
_EPB_PACKETID: Final = 5

#: if_tsresol: times count units of 10**-9 s.
_NANOSECONDS: Final = bytes([9])
#: The length of an option is a 16-bit number.
_MAX_OPTION: Final = 0xFFFF

Interface = tuple[int | None, str | None, str]
"""An interface's network namespace, device and link, as in model.Event."""


class PcapngWriter(FileWriter):
    """Writes pcapng to a binary stream."""

    _clock_offset = 0
    _expression = ""

    def begin(self, header: TraceHeader) -> None:
        """Write the section header."""
        self._clock_offset = header.clock_offset
        self._expression = header.expression
        self._interfaces: dict[Interface, int] = {}
        self.write([_section_header(header)])

    def events(self, events: Iterable[Event]) -> None:
        """Write a packet for each event, and an interface before its first packet."""
        parts: list[bytes] = []
        for event in events:
            interface = (event.netns, event.dev, event.link)
            if interface not in self._interfaces:
                self._interfaces[interface] = len(self._interfaces)
                parts.append(self._interface(interface))
            parts.append(self._packet(event, self._interfaces[interface]))
        self.write(parts)

    def _interface(self, interface: Interface) -> bytes:
        """Return an Interface Description Block (section 4.2)."""
        netns, device, link = interface
        options = [
            (_IF_NAME, _text(device or "(no device)")),
            (_IF_TSRESOL, _NANOSECONDS),
        ]
        description = [f"network namespace {netns}"] if netns else []
        if link != "ethernet":
            description.append("no link-layer header there: the Ethernet header is made up")
        if description:
            options.append((_IF_DESCRIPTION, _text(", ".join(description))))
        if self._expression:
            # The first byte says that a libpcap filter string follows.
            options.append((_IF_FILTER, b"\0" + _text(self._expression)))
        fixed = struct.pack("<HHI", LINKTYPE_ETHERNET, 0, MAX_SNAPLEN)
        return _block(INTERFACE_DESCRIPTION, fixed, options)

    def _packet(self, event: Event, interface: int) -> bytes:
        """Return an Enhanced Packet Block (section 4.3)."""
        data, length = ethernet_frame(event)
        time = max(event.ts + self._clock_offset, 0)
        fixed = struct.pack(
            "<IIIII",
            interface,
            time >> 32 & 0xFFFFFFFF,
            time & 0xFFFFFFFF,
            len(data),
            length,
        )
        options = [(_COMMENT, _text(comment)) for comment in comments(event)]
        options.append((_EPB_PACKETID, struct.pack("<Q", event.packet_id)))
        return _block(ENHANCED_PACKET, fixed + _padded(data), options)


def comments(event: Event) -> list[str]:
    """Return the comments of an event's frame: where in the code it was, and what was lost before it."""
    instruction = event.instruction
    place = f"{instruction.ksym} {instruction.addr2line}"
    if instruction.call:
        place += f" // CALL {instruction.call}"
    if not event.lost_before:
        return [place]
    return [place, f"{event.lost_before} events lost before this one on CPU {event.cpu}"]


def _section_header(header: TraceHeader) -> bytes:
    """Return the Section Header Block (section 4.1); the section's length is left unknown."""
    options = [
        (_SHB_HARDWARE, _text(header.machine)),
        (_SHB_OS, _text(f"Linux {header.release}")),
        (_SHB_USERAPPL, _text(f"ktcpdump-tui {header.version}")),
        (_COMMENT, _text(" ".join(header.command_line))),
    ]
    return _block(SECTION_HEADER, struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1), options)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    """Return a block (section 3.1): its length stands at both ends, all parts are multiples of 4 bytes."""
    for code, value in options:
        body += struct.pack("<HH", code, len(value)) + _padded(value)
    body += struct.pack("<HH", _END_OF_OPTIONS, 0)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _padded(data: bytes) -> bytes:
    """Return ``data`` with zeros up to a multiple of 4 bytes."""
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    """Return the text of an option: UTF-8, as much as fits."""
    return text.encode(errors="replace")[: _MAX_OPTION - 1].decode(errors="ignore").encode()
