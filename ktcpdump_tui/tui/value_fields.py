"""Variables, structures and watch expressions as fields. Called outside the interface's thread."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.tui.fields import Field, Path, Tone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ktcpdump_tui.model import Event

#: Fields of one opened value at most: an opened array of everything must not stop the screen.
_MOST: Final = 512

#: What debuginfo.variables calls members without a name.
UNNAMED: Final = "<unnamed>"

#: Fields of struct sk_buff that are shown first; the others follow in the order of their declaration.
# fmt: off
_FIRST: Final = (
    "len", "data_len", "protocol", "dev", "skb_iif", "mark", "priority", "pkt_type", "ip_summed", "csum",
    "hash", "vlan_tci", "sk", "cloned", "users", "truesize", "mac_header", "network_header",
    "transport_header", "inner_network_header", "head", "data", "tail", "end",
)
# fmt: on


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
    """The result of a watch expression (debuginfo.expressions.Watched)."""

    @property
    def text(self) -> str:
        """The value for people."""
        ...

    @property
    def why(self) -> str | None:
        """Why there is no value, None where there is one."""
        ...

    @property
    def type(self) -> str:
        """The type as C writes it, empty where there is none."""
        ...

    @property
    def expandable(self) -> bool:
        """Whether there may be something below."""
        ...

    def children(self) -> Sequence[Shown]:
        """Return what is below."""
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
    return Field(value.name, value.text, key, tone, children=children, note=value.type)


def value_fields(values: Sequence[Shown], opened: Collection[Path], above: Path = ()) -> list[Field]:
    """Return values as fields; those of one name are told apart by their place."""
    seen: dict[str, int] = {}
    fields = []
    members = list(_named(values))
    for value in members[:_MOST]:
        number = seen[value.name] = seen.get(value.name, 0) + 1
        fields.append(value_field(value, opened, above, "" if number == 1 else f"{value.name}#{number}"))
    if len(members) > _MOST:
        fields.append(Field("…", f"{len(members) - _MOST} more", tone=Tone.ABSENT))
    return fields


def _named(values: Sequence[Shown]) -> Iterator[Shown]:
    """Yield the fields as C names them: those of an unnamed structure or union belong to the outer one."""
    for value in values:
        if value.name == UNNAMED and value.expandable:
            yield from _named(value.children())
        else:
            yield value


def skb_fields(skb: Shown, opened: Collection[Path]) -> tuple[Field, ...]:
    """Return the fields of a struct sk_buff, those one mostly wants to know first."""
    fields = value_fields(skb.children(), opened, ())
    order = {name: place for place, name in enumerate(_FIRST)}
    fields = [field for field in fields if not (field.children is None and not field.value)]
    return tuple(sorted(fields, key=lambda field: order.get(field.label, len(order))))


def variable_fields(variables: Sequence[Declared], opened: Collection[Path]) -> tuple[Field, ...]:
    """Return the variables in scope under the functions they belong to, the innermost first.

    What macros declared for themselves comes last, and dim: it is in no line that anybody reads.
    """
    groups: dict[tuple[str, bool], list[Declared]] = {}
    for variable in variables:
        groups.setdefault((variable.function, variable.inlined), []).append(variable)
    fields = []
    for (function, inlined), members in groups.items():
        own = list(value_fields([one for one in members if not of_macro(one.name)], opened, (function,)))
        macros = value_fields([one for one in members if of_macro(one.name)], opened, (function,))
        children = (*own, *(replace(one, tone=Tone.ABSENT) for one in macros))
        fields.append(Field(function, "inlined" if inlined else "", tone=Tone.HEADING, children=children))
    return tuple(fields)


def of_macro(name: str) -> bool:
    """Tell by its name whether a variable is a macro's own: ``__ptr``, ``pto_val__``, ``__UNIQUE_ID_x_123``.

    C leaves names with two underscores to whom a user's cannot collide with; the kernel's macros follow it.
    """
    return name.startswith("__") or name.endswith("__")


def watch_field(text: str, result: Evaluated, opened: Collection[Path]) -> Field:
    """Return a watch expression with its value."""
    if result.why is not None:
        return Field(text, result.text, tone=Tone.ABSENT, note=result.why)
    children = None
    if result.expandable:
        children = tuple(value_fields(result.children(), opened, (text,))) if (text,) in opened else ()
    return Field(text, result.text, children=children, note=result.type)
