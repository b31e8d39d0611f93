"""``--capture 'skb->sk'``: which memory behind the packet an event is to carry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.expressions import nodes
from ktcpdump_tui.debuginfo.expressions.environment import TypesEnvironment, skb_type
from ktcpdump_tui.debuginfo.expressions.evaluate import Evaluation
from ktcpdump_tui.debuginfo.expressions.parser import parse
from ktcpdump_tui.debuginfo.expressions.problems import ExpressionError, ProblemError
from ktcpdump_tui.debuginfo.variables.places import InMemory, Missing
from ktcpdump_tui.debuginfo.variables.types import Kind, Type
from ktcpdump_tui.debuginfo.variables.values import Value

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable

#: Most bytes one path captures; what is larger is cut there.
MOST_BYTES: Final = 512

#: Bytes captured behind a pointer to single bytes, whose end nobody knows.
STRING_BYTES: Final = 64

#: Most pointers on the way: the kernel side follows them one by one.
MOST_STEPS: Final = 8


@dataclass(frozen=True, slots=True)
class CapturePath:
    """From the skb's address: add a step, read a pointer there, add the next, ... the last is only added.

    ``size`` bytes at the address reached are captured. ``skb->sk`` is ``(offset of sk, 0)`` with the size of
    struct sock; ``skb->dev->name`` is ``(offset of dev, offset of name)`` with 16.
    """

    steps: tuple[int, ...]
    size: int
    text: str = ""

    @property
    def pointers(self) -> list[CapturePath]:
        """The pointers on the way, 8 bytes each: a watch expression must read them to get here.

        Without the first, which is in the skb itself.
        """
        return [CapturePath(self.steps[:count], 8, self.text) for count in range(2, len(self.steps))]


@dataclass(frozen=True, slots=True)
class _Reached:
    """A place that is reached by ``steps``, and its type; ``behind`` where a pointer led to it last."""

    steps: tuple[int, ...]
    type: Type
    behind: bool = False


def capture_path(text: str, types: TypeTable) -> CapturePath:
    """Return the path of an expression from ``skb``: fields, ``->``, ``*``, constant indices and casts.

    A pointer stands for what it points to. At most MOST_BYTES (512) are captured. Raises ExpressionError (a
    UsageError) with a caret where the expression is wrong or more than a path.
    """
    at = 0
    try:
        tree = parse(text, lambda name: types.find(Kind.TYPEDEF, name) is not None)
        at = tree.at
        reached = _Walk(types).whole(tree)
        size = reached.type.byte_size()
        if reached.type.stripped().kind in (Kind.VOID, Kind.FUNCTION, Kind.UNKNOWN):
            raise ProblemError(at, "a pointer to void has no size: cast it to another pointer")
        if not size:
            raise ProblemError(at, f"the size of {reached.type.spelling()} is not known")
        if len(reached.steps) > MOST_STEPS:
            raise ProblemError(at, f"at most {MOST_STEPS - 1} pointers can be followed")
    except ProblemError as error:
        raise ExpressionError(text, error.at, f"--capture: {error.sentence}.") from error
    if size == 1 and reached.behind:
        size = STRING_BYTES
    return CapturePath(reached.steps, min(size, MOST_BYTES), text)


class _Walk:
    def __init__(self, types: TypeTable) -> None:
        self._types = types
        environment = TypesEnvironment(types, {})
        self._evaluation = Evaluation(environment)
        self._memory = environment.memory

    def whole(self, node: nodes.Node) -> _Reached:
        """Return what is to be captured: of a pointer, what it points to."""
        if isinstance(node, nodes.Name | nodes.Cast) or (
            isinstance(node, nodes.Unary) and node.operator == "&"
        ):
            return self.pointed(node)
        place = self.place(node)
        return self.pointed(node) if place.type.stripped().kind is Kind.POINTER else place

    def place(self, node: nodes.Node) -> _Reached:
        """Return the place that an expression names."""
        match node:
            case nodes.Member(at, base, name, arrow):
                return self._field(self.pointed(base) if arrow else self.place(base), name, at)
            case nodes.Index(_, base, index):
                first = self.pointed(base)
                return self._add(first, self._constant(index) * first.type.byte_size(), first.type)
            case nodes.Unary(_, "*", operand):
                return self.pointed(operand)
        raise ProblemError(
            node.at, "only what fields of skb lead to can be captured: skb->sk, skb->dev->name"
        )

    def pointed(self, node: nodes.Node, *, cast: bool = False) -> _Reached:
        """Return what the value of an expression points to; of an array, its first element."""
        match node:
            case nodes.Name(at, name):
                if name != "skb":
                    raise ProblemError(at, f"a path begins with skb, not with {name}")
                return _Reached((0,), skb_type(self._types).target)
            case nodes.Cast(_, name, operand):
                return replace(self.pointed(operand, cast=True), type=self._pointer(name).target)
            case nodes.Unary(_, "&", operand):
                return self.place(operand)
        place = self.place(node)
        kind = place.type.stripped()
        if kind.kind is Kind.ARRAY:
            return replace(place, type=kind.target)
        # An integer as wide as a pointer may be one: skb->_skb_refdst.
        if kind.kind is not Kind.POINTER and not (cast and kind.is_integer and kind.size == 8):
            raise ProblemError(node.at, f"{place.type.spelling()} is not a pointer")
        target = kind.target if kind.kind is Kind.POINTER else self._types.void
        return _Reached((*place.steps, 0), target, behind=True)

    def _pointer(self, name: nodes.TypeName) -> Type:
        kind = self._evaluation.type(name)
        if kind.stripped().kind is not Kind.POINTER:
            raise ProblemError(name.at, "only a cast to a pointer can be part of a path")
        return kind

    def _field(self, inside: _Reached, name: str, at: int) -> _Reached:
        base = Value(inside.type, InMemory(self._memory, 0), self._memory)
        field = self._evaluation.value_of_path(nodes.Name(at, name), base, at)
        if field.bits:
            raise ProblemError(at, "a bitfield cannot be captured by itself: name the structure it is in")
        return self._add(inside, field.place.address() or 0, field.type)

    def _constant(self, node: nodes.Node) -> int:
        number = self._evaluation.value(node).number()
        if isinstance(number, Missing):
            raise ProblemError(node.at, "an index in a path must be a constant")
        return int(number)

    @staticmethod
    def _add(inside: _Reached, distance: int, kind: Type) -> _Reached:
        return _Reached((*inside.steps[:-1], inside.steps[-1] + distance), kind)
