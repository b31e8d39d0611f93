"""Where the bytes of a value are: in memory, in registers or constants, in pieces, or nowhere."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Why(enum.StrEnum):
    """Why there is no value; the text is what is shown in its stead."""

    OPTIMISED_OUT = "<optimised out>"
    NOT_CAPTURED = "<not captured>"
    NOT_IN_SCOPE = "<not in scope>"  # of a watch expression
    UNDEFINED = "<undefined>"  # C gives the operation no result: a division by zero


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that cannot be told. ``reason`` is a clause for the user, without a full stop."""

    why: Why
    reason: str = ""

    def __str__(self) -> str:
        return str(self.why)


#: The compiler kept nothing here.
OPTIMISED_OUT = Missing(Why.OPTIMISED_OUT, "the compiler did not keep the value here")


def not_captured(address: int, size: int) -> Missing:
    """Return the Missing of ``size`` bytes of memory at ``address``."""
    return Missing(Why.NOT_CAPTURED, f"{size} bytes at {address:#x} were not captured")


class ReadableMemory(Protocol):
    """Captured memory, as model.Memory is."""

    def read(self, address: int, size: int) -> bytes | None:
        """Return ``size`` bytes at ``address``, or None where they were not all captured."""


class Place(Protocol):
    """Bytes that may or may not be known. Offsets and sizes are in bits, counted from the lowest."""

    def bits(self, offset: int, size: int) -> int | Missing:
        """Return ``size`` bits from ``offset`` as an unsigned number."""

    def address(self) -> int | None:
        """Return the address of the first byte, None where it has none."""

    def bytes(self, offset: int, size: int) -> bytes | Missing:
        """Return ``size`` bytes from byte ``offset``."""

    def at(self, offset: int) -> Place:
        """Return the place ``offset`` bytes further."""


class _BytesFirst(ABC):
    """A place that is read by bytes."""

    def bits(self, offset: int, size: int) -> int | Missing:
        """Return ``size`` bits from ``offset`` as an unsigned number."""
        first = offset >> 3
        data = self.bytes(first, ((offset + size + 7) >> 3) - first)
        if isinstance(data, Missing):
            return data
        number = int.from_bytes(data, "little")
        return number if not (offset | size) & 7 else (number >> (offset & 7)) & ((1 << size) - 1)

    @abstractmethod
    def bytes(self, offset: int, size: int) -> bytes | Missing:
        """Return ``size`` bytes from byte ``offset``."""


@dataclass(slots=True)
class InMemory(_BytesFirst):
    """In memory, at ``start``."""

    memory: ReadableMemory
    start: int

    def address(self) -> int | None:
        """Return the address of the first byte."""
        return self.start

    def bytes(self, offset: int, size: int) -> bytes | Missing:
        """Return captured memory."""
        address = (self.start + offset) & 0xFFFF_FFFF_FFFF_FFFF
        if not size:
            return b""
        data = self.memory.read(address, size)
        return not_captured(address, size) if data is None else data

    def at(self, offset: int) -> Place:
        """Return the place ``offset`` bytes further."""
        if not offset:
            return self
        return InMemory(self.memory, (self.start + offset) & 0xFFFF_FFFF_FFFF_FFFF)


@dataclass(slots=True)
class InBytes(_BytesFirst):
    """Known bytes that have no address: a register's, a constant's, a result's."""

    data: bytes

    def address(self) -> int | None:
        """Return None."""
        return None

    def bytes(self, offset: int, size: int) -> bytes | Missing:
        """Return known bytes; beyond them nothing was kept."""
        if offset < 0 or offset + size > len(self.data):
            return OPTIMISED_OUT
        return self.data[offset : offset + size]

    def at(self, offset: int) -> Place:
        """Return the bytes from ``offset`` on."""
        if not offset:
            return self
        return InBytes(self.data[offset:]) if 0 <= offset <= len(self.data) else Nowhere(OPTIMISED_OUT)


class _Unknown:
    """A place without bytes: every question is answered with ``missing``."""

    missing: Missing

    def address(self) -> int | None:
        """Return None."""
        return None

    def bits(self, offset: int, size: int) -> int | Missing:  # noqa: ARG002
        """Return why."""
        return self.missing

    def bytes(self, offset: int, size: int) -> bytes | Missing:  # noqa: ARG002
        """Return why."""
        return self.missing

    def at(self, offset: int) -> Place:  # noqa: ARG002
        """Return a place that is as unknown."""
        return Nowhere(self.missing)


@dataclass(frozen=True, slots=True)
class Nowhere(_Unknown):
    """No bytes at all, for the reason given."""

    missing: Missing


@dataclass(frozen=True, slots=True)
class Piece:
    """``size`` bits, found ``offset`` bits into ``place``."""

    place: Place
    size: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class InPieces:
    """Several places in sequence (DW_OP_piece, DW_OP_bit_piece), from bit ``skip`` of the first on."""

    pieces: tuple[Piece, ...]
    skip: int = 0

    def address(self) -> int | None:
        """Return None: there is no address that all the bytes have."""
        return None

    def bits(self, offset: int, size: int) -> int | Missing:
        """Return bits put together from the pieces; missing where one of those is."""
        start = self.skip + offset
        value = done = 0
        position = 0
        for piece in self.pieces:
            end = position + piece.size
            if done < size and position <= start + done < end:
                take = min(size - done, end - start - done)
                part = piece.place.bits(piece.offset + start + done - position, take)
                if isinstance(part, Missing):
                    return part
                value |= part << done
                done += take
            position = end
        return value if done == size else OPTIMISED_OUT

    def bytes(self, offset: int, size: int) -> bytes | Missing:
        """Return whole bytes put together from the pieces."""
        value = self.bits(offset * 8, size * 8)
        return value if isinstance(value, Missing) else value.to_bytes(size, "little")

    def at(self, offset: int) -> Place:
        """Return the place ``offset`` bytes further."""
        return InPieces(self.pieces, self.skip + offset * 8)


@dataclass(frozen=True, slots=True)
class ImplicitPointer(_Unknown):
    """A pointer that does not exist, to ``offset`` bytes into an object that does (DW_OP_implicit_pointer).

    ``target`` is found when asked for: it may be a pointer of the same kind.
    """

    target: Callable[[], Place]
    offset: int
    missing: Missing = Missing(Why.OPTIMISED_OUT, "the pointer was not kept, only what it points to")

    def pointed(self) -> Place:
        """Return the place that the pointer would point to."""
        return self.target().at(self.offset)
