"""What the inspector shows: a tree of named values, and which changed since the packet's last event."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Tone(enum.Enum):
    """How a value is meant."""

    NORMAL = "text"
    HEADING = "heading"
    ABSENT = "dim"  # <optimised out>, <not captured>, not in scope
    GOOD = "good"
    BAD = "lost"


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the inspector.

    ``key`` names it among its siblings (the label unless given); ``children`` is None where there are
    none, and empty for what can be opened but has not been asked for yet; ``note`` is shown after the value,
    a type for instance; ``was`` is the value before it changed, None where there was none. ``leads_to`` is
    the event, and the level of its inline chain, that Enter goes to. ``span`` is what it was decoded from:
    the packet's first byte of it and the one after the last; ``dumped`` is above 0 for a line of a hex dump:
    the bytes of a full one.
    """

    label: str
    value: str = ""
    key: str = ""
    tone: Tone = Tone.NORMAL
    changed: bool = False
    children: tuple[Field, ...] | None = None
    note: str = ""
    was: str | None = None
    leads_to: tuple[int, int] | None = None
    span: tuple[int, int] | None = None
    dumped: int = 0

    @property
    def name(self) -> str:
        """What tells the field from its siblings."""
        return self.key or self.label


#: The keys from the outermost field to one within.
Path = tuple[str, ...]


def mark_changes(now: Sequence[Field], before: Sequence[Field]) -> tuple[Field, ...]:
    """Return ``now`` with ``changed`` and ``was`` set where a value differs from that name's in ``before``.

    What did not exist before is changed too; children of something that was closed before are not.
    """
    old = {item.name: item for item in before}
    result = []
    for item in now:
        was = old.get(item.name)
        changed = was is None or was.value != item.value
        children = item.children
        if children:
            earlier = was.children if was is not None else None
            if earlier:
                children = mark_changes(children, earlier)
        old_value = was.value if was is not None and changed else None
        result.append(replace(item, changed=changed, children=children, was=old_value))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Row:
    """A visible field: how deep it is, and whether it is open."""

    field: Field
    path: Path
    depth: int
    open: bool


def visible_rows(fields: Sequence[Field], opened: set[Path], above: Path = ()) -> Iterator[Row]:
    """Yield the rows that a tree with these paths open shows."""
    for item in fields:
        path = (*above, item.name)
        is_open = item.children is not None and path in opened
        yield Row(item, path, len(above), is_open)
        if is_open and item.children:
            yield from visible_rows(item.children, opened, path)
