"""What an option's value must be. ArgumentTypeError says what it is not; argparse adds the option's name."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

_SUFFIXES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def whole(text: str) -> int:
    """Return a whole number, in C's notation."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def count(text: str) -> int:
    """Return a number of at least 1."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def packet(text: str) -> tuple[str | None, int]:
    """Return (trace, packet) of ``N`` (trace None: the one of -r) or ``FILE.ktrace:N``."""
    file, _, number = text.rpartition(":")
    return file or None, count(number)


def natural(text: str) -> int:
    """Return a number of at least 0."""
    number = whole(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def snaplen(text: str) -> int:
    """Return bytes of a packet; 0 means the most there can be."""
    from ktcpdump_tui.capture.options import MAX_SNAPLEN

    number = natural(text)
    if number > MAX_SNAPLEN:
        raise argparse.ArgumentTypeError(f"{text} is more than the {MAX_SNAPLEN} bytes an event can hold")
    return number or MAX_SNAPLEN


def stack(text: str) -> int:
    """Return bytes of stack, made a multiple of a word."""
    from ktcpdump_tui.capture.options import MAX_STACK_BYTES

    number = natural(text)
    if not 8 <= number <= MAX_STACK_BYTES:
        raise argparse.ArgumentTypeError(f"{text} is not a number of bytes from 8 to {MAX_STACK_BYTES}")
    return (number + 7) & ~7


def seconds(text: str) -> float:
    """Return seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def percent(text: str) -> float:
    """Return a percentage of at least 0."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage, 0 or above")
    return number


def byte_size(text: str) -> int:
    """Return bytes of ``500M``, ``2G`` ..."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(?:i?b)?", text.lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes (such as 500M or 2G)")
    size = int(float(match[1]) * _SUFFIXES[match[2]])
    if size < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text} is less than 1M, too little for a trace")
    return size


def rotation(text: str) -> tuple[int, int | None]:
    """Return (bytes, files or None) of ``BYTES[,COUNT]``."""
    size, comma, files = text.partition(",")
    return byte_size(size), count(files) if comma else None


def mark(text: str) -> tuple[int, int]:
    """Return (value, mask) of ``VALUE[/MASK]``, 32 bits each."""
    value, slash, mask = text.partition("/")
    numbers = natural(value), natural(mask) if slash else 0xFFFF_FFFF
    if max(numbers) > 0xFFFF_FFFF:
        raise argparse.ArgumentTypeError(f"{text} does not fit in 32 bits")
    return numbers


def path(text: str) -> Path:
    """Return a path; ``~`` is the home folder."""
    return Path(nonempty(text)).expanduser()


def nonempty(text: str) -> str:
    """Return what is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text
