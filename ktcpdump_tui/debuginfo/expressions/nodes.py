"""The syntax tree of an expression. ``at`` is everywhere the index of the character to point at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type between parentheses: ``struct iphdr *``, ``unsigned long``, ``u8 [6]``.

    ``tag`` is ``struct``, ``union``, ``enum`` or empty; ``name`` a tag, a typedef, or C's own words sorted.
    """

    at: int
    tag: str
    name: str
    stars: int = 0
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """An integer or character constant with the type C gives it: ``size`` in bytes."""

    at: int
    value: int
    size: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A string constant."""

    at: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, an enumerator, or ``skb``."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Register:
    """``$rax``; ``name`` without the dollar."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Unary:
    """``- + ~ ! * &`` before an operand."""

    at: int
    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; also ``&&`` and ``||``."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional:
    """``condition ? then : other``."""

    at: int
    condition: Node
    then: Node
    other: Node


@dataclass(frozen=True, slots=True)
class Member:
    """``base.name`` or, with ``arrow``, ``base->name``; ``at`` is the name's place."""

    at: int
    base: Node
    name: str
    arrow: bool


@dataclass(frozen=True, slots=True)
class Index:
    """``base[index]``."""

    at: int
    base: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A helper of ours; arguments may be types (``container_of``)."""

    at: int
    name: str
    arguments: tuple[Node | TypeName, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """``(type)operand``."""

    at: int
    type: TypeName
    operand: Node


@dataclass(frozen=True, slots=True)
class SizeOf:
    """``sizeof`` of an expression or a type."""

    at: int
    operand: Node | TypeName


Node = Number | Text | Name | Register | Unary | Binary | Conditional | Member | Index | Call | Cast | SizeOf
