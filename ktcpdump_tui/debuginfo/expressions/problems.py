"""What is said of a wrong expression: one sentence, the expression, and a caret under the place."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExpressionError(UsageError):
    """An expression that is wrong in itself, or for the types it meets. ``at`` is an index into ``text``."""

    def __init__(self, text: str, at: int, sentence: str, remedy: str | None = None) -> None:
        self.sentence = sentence
        self.at = min(max(at, 0), len(text))
        shown = "".join(character if character.isprintable() else "?" for character in text)
        super().__init__(f"{sentence}\n  {shown}\n  {' ' * self.at}^", remedy)


class ProblemError(Exception):
    """As ExpressionError, raised where the expression's text is not at hand; ``at`` as there."""

    def __init__(self, at: int, sentence: str) -> None:
        super().__init__(sentence)
        self.at = at
        self.sentence = sentence


class UnknownNameError(ProblemError):
    """A name that means nothing where it is used."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` (nearest: a, b)`` of the names most like ``name``, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" (nearest: {', '.join(found)})" if found else ""
