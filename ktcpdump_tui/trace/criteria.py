"""What a post-filter selects, and the text it is written as.

A filter is a line of words. These name what the trace knows, and all of them must hold:

===================  ==================================================================================
``fn:GLOB``          the instruction's function, or one inlined there (``fn:tcp_*``, ``fn:veth:*``)
``file:GLOB``        its source file, whole or its last parts; ``file:ip_input.c:480-519`` with lines
``cpu:N``            the CPU
``netns:N``          the network namespace's inode number
``packet:N``         the packet
``is:changed``       the packet's state differs from that at its event before
``is:dropped``       an event of a packet that was dropped
``is:drop``          the last event of a packet that was dropped
===================  ==================================================================================

A word may hold several values with commas between them, any of which will do (``cpu:0,2``). All other words
together are a tcpdump EXPRESSION, judged on each packet as it was at its first event. ``and`` may stand
between it and these words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.kernel.symbols import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.model import Instruction

_KEYS: Final = ("fn", "file", "cpu", "netns", "packet", "is")
_STATES: Final = ("changed", "dropped", "drop")
_WORD: Final = re.compile(rf"({'|'.join(_KEYS)}):(.*)", re.DOTALL)
_AND: Final = ("and", "&&")
_OTHERS: Final = ("or", "||")
_NOT: Final = ("not", "!")
_PLACE: Final = re.compile(r"(.*?)(?::(\d+)(?:-(\d+))?)?", re.DOTALL)
#: What a line number may be at most: the upper end of a range that has none.
_LAST_LINE: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Place:
    """A glob of file names, and the lines of them (both included)."""

    file: str
    first: int = 0
    last: int = _LAST_LINE

    def has(self, instruction: Instruction) -> bool:
        """Tell whether the instruction's own source line is here."""
        source = instruction.source
        if source is None or not self.first <= source.line <= self.last:
            return False
        return fnmatchcase(source.file, self.file) or fnmatchcase(source.file, f"*/{self.file}")


@dataclass(frozen=True, slots=True)
class Criteria:
    """A post-filter: what is empty restricts nothing."""

    expression: str = ""
    symbols: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    cpus: frozenset[int] = frozenset()
    netns: frozenset[int] = frozenset()
    packets: frozenset[int] = frozenset()
    changed: bool = False
    dropped: bool = False
    drop: bool = False

    def __bool__(self) -> bool:
        return self != Criteria()

    @classmethod
    def parse(cls, text: str) -> Criteria:
        """Return what ``text`` says; UsageError names a wrong word. The expression is not looked at."""
        words, values = _Expression(), {key: list[str]() for key in _KEYS}
        for word in text.split():
            match = _WORD.fullmatch(word)
            if match is None:
                words.add(word)
                continue
            words.leave_out(word)
            parts = [part for part in match[2].split(",") if part]
            if not parts:
                raise UsageError(f"'{word}' names nothing", _example(match[1]))
            values[match[1]] += parts
        for state in values["is"]:
            if state not in _STATES:
                raise UsageError(f"'is:{state}' means nothing here", _example("is"))
        return cls(
            expression=" ".join(words.words),
            symbols=tuple(values["fn"]),
            places=tuple(_place(text) for text in values["file"]),
            cpus=_numbers("cpu", values["cpu"]),
            netns=_numbers("netns", values["netns"]),
            packets=_numbers("packet", values["packet"]),
            changed="changed" in values["is"],
            dropped="dropped" in values["is"],
            drop="drop" in values["is"],
        )

    def instructions(self, plan: Iterable[Instruction]) -> frozenset[int] | None:
        """Return the indices of the instructions that may be selected; None where all may."""
        if not self.symbols and not self.places:
            return None
        return frozenset(
            one.index
            for one in plan
            if (not self.symbols or any(_named(one, glob) for glob in self.symbols))
            and (not self.places or any(place.has(one) for place in self.places))
        )


class _Expression:
    """The words of a tcpdump EXPRESSION, without those that named something else."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._left_out = ""
        self._and = False

    def add(self, word: str) -> None:
        """Take the next word; UsageError where it would join what cannot be joined."""
        if self._left_out and word in _OTHERS:
            raise _not_joined(self._left_out, word)
        joins = word in _AND
        if self._and and not joins:
            self.words.append("and")
        if not (joins and self._left_out and not self.words):
            self.words.append(word)
        self._and, self._left_out = False, ""

    def leave_out(self, word: str) -> None:
        """Pass over a word that holds beside the expression, and the ``and`` before it."""
        if self.words and self.words[-1] in (*_OTHERS, *_NOT):
            raise _not_joined(word, self.words[-1])
        if self.words and self.words[-1] in _AND:
            self._and = True
            del self.words[-1]
        self._left_out = word


def _not_joined(word: str, by: str) -> UsageError:
    return UsageError(
        f"'{by}' cannot stand beside '{word}': it holds beside the expression", f"icmp and {word}"
    )


def _named(instruction: Instruction, glob: str) -> bool:
    module, colon, symbol = glob.rpartition(":")
    if colon and not fnmatchcase(instruction.module or "vmlinux", module):
        return False
    # A function means all its parts: what the compiler made of it as well (.cold, .constprop.0).
    names = {instruction.symbol, SUFFIX.sub("", instruction.symbol)}
    names.update(frame.function for frame in instruction.inlined_by[:-1])
    return any(fnmatchcase(name, symbol) for name in names)


def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if match is None or not match[1]:
        raise UsageError(f"'file:{text}' names no file", _example("file"))
    if match[2] is None:
        return Place(match[1])
    first, last = int(match[2]), int(match[3] or match[2])
    if first > last:
        raise UsageError(f"'file:{text}' ends before it begins", f"file:{match[1]}:{last}-{first}")
    return Place(match[1], first, last)


def _numbers(key: str, texts: list[str]) -> frozenset[int]:
    for text in texts:
        if not (text.isascii() and text.isdecimal()):
            raise UsageError(f"'{key}:{text}' is not a number", _example(key))
    return frozenset(int(text) for text in texts)


def _example(key: str) -> str:
    examples = {
        "fn": "fn:tcp_v4_*", "file": "file:ip_input.c:480-519", "cpu": "cpu:0,1", "netns": "netns:4026531840",
        "packet": "packet:3", "is": ", ".join(f"is:{state}" for state in _STATES),
    }  # fmt: skip
    return f"for instance {examples[key]}"
