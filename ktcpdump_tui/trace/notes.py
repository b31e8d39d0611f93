"""Reading notes: the state of a packet, its birth, its end (layout.py has the bytes)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.model import Region
from ktcpdump_tui.trace.layout import (
    BIRTH_BODY,
    FREE_BODY,
    MAX_REGIONS,
    NOTE_HEADER,
    REGION,
    STATE_BODY,
    NoteKind,
    RegionLabel,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

# The structs below say the same as the dtypes in layout.py; _checked() compares the sizes. struct reads one
# note several times faster than a one-row numpy array does.


def _checked(form: str, kind: np.dtype[Any]) -> struct.Struct:
    packed = struct.Struct(form)
    if packed.size != kind.itemsize:
        raise AssertionError(f"{form} has {packed.size} bytes, the layout {kind.itemsize}")
    return packed


_HEADER: Final = _checked("<IIQIHH", NOTE_HEADER)
_REGION: Final = _checked("<QIHH", REGION)
_STATE: Final = _checked("<QQQIIII16sII" + "QIHH" * MAX_REGIONS, STATE_BODY)
_BIRTH: Final = _checked("<QII", BIRTH_BODY)
_FREE: Final = _checked("<QQII", FREE_BODY)
_KIND_AND_SIZE: Final = struct.Struct("<II")
_ID: Final = struct.Struct("<Q")

#: Where a STATE note has its packet's network namespace (u32), in bytes from the note's start.
NETNS_AT: Final = NOTE_HEADER.itemsize + int(STATE_BODY.fields["netns"][1])  # type: ignore[index]

#: What a region is called in ``model.Region.label``; an event's stack window is called "stack".
REGION_NAMES: Final = {
    RegionLabel.SKB: "skb",
    RegionLabel.PACKET: "packet",
    RegionLabel.SHARED_INFO: "shared info",
    RegionLabel.DEVICE: "device",
    RegionLabel.EXTRA: "extra",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A note's header and where the note lies in its buffer (``start``, ``size``: bytes; ``ts``: ns)."""

    kind: int
    start: int
    size: int
    ts: int
    packet: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Birth:
    """A packet was first heard of; ``origin`` indexes layout.ORIGINS, ``parent`` 0 means none."""

    packet: int
    ts: int
    skb: int
    parent: int
    origin: int


@dataclass(frozen=True, slots=True)
class Free:
    """A packet ended at ``location``; ``how`` indexes FATES, ``reason`` numbers enum skb_drop_reason."""

    packet: int
    ts: int
    skb: int
    location: int
    reason: int
    how: int


@dataclass(frozen=True, slots=True)
class PacketState:
    """What was known of a packet when an event happened (ns; bytes; ``packet`` from its first header)."""

    id: int
    ts: int
    packet_id: int
    skb: int
    device: int
    len: int
    ifindex: int
    netns: int
    mark: int
    dev: str
    link: str
    packet: bytes
    regions: tuple[Region, ...]


def walk(buffer: bytes | memoryview) -> Iterator[Note]:
    """Go through whole notes one after another; ValueError where the bytes are no notes."""
    start, end = 0, len(buffer)
    while start < end:
        if end - start < _HEADER.size:
            raise ValueError("a note is cut off")
        kind, size, ts, packet, cpu, _ = _HEADER.unpack_from(buffer, start)
        if size < _HEADER.size or size % 8 or size > end - start:
            raise ValueError(f"a note says it has {size} bytes of {end - start}")
        yield Note(kind, start, size, ts, packet, cpu)
        start += size


def state_id(buffer: bytes | memoryview, note: Note) -> int:
    """Return the id of a STATE note."""
    if note.size < _HEADER.size + _STATE.size:
        raise ValueError("a state note is too short")
    return int(_ID.unpack_from(buffer, note.start + _HEADER.size)[0])


