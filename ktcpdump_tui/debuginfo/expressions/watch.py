"""Expressions as users see them: compiled once, evaluated at every event."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.expressions.environment import EventEnvironment, NotInScopeError, TypesEnvironment
from ktcpdump_tui.debuginfo.expressions.evaluate import Evaluation
from ktcpdump_tui.debuginfo.expressions.parser import parse
from ktcpdump_tui.debuginfo.expressions.problems import ExpressionError, ProblemError, UnknownNameError
from ktcpdump_tui.debuginfo.variables.scope import Variable
from ktcpdump_tui.debuginfo.variables.types import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ktcpdump_tui import model
    from ktcpdump_tui.debuginfo.expressions import nodes
    from ktcpdump_tui.debuginfo.variables.places import Missing
    from ktcpdump_tui.debuginfo.variables.scope import EntryRegisters, Symbolise
    from ktcpdump_tui.debuginfo.variables.table import Scope, VariableTable
    from ktcpdump_tui.debuginfo.variables.type_table import TypeTable
    from ktcpdump_tui.debuginfo.variables.types import Type


@dataclass(frozen=True, slots=True)
class Watched:
    """What an expression is at an event.

    ``variable`` has the value. It is None where the expression means nothing here; ``missing`` or ``problem``
    then say why.
    """

    variable: Variable | None
    missing: Missing | None = None
    problem: str | None = None

    @property
    def value(self) -> int | float | str | None:
        """The value for programs: a number, text, or None where there is none."""
        return self.variable.value if self.variable else None

    @property
    def text(self) -> str:
        """The value for people; ``<not captured>`` and the like where there is none."""
        if self.variable:
            return self.variable.text
        return str(self.missing) if self.missing else "<no value>"

    @property
    def why(self) -> str | None:
        """Why there is no value, as a clause; None where there is one."""
        missing = self.variable.missing if self.variable else self.missing
        return missing.reason if missing else self.problem

    @property
    def type(self) -> str:
        """The type as C writes it, empty where there is none."""
        return self.variable.type if self.variable else ""

    @property
    def expandable(self) -> bool:
        """Whether there may be something below."""
        return self.variable is not None and self.variable.expandable

    def children(self) -> list[Variable]:
        """Return the fields, the elements, or what the pointer points to."""
        return self.variable.children() if self.variable else []


class Expression:
    """A parsed expression."""

    def __init__(self, text: str, tree: nodes.Node) -> None:
        self.text = text
        self._tree = tree

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(
        self,
        event: model.Event,
        table: VariableTable | None,
        entry_registers: EntryRegisters | None = None,
        symbolise: Symbolise | None = None,
    ) -> Watched:
        """Return the expression's value at ``event``; never raises, ``why`` tells what stands in the way.

        ``table`` is the one with the event's function, or any where only ``skb`` and registers matter. Names
        are those of the innermost function; where it makes no sense with these (the ``iph`` of an inlined
        ip_fast_csum is a ``void *``), those of the function it is inlined into are taken.
        """
        return self.evaluate_in(EventEnvironment(event, table, entry_registers), symbolise)

    def evaluate_in(self, environment: EventEnvironment, symbolise: Symbolise | None = None) -> Watched:
        """Return what ``evaluate`` does; several expressions at an event may share its environment."""
        try:
            return self._watched(environment, symbolise)
        except NotInScopeError as error:
            return Watched(None, error.missing)
        except ProblemError as error:
            for up in range(1, len(environment.functions)):
                with contextlib.suppress(NotInScopeError, ProblemError):
                    return self._watched(environment.above(up), symbolise)
            return Watched(None, problem=error.sentence)

    def _watched(self, environment: EventEnvironment, symbolise: Symbolise | None) -> Watched:
        value = Evaluation(environment).value(self._tree)
        return Watched(Variable(self.text, "", False, False, value, symbolise))

    def check(self, tables: Sequence[VariableTable]) -> None:
        """Raise ExpressionError (a UsageError) where the expression has no meaning anywhere in the tables.

        It may still be out of scope at many events. Without tables only the syntax could be checked.
        """
        problem: ProblemError | None = None
        for table in tables:
            for variables in _bindings(table):
                try:
                    Evaluation(TypesEnvironment(table.types, variables)).value(self._tree)
                except ProblemError as error:
                    if problem is None or _rank(error) > _rank(problem):
                        problem = error
                else:
                    return
        if problem is not None:
            raise ExpressionError(self.text, problem.at, _sentence(problem.sentence))


def compile_expression(text: str, types: TypeTable | None = None) -> Expression:
    """Return the expression ``text``, C as in ``((struct iphdr *)skb->data)->ttl > 1``.

    ``types`` tell typedefs from variables where C itself cannot. Raises ExpressionError (a UsageError) with
    a caret under the place where the syntax is wrong.
    """

    def is_typedef(name: str) -> bool:
        return types is not None and types.find(Kind.TYPEDEF, name) is not None

    try:
        return Expression(text, parse(text, is_typedef))
    except ProblemError as error:
        raise ExpressionError(text, error.at, _sentence(error.sentence)) from error


def _rank(problem: ProblemError) -> tuple[bool, int, int]:
    """Order problems by how much they say: a wrong field more than a name not known in one function."""
    return not isinstance(problem, UnknownNameError), problem.at, len(problem.sentence)


def _sentence(sentence: str) -> str:
    return f"Watch expression: {sentence}."


def _bindings(table: VariableTable) -> Iterator[dict[str, Type]]:
    """Yield what names mean in each scope of a table, inner ones hiding outer ones; each meaning once."""
    seen: set[tuple[tuple[str, int], ...]] = set()

    def walk(scope: Scope, outer: dict[str, int]) -> Iterator[dict[str, int]]:
        names = outer | {variable.name: variable.type for variable in reversed(scope.variables)}
        yield names
        for inner in scope.scopes:
            yield from walk(inner, names)

    yield {}
    for function in table.functions:
        for names in walk(function.scope, {}):
            key = tuple(sorted(names.items()))
            if key not in seen:
                seen.add(key)
                yield {name: table.types[number] for name, number in names.items()}
