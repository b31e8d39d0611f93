"""The lines of a hex dump, and the link between its bytes and the fields decoded from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.tui.fields import Field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui.tui.fields import Row

#: Cells of a byte: two digits and a space.
_BYTE: Final = 3

#: What tcpdump calls the layers whose bytes a filter can name (pcap-filter(7): proto[expr:size]), and sizes.
_PROTOCOLS: Final = {
    "Ether": "ether", "ARP": "arp", "IP": "ip", "IPv6": "ip6", "ICMP": "icmp", "TCP": "tcp", "UDP": "udp",
}  # fmt: skip
_SIZES: Final = (1, 2, 4)


def hex_dump(
    data: bytes, per_line: int, start: int = 0, numbered_from: int | None = None
) -> tuple[Field, ...]:
    """Return a line for every ``per_line`` bytes. ``start`` is where in the packet ``data`` begins.

    The lines are numbered from there, or from ``numbered_from``.
    """
    number = start if numbered_from is None else numbered_from
    result = []
    for at in range(0, len(data), per_line):
        piece = data[at : at + per_line]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        text = f"{piece.hex(' '):<{_BYTE * per_line}} {shown}"
        span = (start + at, start + at + len(piece))
        result.append(Field(f"{number + at:04x}", text, span=span, dumped=per_line))
    return tuple(result)


def byte_at(field: Field, column: int) -> int | None:
    """Return the packet's byte that is drawn in a column of a dump's line; None beside them."""
    if field.span is None or column < 0:
        return None
    first, end = field.span
    digits = _BYTE * field.dumped
    at = first + (column // _BYTE if column < digits else column - digits - 1)
    return at if first <= at < end else None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a dump's line: is it selected, has it changed."""

    text: str
    selected: bool
    changed: bool


def pieces(field: Field, selected: tuple[int, int] | None) -> Iterator[Piece]:
    """Yield the parts of a dump's line, digits and then characters; ``selected``: bytes of the packet."""
    assert field.span is not None
    first, end = field.span
    digits = _BYTE * field.dumped
    for size, column in ((_BYTE, 0), (1, digits + 1)):
        for at in range(first, end):
            place = column + (at - first) * size
            text = field.value[place : place + size]
            old = field.was[place : place + size] if field.was else text
            chosen = selected is not None and selected[0] <= at < selected[1]
            # The space behind the last of the selected bytes is not of them.
            if size == _BYTE and chosen and selected is not None and at + 1 in (selected[1], end):
                yield Piece(text[:2], True, text != old)
                yield Piece(" ", False, False)
            else:
                yield Piece(text, chosen, text != old)
        if size == _BYTE:
            yield Piece(field.value[_BYTE * (end - first) : digits + 1], False, False)


def field_of(rows: Sequence[Field], byte: int) -> tuple[str, ...]:
    """Return the names from the layer to the innermost field that has a byte; empty where none has."""
    for one in rows:
        if one.dumped or one.span is None or not one.span[0] <= byte < one.span[1]:
            continue
        return (one.label, *field_of(one.children or (), byte))
    return ()


def linked(row: Row, byte: int) -> bool:
    """Tell whether a row is the one to show for a byte: a decoded field, or a layer that is closed."""
    span = row.field.span
    if row.field.dumped or span is None or row.open:
        return False
    return span[0] <= byte < span[1]


def place(rows: Sequence[Field], row: Row) -> str:
    """Say where in the packet a decoded field is: as tcpdump's filters name it, else its bytes."""
    span = row.field.span
    if row.field.dumped or span is None:
        return ""
    first, end = span
    layer = next((one for one in rows if one.name == row.path[0]), None)
    protocol = _PROTOCOLS.get(row.path[0])
    if protocol and len(row.path) > 1 and layer is not None and layer.span and end - first in _SIZES:
        offset, size = first - layer.span[0], end - first
        return f"{protocol}[{offset}]" if size == 1 else f"{protocol}[{offset}:{size}]"
    return f"byte {first}" if end - first == 1 else f"bytes {first}-{end - 1}"


def said_of(rows: Sequence[Field], byte: int) -> str:
    """Say which byte it is, and of which field."""
    return f"byte {byte}: {' '.join(field_of(rows, byte)) or 'not decoded'}"
