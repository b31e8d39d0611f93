"""Events as pcapng: one frame per event, with the place in the code as the packet's comment.

Section numbers are those of draft-ietf-opsawg-pcapng. Each function is an interface of the file, so that
``frame.interface_name == "ip_rcv_core"`` selects what happened in it; once per network device and namespace,
which the interface's description names, and once more for packets at instructions where they have no
link-layer header. Those get an Ethernet header of zeros, and the description says so: pcapng itself could mix
link types, but libpcap, and so tcpdump, stops at the first interface whose type differs. The packet's
identity (epb_packetid) ties the frames of one packet together; the last frame of a packet that was dropped
says why.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.model import Flow
from ktcpdump_tui.trace.outfile import FileWriter
from ktcpdump_tui.trace.pcap import (
    LINKTYPE_ETHERNET,
    MAX_SNAPLEN,
    ethernet_frame,
)
from ktcpdump_tui.trace.values import TraceValues

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ktcpdump_tui.model import Event, Packet, Summary, TraceHeader
    from ktcpdump_tui.trace.trace import Trace

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

#: The unlikely half of a function is no function of its own.
_COLD: Final = re.compile(r"\.cold(\.\d+)?$")

Interface = tuple[str | None, str, int | None, str | None, str]
"""What an interface is: module, function, network namespace, device and link, as in model.Event."""


class PcapngWriter(FileWriter):
    """Writes pcapng to a binary stream.

    While the trace grows, frames are written when the next events come (or time has passed): that a packet
    was dropped is known a moment after its last event.
    """

    def begin(self, trace: Trace) -> None:
        """Write the section header."""
        self._trace = trace
        self._values = TraceValues(trace)
        self._interfaces: dict[Interface, int] = {}
        self._held: list[Event] = []
        self.write([_section_header(trace.header)])

    def events(self, events: Sequence[Event]) -> None:
        """Write a packet for each event, and an interface before its first packet."""
        self._frames(self._held)
        self._held = []
        if self._trace.finished:
            self._frames(events)
        else:
            self._held = list(events)

    def end(self, summary: Summary | None) -> None:
        """Write what was held back, and close."""
        held, self._held = getattr(self, "_held", []), []
        if not self._stream.closed:
            self._frames(held)
        super().end(summary)

    def _frames(self, events: Sequence[Event]) -> None:
        parts: list[bytes] = []
        ends = {number: self._drop(number) for number in {event.packet_id for event in events}}
        for event in events:
            symbol = event.instruction.symbol
            interface = (
                event.instruction.module,
                _COLD.sub("", symbol),
                event.netns,
                event.dev,
                event.link,
            )
            if interface not in self._interfaces:
                self._interfaces[interface] = len(self._interfaces)
                parts.append(self._interface(interface))
            last, packet = ends[event.packet_id]
            dropped = packet if event.no == last else None
            parts.append(self._packet(event, self._interfaces[interface], dropped))
        if parts:
            self.write(parts)

    def _drop(self, number: int) -> tuple[int, Packet | None]:
        """Return the last event of a dropped packet, and the packet; (0, None) if it was not dropped."""
        span = self._trace.packet_span(number)
        if span is None:
            return 0, None
        packet = self._trace.packet(number)
        return (span[1], packet) if packet.fate == "dropped" else (0, None)

    def _interface(self, interface: Interface) -> bytes:
        """Return an Interface Description Block (section 4.2)."""
        module, function, netns, device, link = interface
        options = [
            (_IF_NAME, _text(function)),
            (_IF_TSRESOL, _NANOSECONDS),
        ]
        description = [f"device {device}" if device else "no device"]
        if netns:
            description.append(f"network namespace {netns}")
        if module:
            description.append(f"module {module}")
        if link != "ethernet":
            description.append("no link-layer header there: the Ethernet header is made up")
        options.append((_IF_DESCRIPTION, _text(", ".join(description))))
        if self._trace.header.expression:
            # The first byte says that a libpcap filter string follows.
            options.append((_IF_FILTER, b"\0" + _text(self._trace.header.expression)))
        fixed = struct.pack("<HHI", LINKTYPE_ETHERNET, 0, MAX_SNAPLEN)
        return _block(INTERFACE_DESCRIPTION, fixed, options)

    def _packet(self, event: Event, interface: int, dropped: Packet | None) -> bytes:
        """Return an Enhanced Packet Block (section 4.3)."""
        data, length = ethernet_frame(event)
        time = max(event.ts + self._trace.header.clock_offset, 0)
        fixed = struct.pack(
            "<IIIII",
            interface,
            time >> 32 & 0xFFFFFFFF,
            time & 0xFFFFFFFF,
            len(data),
            length,
        )
        options = [
            (_COMMENT, _text(comment)) for comment in comments(event, dropped, self._values.call(event))
        ]
        options.append((_EPB_PACKETID, struct.pack("<Q", event.packet_id)))
        return _block(ENHANCED_PACKET, fixed + _padded(data), options)


def comments(event: Event, dropped: Packet | None, call: str | None) -> list[str]:
    """Return the comments of an event's frame: where in the code it was, what was lost before, why dropped.

    ``dropped`` is the packet where this is its last event and it was dropped, ``call`` what is called.
    """
    instruction = event.instruction
    place = f"{instruction.ksym} {instruction.addr2line}"
    if call and instruction.flow in (Flow.CALL, Flow.JUMP):
        place += f" // CALL {call}"
    said = [place]
    if event.lost_before:
        said.append(f"{event.lost_before} events lost before this one on CPU {event.cpu}")
    if dropped is not None:
        at = " ".join(part for part in (dropped.drop_symbol, dropped.drop_line) if part)
        said.append(f"dropped: {dropped.drop_reason or 'no reason given'}" + (f" at {at}" if at else ""))
    return said


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
