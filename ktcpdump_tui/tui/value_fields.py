"""Variables, structures and watch expressions as fields. Called outside the interface's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.tui.fields import Field, Path, Tone

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ktcpdump_tui.model import Event

#: Fields of one opened value at most: an opened array of everything must not stop the screen.
_MOST: Final = 512


class Shown(Protocol):
    """What is needed of debuginfo.variables.Variable."""

    @property
    def name(self) -> str:
        """The variable's or field's name."""
        ...

    @property
    def type(self) -> str:
        """The type as C writes it."""
        ...

    @property
    def text(self) -> str:
        """The value for people."""
        ...

    @property
    def missing(self) -> object | None:
        """Why there is no value, None where there is one."""
        ...

    @property
    def expandable(self) -> bool:
        """Whether there is something below."""
        ...

    def children(self) -> Sequence[Shown]:
        """Return what is below."""
        ...


class Declared(Shown, Protocol):
    """A variable with the function it belongs to."""

    @property
    def function(self) -> str:
        """The function it is declared in."""
        ...

    @property
    def inlined(self) -> bool:
        """Whether that function is inlined here."""
        ...


class Evaluated(Protocol):
    """The result of a watch expression."""

    @property
    def text(self) -> str:
        """The value for people, or why there is none."""
        ...

    @property
    def why(self) -> object | None:
        """Why there is no value, None where there is one."""
        ...


class Values(Protocol):
    """What is known of variables and types at an event. Used by one thread."""

    def variables(self, event: Event) -> Sequence[Declared]:
        """Return what is in scope, innermost scope first."""
        ...

    def skb(self, event: Event) -> Shown | None:
        """Return the packet's struct sk_buff, None where its type is not known."""
        ...

    def evaluate(self, text: str, event: Event) -> Evaluated:
        """Return a C expression's value; UserError where it is no expression."""
        ...


def value_field(value: Shown, opened: Collection[Path], above: Path, key: str = "") -> Field:
    """Return a value as a field; what is below only where its path is in ``opened``."""
    path = (*above, key or value.name)
    children: tuple[Field, ...] | None = None
    if value.expandable:
        children = ()
        if path in opened:
            children = tuple(value_fields(value.children(), opened, path))
    tone = Tone.ABSENT if value.missing is not None else Tone.NORMAL
    return Field(value.name, value.text, key, tone, children=children)


def value_fields(values: Sequence[Shown], opened: Collection[Path], above: Path = ()) -> list[Field]:
    """Return values as fields; those of one name are told apart by their place."""
    seen: dict[str, int] = {}
    fields = []
    for value in values[:_MOST]:
        number = seen[value.name] = seen.get(value.name, 0) + 1
        fields.append(value_field(value, opened, above, "" if number == 1 else f"{value.name}#{number}"))
    if len(values) > _MOST:
        fields.append(Field("…", f"{len(values) - _MOST} more", tone=Tone.ABSENT))
    return fields


def variable_fields(variables: Sequence[Declared], opened: Collection[Path]) -> tuple[Field, ...]:
    """Return the variables in scope under the functions they belong to, the innermost first."""
    groups: dict[tuple[str, bool], list[Declared]] = {}
    for variable in variables:
        groups.setdefault((variable.function, variable.inlined), []).append(variable)
    fields = []
    for (function, inlined), members in groups.items():
        children = tuple(value_fields(members, opened, (function,)))
        fields.append(Field(function, "inlined" if inlined else "", tone=Tone.HEADING, children=children))
    return tuple(fields)


def watch_field(text: str, result: Evaluated) -> Field:
    """Return a watch expression with its value."""
    return Field(text, result.text, tone=Tone.NORMAL if result.why is None else Tone.ABSENT)
