"""C highlighting: a file's lines as pieces with the names of styles. Runs outside the interface's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pygments.lexers.c_cpp import CLexer
from pygments.token import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Words the kernel uses as types and qualifiers that C itself does not know.
KERNEL_TYPES: Final = frozenset(
    (
        *(f"{prefix}{sign}{bits}" for prefix in ("", "__") for sign in "us" for bits in (8, 16, 32, 64)),
        *(f"__{order}{bits}" for order in ("be", "le") for bits in (16, 32, 64)),
        *("__wsum", "__sum16", "bool", "size_t", "ssize_t", "gfp_t", "netdev_features_t", "netdev_tx_t"),
        *("__always_inline", "noinline", "__init", "__exit", "__user", "__rcu", "__percpu", "__force"),
    )
)

_STYLES: Final[tuple[tuple[Any, str], ...]] = (
    (Token.Comment.Preproc, "preprocessor"),
    (Token.Comment.PreprocFile, "string"),
    (Token.Comment, "comment"),
    (Token.Keyword.Type, "type"),
    (Token.Keyword, "keyword"),
    (Token.Name.Function, "function"),
    (Token.Name.Builtin, "constant"),
    (Token.Literal.String, "string"),
    (Token.Literal.Number, "constant"),
)

#: A line: (text, name of a style) pieces, tabs already replaced.
Line = tuple[tuple[str, str], ...]


def _style_of(kind: Any, value: str) -> str:
    if kind in Token.Name and value in KERNEL_TYPES:
        return "type"
    for prefix, name in _STYLES:
        if kind in prefix:
            return name
    return "text"


def highlight(lines: Sequence[str], tab_size: int = 8) -> list[Line]:
    """Return the highlighted lines, as many as were given."""
    result: list[Line] = []
    pieces: list[tuple[str, str]] = []
    text = "\n".join(line.expandtabs(tab_size) for line in lines) + "\n"
    lexer = CLexer(stripnl=False, ensurenl=False)  # type: ignore[no-untyped-call]
    for kind, value in lexer.get_tokens(text):
        style = _style_of(kind, value)
        first, *rest = value.split("\n")
        if first:
            pieces.append((first, style))
        for part in rest:
            result.append(tuple(pieces))
            pieces = [(part, style)] if part else []
    return result[: len(lines)]
