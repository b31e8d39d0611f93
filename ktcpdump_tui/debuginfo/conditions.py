"""What a line of C decides by: the expressions in its condition, as far as a watch expression can say them.

No parser of C is at hand for a line out of its file, and none is needed: what is found here is evaluated, and
what cannot be evaluated is left out. So the text is only cut at its operators and parentheses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Lines that one condition may stretch over, in either direction.
_LINES: Final = 8
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|$)|//.*$|\"(?:\\.|[^\"\\])*\"", re.MULTILINE | re.DOTALL)
_KEYWORD: Final = re.compile(r"\b(?:if|while|switch|for|return)\b")
#: Macros of the kernel that give back the value between their parentheses.
_WRAPPERS: Final = re.compile(
    r"\b(?:unlikely|likely|READ_ONCE|rcu_dereference(?:_\w+)?|WARN_ON(?:_ONCE)?)\s*(?=\()"
)
_COMPARISON: Final = re.compile(
    r"(?<![<>=!])(?:==|!=|<=|>=|<(?!<)|(?<!-)>(?!>))(?!=)|(?<![&|^=<>!+*/%-])=(?!=)"
)
_LOGIC: Final = re.compile(r"&&|\|\||\?|;|(?<!:):(?!:)")
#: A variable with what it is followed to: ``ct->tuplehash[dir].tuple``; calls and macros' names are left out.
_CHAIN: Final = re.compile(r"(?<!->)(?<!\.)\b[A-Za-z_]\w*(?:\s*(?:->|\.)\s*\w+|\[\w+\])*(?!\s*\()(?!\w)")
_CONSTANT: Final = re.compile(r"(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*|[A-Z][A-Z0-9_]+|NULL|true|false")
_WORDS: Final = frozenset(
    ("if", "while", "switch", "for", "return", "case", "goto", "else", "do", "break", "continue", "sizeof",
     "struct", "union", "enum", "const", "int", "unsigned", "long", "char", "bool", "void", "default"),
)  # fmt: skip


def statement(lines: Sequence[str], line: int) -> str:
    """Return the statement (or the head of one) that holds ``line``, counted from 1, without comments.

    Lines before are taken where the line is inside parentheses that they open, lines after where it leaves
    some open, the brace that opens a block not; empty where there is no such line.
    """
    if not 1 <= line <= len(lines):
        return ""
    first = last = line - 1
    text = _plain(lines[first])
    while _unopened(text) and first > max(0, line - 1 - _LINES):
        first -= 1
        text = f"{_plain(lines[first])} {text}"
    while text.count("(") > text.count(")") and last < min(len(lines), line + _LINES) - 1:
        last += 1
        text = f"{text} {_plain(lines[last])}"
    words = " ".join(text.split())
    return words.removesuffix("{").rstrip() or words


def expressions(text: str) -> list[str]:
    """Return what the condition in ``text`` compares, each once, the largest parts first; no constants.

    >>> expressions("if (unlikely(ip_hdr(skb)->ttl <= 1))")
    ['ip_hdr(skb)->ttl', 'skb']
    """
    condition = _inside(text)
    found: dict[str, None] = {}
    for operand in _operands(_WRAPPERS.sub("", condition)):
        if operand and not _CONSTANT.fullmatch(operand):
            found[operand] = None
    for chain in _CHAIN.findall(condition):
        name = re.sub(r"\s+", "", chain)
        if name not in _WORDS and not _CONSTANT.fullmatch(name):
            found[name] = None
    return list(found)


def _plain(line: str) -> str:
    return _COMMENT.sub(" ", line)


def _unopened(text: str) -> bool:
    """Tell whether a parenthesis is closed that was not opened before."""
    depth = 0
    for mark in text:
        depth += (mark == "(") - (mark == ")")
        if depth < 0:
            return True
    return False


def _inside(text: str) -> str:
    """Return what stands in the parentheses behind ``if`` and the like; all of it where there are none."""
    keyword = _KEYWORD.search(text)
    if keyword is None:
        return text
    rest = text[keyword.end() :].lstrip()
    return _parenthesised(rest) if rest.startswith("(") else rest


def _parenthesised(text: str) -> str:
    depth = 0
    for at, mark in enumerate(text):
        depth += (mark == "(") - (mark == ")")
        if depth == 0:
            return text[1:at]
    return text[1:]


def _operands(text: str) -> Iterator[str]:
    """Yield what stands between comparisons and logic, and again what stands inside of parentheses."""
    for part in _cut(text, _LOGIC):
        for side in _cut(part, _COMPARISON):
            bare = side.strip()
            while bare[:1] in ("!", "(") or bare[:1] == "~":
                if bare[0] != "(":
                    bare = bare[1:].lstrip()
                elif len(inner := _parenthesised(bare)) == len(bare) - 2:
                    bare = inner.strip()
                else:
                    break
            if bare == side.strip():
                yield bare
            else:
                yield from _operands(bare)


def _cut(text: str, at: re.Pattern[str]) -> Iterator[str]:
    """Split ``text`` at what matches outside of parentheses."""
    depth = start = 0
    depths = []
    for mark in text:
        depth += (mark in "([") - (mark in ")]")
        depths.append(depth)
    for match in at.finditer(text):
        if depths[match.start()] == 0:
            yield text[start : match.start()]
            start = match.end()
    yield text[start:]
