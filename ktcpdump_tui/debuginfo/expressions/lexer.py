"""Words of C expressions (C11 section 6.4)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ktcpdump_tui.debuginfo.expressions.problems import ProblemError


class Token(NamedTuple):
    """A word: ``kind`` is number, char, string, name, register, mark or end; ``at`` its index in the text."""

    kind: str
    text: str
    at: int


_WORDS: Final = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>\d[0-9a-zA-Z_.]*)
  | (?P<char>'(?:[^'\\]|\\.)*')
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<name>[A-Za-z_][A-Za-z_0-9]*)
  | (?P<register>\$[A-Za-z_0-9]*)
  | (?P<mark><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:.,()\[\]])
    """,
    re.VERBOSE,
)

_ESCAPES: Final = {
    "n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27, "\\": 92, "'": 39, '"': 34, "?": 63,
}  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(.))", re.DOTALL)
_INTEGER: Final = re.compile(
    r"(0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)([uU]?(?:ll|LL|[lL])?|(?:ll|LL|[lL])[uU])"
)


def tokens(text: str) -> list[Token]:
    """Return the words of an expression, the last of kind ``end``. Raises ProblemError on anything else."""
    found = []
    position = 0
    while position < len(text):
        match = _WORDS.match(text, position)
        if match is None:
            if text[position] in "'\"":
                raise ProblemError(position, "the quotation mark is not closed")
            raise ProblemError(position, f"{text[position]!r} has no meaning in an expression")
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(Token(kind, match.group(), position))
        position = match.end()
    found.append(Token("end", "", len(text)))
    return found


def integer(token: Token) -> tuple[int, int, bool]:
    """Return (value, bytes, signed) of an integer constant: the first type that holds it (C11 6.4.4.1)."""
    match = _INTEGER.fullmatch(token.text)
    if match is None:
        if "." in token.text:
            raise ProblemError(token.at, "floating-point numbers are not used in the kernel")
        raise ProblemError(token.at, f"{token.text} is not a number")
    digits, suffix = match.group(1), match.group(2).lower()
    decimal = not digits.startswith("0") or digits == "0"
    octal = not decimal and digits[1:2].lower() not in ("x", "b")
    try:
        value = int(digits, 8) if octal else int(digits, 0)
    except ValueError as error:
        raise ProblemError(token.at, f"{digits} is not an octal number") from error
    for size in (4, 8):
        if size == 4 and "l" in suffix:
            continue
        for signed in (True, False):
            if (signed and "u" in suffix) or (not signed and decimal and "u" not in suffix):
                continue
            if value < 1 << (size * 8 - signed):
                return value, size, signed
    if value < 1 << 64:  # a decimal constant too large for long: gcc takes the unsigned type
        return value, 8, False
    raise ProblemError(token.at, f"{digits} does not fit in 64 bits")


def unquote(token: Token) -> bytes:
    """Return the bytes of a character or string constant."""
    body = token.text[1:-1]

    def escape(match: re.Match[str]) -> str:
        if match.group(1):
            return chr(int(match.group(1), 16) & 0xFF)
        if match.group(2):
            return chr(int(match.group(2), 8) & 0xFF)
        if match.group(3) not in _ESCAPES:
            raise ProblemError(token.at + 1 + match.start(), f"unknown escape \\{match.group(3)}")
        return chr(_ESCAPES[match.group(3)])

    data = _ESCAPE.sub(escape, body)
    try:
        return data.encode("latin-1")
    except UnicodeEncodeError:
        return data.encode()