def birth(buffer: bytes | memoryview, note: Note) -> Birth:
    """Decode a BIRTH note."""
    if note.size < _HEADER.size + _BIRTH.size:
        raise ValueError("a birth note is too short")
    skb, parent, origin = _BIRTH.unpack_from(buffer, note.start + _HEADER.size)
    return Birth(note.packet, note.ts, skb, parent, origin)


def free(buffer: bytes | memoryview, note: Note) -> Free:
    """Decode a FREE note."""
    if note.size < _HEADER.size + _FREE.size:
        raise ValueError("a free note is too short")
    skb, location, reason, how = _FREE.unpack_from(buffer, note.start + _HEADER.size)
    return Free(note.packet, note.ts, skb, location, reason, how)


def pack_state(
    number: int,
    ts: int,
    packet: int,
    skb: int,
    length: int,
    netns: int,
    dev: str,
    link: str,
    regions: Sequence[tuple[RegionLabel, int, bytes]],
) -> bytes:
    """Return a STATE note with ``regions`` of (label, address, bytes), at most ``MAX_REGIONS``."""
    places: list[int] = []
    tail = b""
    for label, address, data in regions:
        places += [address, _HEADER.size + _STATE.size + len(tail), len(data), label]
        tail += data
    places += [0] * (4 * MAX_REGIONS - len(places))
    body = _STATE.pack(
        number, skb, 0, length, 0, netns, 0, dev.encode()[:15], int(link == "ethernet"), len(regions), *places
    )
    body += tail + bytes(-len(tail) % 8)
    return _HEADER.pack(NoteKind.STATE, _HEADER.size + len(body), ts, packet, 0, 0) + body


def packet_at(buffer: bytes, start: int) -> tuple[bytes, str, int]:
    """Return (bytes from the first header, link, skb->len) of the STATE note at ``start``.

    A third of the time that ``state_at`` takes. ValueError where there is none or it is damaged.
    """
    try:
        kind, size = _KIND_AND_SIZE.unpack_from(buffer, start)
        fields = _STATE.unpack_from(buffer, start + _HEADER.size)
    except struct.error as error:
        raise ValueError("a state note is cut off") from error
    if kind != NoteKind.STATE or size < _HEADER.size + _STATE.size or start + size > len(buffer):
        raise ValueError("there is no state note where one should be")
    data = b""
    for at in range(10, 10 + 4 * min(fields[9], MAX_REGIONS), 4):
        if fields[at + 3] == RegionLabel.PACKET:
            offset, length = fields[at + 1], fields[at + 2]
            if offset + length > size:
                raise ValueError("a state note points outside itself")
            data = buffer[start + offset : start + offset + length]
            break
    return data, "ethernet" if fields[8] else "raw", fields[3]


def state_at(buffer: bytes, start: int) -> PacketState:
    """Decode the STATE note at ``start``; ValueError where there is none or it is damaged."""
    try:
        kind, size, ts, packet, _cpu, _ = _HEADER.unpack_from(buffer, start)
        fields = _STATE.unpack_from(buffer, start + _HEADER.size)
    except struct.error as error:
        raise ValueError("a state note is cut off") from error
    if kind != NoteKind.STATE or size < _HEADER.size + _STATE.size or start + size > len(buffer):
        raise ValueError("there is no state note where one should be")
    number, skb, device, length, ifindex, netns, mark, name, link, count = fields[:10]
    regions = []
    header = b""
    for index in range(min(count, MAX_REGIONS)):
        address, offset, region_size, label = fields[10 + 4 * index : 14 + 4 * index]
        if offset + region_size > size:
            raise ValueError("a state note points outside itself")
        data = buffer[start + offset : start + offset + region_size]
        if label == RegionLabel.PACKET and not header:
            header = data
        regions.append(Region(address, data, REGION_NAMES.get(label, str(label))))
    dev = name.split(b"\0", 1)[0].decode("utf-8", "replace")
    return PacketState(
        number, ts, packet, skb, device, length, ifindex, netns, mark,
        dev, "ethernet" if link else "raw", header, tuple(regions),
    )  # fmt: skip
