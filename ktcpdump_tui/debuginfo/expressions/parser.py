"""From text to a syntax tree: C's operators and their precedence (C11 section 6.5), by recursive descent.

pycparser and tree-sitter read whole C files; neither tells a cast from a parenthesis without the typedefs of
the program, nor points at the place of an error in words a user can act on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import nodes
from ktcpdump_tui.debuginfo.expressions.ctypes import BASE_WORDS, is_builtin
from ktcpdump_tui.debuginfo.expressions.lexer import Token, integer, tokens, unquote
from ktcpdump_tui.debuginfo.expressions.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Binary operators from the weakest to the strongest.
_LEVELS: Final = (
    ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"),
    ("*", "/", "%"),
)  # fmt: skip
_BINDING: Final = {operator: level for level, operators in enumerate(_LEVELS) for operator in operators}
_UNARY: Final = frozenset("-+~!*&")
_ASSIGNMENTS: Final = frozenset(
    ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "++", "--")
)
_TAGS: Final = frozenset(("struct", "union", "enum"))
_QUALIFIERS: Final = frozenset(("const", "volatile", "restrict", "__user", "__rcu", "__percpu"))

#: Parentheses and operators nested deeper than this are refused.
_MOST_NESTED: Final = 100


def parse(text: str, is_typedef: Callable[[str], bool]) -> nodes.Node:
    """Return the tree of an expression; ``is_typedef`` tells a type's name from a variable's.

    Raises ProblemError with the place of the first thing that is wrong.
    """
    return _Parser(text, is_typedef).whole()


class _Parser:
    def __init__(self, text: str, is_typedef: Callable[[str], bool]) -> None:
        self._tokens = tokens(text)
        self._index = 0
        self._depth = 0
        self._is_typedef = is_typedef

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    def whole(self) -> nodes.Node:
        if self._token.kind == "end":
            raise ProblemError(0, "the expression is empty")
        node = self._expression()
        self._refuse_assignment()
        if self._token.kind != "end":
            raise ProblemError(self._token.at, f"an operator is missing before {self._token.text}")
        return node

    def _expression(self) -> nodes.Node:
        condition = self._binary(0)
        token = self._token
        if token.text != "?" or token.kind != "mark":
            return condition
        self._next()
        self._deeper(token)
        then = self._expression()
        self._expect(":", "the ? before has no")
        other = self._expression()
        self._depth -= 1
        return nodes.Conditional(token.at, condition, then, other)

    def _binary(self, level: int) -> nodes.Node:
        left = self._unary()
        while True:
            token = self._token
            binding = _BINDING.get(token.text, -1) if token.kind == "mark" else -1
            if binding < level:
                return left
            self._next()
            left = nodes.Binary(token.at, token.text, left, self._binary(binding + 1))

    def _unary(self) -> nodes.Node:
        token = self._token
        self._refuse_assignment()
        self._deeper(token)
        try:
            if token.kind == "mark" and token.text in _UNARY:
                self._next()
                return nodes.Unary(token.at, token.text, self._unary())
            if token.kind == "name" and token.text == "sizeof":
                self._next()
                if self._token.text == "(" and self._type_follows(self._index + 1):
                    return nodes.SizeOf(token.at, self._parenthesised_type())
                return nodes.SizeOf(token.at, self._unary())
            if token.text == "(" and token.kind == "mark" and self._type_follows(self._index + 1):
                kind = self._parenthesised_type()
                return nodes.Cast(token.at, kind, self._unary())
            return self._postfix(self._primary())
        finally:
            self._depth -= 1

    def _postfix(self, node: nodes.Node) -> nodes.Node:
        while self._token.kind == "mark":
            token = self._token
            if token.text == "[":
                self._next()
                index = self._expression()
                self._expect("]", "the [ before has no")
                node = nodes.Index(token.at, node, index)
            elif token.text in (".", "->"):
                self._next()
                name = self._token
                if name.kind != "name":
                    raise ProblemError(name.at, f"the name of a field must follow {token.text}")
                self._next()
                node = nodes.Member(name.at, node, name.text, token.text == "->")
            elif token.text == "(":
                raise ProblemError(token.at, "only the names of helper functions can be called")
            else:
                self._refuse_assignment()
                return node
        return node

    def _primary(self) -> nodes.Node:
        token = self._token
        self._next()
        if token.kind == "number":
            return nodes.Number(token.at, *integer(token))
        if token.kind == "char":
            data = unquote(token)
            if len(data) != 1:
                raise ProblemError(token.at, "a character constant holds one character")
            return nodes.Number(token.at, data[0] - 256 if data[0] > 127 else data[0], 4, True)
        if token.kind == "string":
            return nodes.Text(token.at, unquote(token))
        if token.kind == "register":
            return nodes.Register(token.at, token.text[1:])
        if token.kind == "name":
            if self._token.text == "(" and self._token.kind == "mark":
                return self._call(token)
            if token.text in _TAGS or token.text in BASE_WORDS:
                raise ProblemError(token.at, f"a type ({token.text}) can only be in parentheses here")
            return nodes.Name(token.at, token.text)
        if token.text == "(":
            node = self._expression()
            self._expect(")", "the parenthesis before has no")
            return node
        if token.kind == "end":
            raise ProblemError(token.at, "the expression ends where a value is missing")
        raise ProblemError(token.at, f"a value is missing before {token.text}")

    def _call(self, name: Token) -> nodes.Node:
        self._next()
        arguments: list[nodes.Node | nodes.TypeName] = []
        while self._token.text != ")":
            if arguments:
                self._expect(",", "between arguments there must be a")
            if self._type_follows(self._index):
                arguments.append(self._type())
            else:
                arguments.append(self._expression())
        self._next()
        return nodes.Call(name.at, name.text, tuple(arguments))

    # ---- types

    def _type_follows(self, index: int) -> bool:
        """Tell whether a type's name begins at a token."""
        token = self._tokens[index]
        if token.kind != "name":
            return False
        return (
            token.text in _TAGS
            or token.text in BASE_WORDS
            or token.text in _QUALIFIERS
            or is_builtin(token.text)
            or self._is_typedef(token.text)
            or self._shape_of_cast(index)
        )

    def _shape_of_cast(self, index: int) -> bool:
        """Tell whether ``(name *)`` is there, or ``(name)`` before the beginning of a value."""
        if index == 0 or self._tokens[index - 1].text != "(":
            return False
        before = self._tokens[index - 2] if index >= 2 else None
        if before is not None and (before.kind == "name" and before.text != "sizeof"):
            return False  # a call's argument
        index += 1
        stars = 0
        while self._tokens[index].text == "*":
            index += 1
            stars += 1
        if self._tokens[index].text != ")":
            return False
        after = self._tokens[index + 1]
        if stars:
            return True
        return after.kind in ("number", "char", "string", "name", "register") or after.text in ("~", "!")

    def _parenthesised_type(self) -> nodes.TypeName:
        self._expect("(", "a type is wanted in a")
        kind = self._type()
        self._expect(")", "the parenthesis around the type has no")
        return kind

    def _type(self) -> nodes.TypeName:
        start = self._token
        tag = ""
        words: list[str] = []
        while self._token.kind == "name":
            word = self._token.text
            if word in _QUALIFIERS:
                self._next()
            elif word in _TAGS and not words and not tag:
                tag = word
                self._next()
                if self._token.kind != "name":
                    raise ProblemError(self._token.at, f"the name of the {tag} is missing")
                words.append(self._token.text)
                self._next()
            elif tag or (words and not (word in BASE_WORDS and words[0] in BASE_WORDS)):
                break
            else:
                words.append(word)
                self._next()
        if not words:
            raise ProblemError(start.at, "the name of a type is missing")
        stars = 0
        while self._token.text == "*" or self._token.text in _QUALIFIERS:
            stars += self._token.text == "*"
            self._next()
        counts = []
        while self._token.text == "[":
            self._next()
            if self._token.kind != "number":
                raise ProblemError(self._token.at, "the number of elements is missing")
            counts.append(integer(self._token)[0])
            self._next()
            self._expect("]", "the [ before has no")
        return nodes.TypeName(start.at, tag, " ".join(words), stars, tuple(counts))

    # ---- steps

    def _next(self) -> None:
        if self._token.kind != "end":
            self._index += 1

    def _expect(self, mark: str, sentence: str) -> None:
        if self._token.kind != "mark" or self._token.text != mark:
            raise ProblemError(self._token.at, f"{sentence} {mark}")
        self._next()

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise ProblemError(token.at, "the expression is nested too deeply")

    def _refuse_assignment(self) -> None:
        token = self._token
        if token.kind == "mark" and token.text in _ASSIGNMENTS:
            hint = "; == compares" if token.text == "=" else ""
            raise ProblemError(token.at, f"an expression cannot change the kernel ({token.text}){hint}")
