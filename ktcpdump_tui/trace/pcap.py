"""Events as a packet capture file for tcpdump, tshark and the rest: one frame per event.

The format is draft-ietf-opsawg-pcap. A file has one link type for all of its packets, and a packet in the
kernel has an Ethernet header at one instruction and none at the next. So the link type is Ethernet always,
and packets without a link-layer header get one of zeros with the right EtherType, which every tool
understands and nobody takes for a real one. pcapng says which they are (see pcapng.py).

Times are nanoseconds: neighbouring instructions are closer than a microsecond.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.trace.outfile import FileWriter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.model import Event
    from ktcpdump_tui.trace.trace import Trace

#: draft-ietf-opsawg-pcap section 4: magic number of a little-endian file with nanoseconds, and the version.
MAGIC_NANOSECONDS: Final = 0xA1B23C4D
VERSION: Final = (2, 4)

#: https://www.tcpdump.org/linktypes.html
LINKTYPE_ETHERNET: Final = 1

#: The largest length that tcpdump and Wireshark take for sane.
MAX_SNAPLEN: Final = 262144

_GLOBAL_HEADER: Final = struct.Struct("<IHHiIII")
_RECORD_HEADER: Final = struct.Struct("<IIII")
_NANOSECONDS: Final = 1_000_000_000
_MADE_UP_ETHERNET: Final = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}


class PcapWriter(FileWriter):
    """Writes pcap to a binary stream."""

    _clock_offset = 0

    def begin(self, trace: Trace) -> None:
        """Write the file header."""
        self._clock_offset = trace.header.clock_offset
        self.write([_GLOBAL_HEADER.pack(MAGIC_NANOSECONDS, *VERSION, 0, 0, MAX_SNAPLEN, LINKTYPE_ETHERNET)])

    def events(self, events: Iterable[Event]) -> None:
        """Write a packet for each event."""
        self.write(self._record(event) for event in events)

    def _record(self, event: Event) -> bytes:
        """Return a packet record (draft-ietf-opsawg-pcap section 5)."""
        data, length = ethernet_frame(event)
        seconds, nanoseconds = divmod(max(event.ts + self._clock_offset, 0), _NANOSECONDS)
        return _RECORD_HEADER.pack(seconds & 0xFFFFFFFF, nanoseconds, len(data), length) + data


def ethernet_frame(event: Event) -> tuple[bytes, int]:
    """Return the packet's bytes with an Ethernet header before them, and its whole length in bytes.

    Where the packet has no link-layer header the Ethernet header is made up; where no byte of the packet was
    captured there is none.
    """
    made_up = b""
    if event.link != "ethernet" and event.packet:
        made_up = _MADE_UP_ETHERNET.get(event.packet[0] >> 4, _MADE_UP_ETHERNET[4])
    data = (made_up + event.packet)[:MAX_SNAPLEN]
    return data, max(wire_length(event) + len(made_up), len(data))


def wire_length(event: Event) -> int:
    """Return the length in bytes of the whole packet from the first byte of ``event.packet``."""
    return packet_length(event.packet, event.link, event.len or 0)


def packet_length(packet: bytes, link: str, from_data: int) -> int:
    """Return the length in bytes of a whole packet that is known from its ``link`` header on, maybe in part.

    ``from_data`` is skb->len. It counts from skb->data, which at one instruction is the link-layer header, at
    another the network or transport header. The packet's own length field tells where the two agree; padding
    after it counts.
    """
    captured = len(packet)
    start = _network_offset(packet, link)
    stated = None if start is None else _ip_length(packet, start)
    if start is not None and stated is not None and stated <= from_data + _MAX_HEADERS:
        return max(captured, from_data, start + stated)
    # Without an IP length (ARP, damaged, BIG TCP) all that can be said is what skb->len says.
    return max(captured, from_data)


#: skb->data is behind the start of the IP header by about this at most, once the transport header was pulled.
_MAX_HEADERS: Final = 256


def _network_offset(packet: bytes, link: str) -> int | None:
    """Return where the IP header begins, or None where there is none."""
    if link != "ethernet":
        return 0
    offset = 12
    while packet[offset : offset + 2] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        offset += 4
    return offset + 2 if packet[offset : offset + 2] in (b"\x08\x00", b"\x86\xdd") else None


def _ip_length(packet: bytes, start: int) -> int | None:
    """Return the length an IPv4 or IPv6 header states, itself included; None where it was not captured."""
    header = packet[start : start + 6]
    if len(header) < 6:
        return None
    if header[0] >> 4 == 4:
        return int.from_bytes(header[2:4], "big") or None
    if header[0] >> 4 == 6:
        return int.from_bytes(header[4:6], "big") + 40
    return None
