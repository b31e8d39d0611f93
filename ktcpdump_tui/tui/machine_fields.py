"""An event's registers, and who the packet is: the sections that need neither debug symbols nor a decoder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import arch
from ktcpdump_tui.tui.fields import Field, Tone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui.model import Event, Packet, TraceHeader

_WORD: Final = 1 << 64

#: include/linux/err.h: MAX_ERRNO. Other negative numbers are rather addresses.
_ERRNO_MAX: Final = 4095


def registers(event: Event, symbolise: Callable[[int], str | None]) -> tuple[Field, ...]:
    """Return the registers, each with what its value is known to be."""
    if not event.regs:
        return (Field("registers", "<not captured>", tone=Tone.ABSENT),)
    fields = []
    for name, value in zip(arch.REGISTERS, event.regs, strict=True):
        if name == "rflags":
            fields.append(Field(name, f"{value:#x}  [{' '.join(_flags(value))}]"))
            continue
        meaning = _meaning(value, event, symbolise)
        fields.append(Field(name, f"{value:016x}" + (f"  {meaning}" if meaning else "")))
    return tuple(fields)


def _flags(value: int) -> list[str]:
    return [name for name, bit in arch.FLAG_BITS if value >> bit & 1]


def _meaning(value: int, event: Event, symbolise: Callable[[int], str | None]) -> str:
    """Say what a register's value is: the packet's skb, a place on the stack, a symbol, a small number."""
    if value == event.skb:
        return "skb"
    for region in event.memory:
        if region.address <= value < region.end and region.label:
            offset = value - region.address
            return f"{region.label}{f'+{offset}' if offset else ''}"
    if event.cfa is not None and abs(value - event.cfa) < arch.STACK_SIZE:
        return f"cfa{value - event.cfa:+d}"
    name = symbolise(value)
    if name:
        return name
    signed = value - _WORD if value >= _WORD // 2 else value
    return str(signed) if -_ERRNO_MAX <= signed < 1 << 32 else ""


def clock(header: TraceHeader, ts: int) -> str:
    """Return the wall-clock time of ``ts`` (ns of CLOCK_BOOTTIME), in the local time zone."""
    real = ts + header.clock_offset
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(real // 10**9)) + f".{real % 10**9:09d}"


def identity(
    event: Event, packet: Packet | None, children: Sequence[Packet], header: TraceHeader
) -> tuple[Field, ...]:
    """Return who the packet is, where it came from, what became of it, and who executed this event."""
    fields = []
    if packet is None:
        fields.append(Field("packet", f"{event.packet_id}, of which nothing else is known", tone=Tone.ABSENT))
    else:
        fields += [
            Field("packet", str(packet.id)),
            Field("skb", f"{packet.skb:#x}"),
            Field("first seen", clock(header, packet.first_seen)),
            Field(
                "origin",
                packet.origin if packet.parent is None else f"{packet.origin} of packet {packet.parent}",
            ),
        ]
        if children:
            fields.append(
                Field("gave rise to", ", ".join(f"{child.id} ({child.origin})" for child in children))
            )
        fields += _fate(packet, header)
    fields.append(
        Field("this event", clock(header, event.ts), "event", Tone.HEADING, children=(
            Field("cpu", str(event.cpu)),
            Field("task", f"{event.comm or '?'} ({event.pid})"),
            Field("found by", str(event.found_by)),
            Field("device", f"{event.dev} ({event.ifindex})" if event.dev else "none"),
            Field("netns", "unknown" if event.netns is None else str(event.netns)),
            Field("mark", "unknown" if event.mark is None else f"{event.mark:#x}"),
            Field("skb->len", "unknown" if event.len is None else f"{event.len} bytes"),
            Field("cfa", "unknown" if event.cfa is None else f"{event.cfa:#x}"),
            Field("lost before", f"{event.lost_before:,} events" if event.lost_before else "nothing",
                  tone=Tone.BAD if event.lost_before else Tone.NORMAL),
        ))
    )  # fmt: skip
    return tuple(fields)


def _fate(packet: Packet, header: TraceHeader) -> list[Field]:
    if packet.fate is None:
        return [Field("fate", "not freed while it was watched", tone=Tone.ABSENT)]
    tone = Tone.BAD if packet.fate == "dropped" else Tone.GOOD
    fields = [Field("fate", packet.fate, tone=tone)]
    if packet.freed_at is not None:
        fields.append(Field("freed", clock(header, packet.freed_at)))
    if packet.drop_reason:
        fields.append(Field("reason", packet.drop_reason, tone=tone))
    if packet.drop_symbol:
        fields.append(Field("freed in", packet.drop_symbol))
    elif packet.drop_location is not None:
        fields.append(Field("freed at", f"{packet.drop_location:#x}"))
    if packet.drop_line:
        fields.append(Field("freed by line", packet.drop_line, tone=tone))
    return fields
