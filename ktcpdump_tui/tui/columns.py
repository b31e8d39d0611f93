"""The trace list's columns: which are shown, in which order, how wide. Nothing here knows the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Cells before the first column: position, breakpoint, mark.
MARKS: Final = 3


@dataclass(frozen=True, slots=True)
class Column:
    """``least`` and ``best`` are widths in cells; what is over is shared by ``weight``.

    Where there is no room for all, those with the highest ``rank`` are left out. ``right``: its values are
    numbers, set against the right edge.
    """

    key: str
    title: str
    what: str
    least: int
    best: int
    rank: int
    right: bool = False
    weight: int = 0


#: All columns, in the order in which they are shown at first.
COLUMNS: Final = {
    column.key: column
    for column in (
        Column("no", "no", "number of the event", 4, 4, 1, right=True),
        Column("time", "seconds", "seconds since the capture began", 12, 12, 8, right=True),
        Column("delta", "delta", "time since the event in the row above", 8, 8, 4, right=True),
        Column("cpu", "cpu", "CPU that executed it", 3, 3, 6, right=True),
        Column("comm", "task", "name of the task that was running", 8, 15, 10),
        Column("pid", "pid", "id of the task that was running", 7, 7, 12, right=True),
        Column("packet", "pkt", "id of the packet", 4, 4, 2, right=True),
        Column("skb", "skb", "address of its struct sk_buff", 16, 16, 14),
        Column("len", "len", "skb->len in bytes", 5, 5, 5, right=True),
        Column("dev", "dev", "skb->dev->name", 8, 10, 11),
        Column("netns", "netns", "inode of the network namespace, as lsns shows it", 10, 10, 15, right=True),
        Column("found", "found", "how the packet was found: argument, frame, caller", 8, 8, 13),
        Column("function", "function", "symbol and offset of the instruction", 14, 30, 0, weight=3),
        Column("line", "line", "source file and line", 14, 30, 3, weight=2),
        Column("source", "source", "text of the source line", 20, 72, 7, weight=4),
        Column("inlined", "inlined", "inlined function the line belongs to", 10, 22, 9, weight=1),
    )
}

#: Not shown unless chosen.
_RARE: Final = frozenset(("pid", "skb", "netns", "found"))

#: Wider than any value there is.
_WIDEST: Final = 200


@dataclass(slots=True)
class ColumnChoice:
    """What the user chose: all columns in their ``order``, those ``hidden``, and ``widths`` set by hand."""

    order: list[str] = field(default_factory=lambda: list(COLUMNS))
    hidden: set[str] = field(default_factory=lambda: set(_RARE))
    widths: dict[str, int] = field(default_factory=dict)

    def to_words(self) -> list[str]:
        """Return the shown columns as words, with the widths set by hand: ``no``, ``function:40``."""
        shown = [key for key in self.order if key not in self.hidden]
        return [f"{key}:{self.widths[key]}" if key in self.widths else key for key in shown]

    @classmethod
    def from_words(cls, words: Sequence[str]) -> ColumnChoice:
        """Read what ``to_words`` gave. Unknown words are left out: a newer version may have more columns."""
        shown, widths = [], {}
        for word in words:
            key, _, width = word.partition(":")
            if key in COLUMNS and key not in shown:
                shown.append(key)
                if width.isdecimal():
                    widths[key] = max(1, min(int(width), _WIDEST))
        if not shown:
            return cls()
        rest = [key for key in COLUMNS if key not in shown]
        return cls(shown + rest, set(rest), widths)

    def toggle(self, key: str) -> None:
        """Show or hide a column; the last one stays."""
        if key in self.hidden:
            self.hidden.discard(key)
        elif len(self.hidden) + 1 < len(self.order):
            self.hidden.add(key)

    def move(self, key: str, by: int) -> None:
        """Move a column among all, shown or not."""
        place = self.order.index(key)
        self.order.remove(key)
        self.order.insert(max(0, min(place + by, len(self.order))), key)

    def resize(self, key: str, width: int) -> None:
        """Set a column's width by hand."""
        self.widths[key] = max(1, min(width, _WIDEST))


@dataclass(frozen=True, slots=True)
class Placed:
    """A column on the screen: its first cell, and its width without the space behind it."""

    column: Column
    start: int
    width: int


def place(choice: ColumnChoice, width: int, best: Mapping[str, int]) -> tuple[Placed, ...]:
    """Return the columns for a list ``width`` cells wide.

    ``best`` says how wide the values of a column are, where that is known. The most dispensable columns are
    left out until the rest fits.
    """
    shown = [COLUMNS[key] for key in choice.order if key not in choice.hidden]

    def least(column: Column) -> int:
        asked = choice.widths.get(column.key)
        if asked is not None:
            return asked
        return min(column.least, best[column.key]) if column.weight and column.key in best else (
            max(column.least, best.get(column.key, 0)) if not column.weight else column.least
        )  # fmt: skip

    def most(column: Column) -> int:
        if column.key in choice.widths:
            return choice.widths[column.key]
        return max(least(column), best.get(column.key, column.best))

    room = width - MARKS
    while len(shown) > 1 and sum(least(column) + 1 for column in shown) - 1 > room:
        shown.remove(max(shown, key=lambda column: (column.key not in choice.widths, column.rank)))
    widths = {column.key: least(column) for column in shown}
    over = room - sum(wide + 1 for wide in widths.values()) + 1
    while over > 0:
        growing = [column for column in shown if column.weight and widths[column.key] < most(column)]
        if not growing:
            growing = [column for column in shown if not column.weight and widths[column.key] < most(column)]
        if not growing:
            break
        share = max(1, over // sum(max(1, column.weight) for column in growing))
        for column in growing:
            more = min(share * max(1, column.weight), most(column) - widths[column.key], over)
            widths[column.key] += more
            over -= more
    if shown and over < 0:  # a single column that is still too wide
        widths[shown[0].key] = max(1, room)
    placed, start = [], MARKS
    for column in shown:
        placed.append(Placed(column, start, widths[column.key]))
        start += widths[column.key] + 1
    return tuple(placed)
