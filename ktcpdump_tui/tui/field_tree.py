"""The inspector's sections are trees of named values; what was opened stays open from event to event."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.tui import hex_dump
from ktcpdump_tui.tui.fields import Field, Path, Row, Tone, visible_rows
from ktcpdump_tui.tui.line_view import LineView, Part, clip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.style import Style
    from textual import events


class FieldTree(LineView):
    """A tree of fields. Changed ones carry an asterisk as well as a colour."""

    HELP: ClassVar[str] = (
        "One section of the inspector. Values that changed since the packet's previous event carry a *."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open(True)", "Open the structure; the next byte of a dump", show=False),
        Binding("left", "open(False)", "Close it, or go to the one around it; the byte before", show=False),
        Binding("enter", "toggle_field", "Open or close; go to a frame's event", show=False),
        Binding("delete,x", "remove", "Remove the watch expression", show=False),
    ]

    class Opened(Message):
        """A field was opened whose content has to be asked for."""

        def __init__(self, tree: FieldTree) -> None:
            super().__init__()
            self.tree = tree

    class Followed(Message):
        """The user wants to go where a field leads: an event, and a level of its inline chain."""

        def __init__(self, no: int, level: int) -> None:
            super().__init__()
            self.no = no
            self.level = level

    class Removed(Message):
        """The user wants this top-level field gone (a watch expression)."""

        def __init__(self, tree: FieldTree, name: str) -> None:
            super().__init__()
            self.tree = tree
            self.name = name

    def __init__(self, *, opened: Iterable[Path] = (), id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.opened: set[Path] = set(opened)
        self.closed: set[Path] = set()
        self._fields: Sequence[Field] = ()
        self._rows: list[Row] = []
        self._label_width = 12
        self._column = 0  # the byte in a dump's line that the cursor is on

    def show(self, fields: Sequence[Field]) -> None:
        """Show these fields; headings are open unless they were closed by hand."""
        self._fields = fields
        for item in fields:
            path = (item.name,)
            if item.tone is Tone.HEADING and item.children is not None and path not in self.closed:
                self.opened.add(path)
        self._lay_out()

    def _lay_out(self) -> None:
        before, width = self._rows, self._label_width
        self._rows = list(visible_rows(self._fields, self.opened))
        named = (row for row in self._rows if row.field.value and row.field.tone is not Tone.HEADING)
        longest = max((2 * row.depth + cell_len(row.field.label) for row in named), default=8)
        self._label_width = min(longest, max(10, self.size.width * 45 // 100 if self.size.width else 20))
        self.cursor = min(self.cursor, max(0, len(self._rows) - 1))
        shown = [row.field for row in self._rows]
        texts = (cell_len(one.value) + cell_len(one.note) + cell_len(one.was or "") + 6 for one in shown)
        widest = self._label_width + 8 + max(texts, default=0)
        self.set_lines(len(self._rows), widest)
        if width != self._label_width or len(before) != len(self._rows):
            self.refresh()
        else:
            self.refresh_only(y for y, row in enumerate(self._rows) if row != before[y])

    def on_resize(self) -> None:
        """Share the width anew between names and values."""
        self._lay_out()

    @property
    def _byte(self) -> int | None:
        """The packet's byte under the cursor, None where that is not in a dump or elsewhere."""
        if not self.has_focus or not self._rows:
            return None
        item = self._rows[self.cursor].field
        return min(item.span[0] + self._column, item.span[1] - 1) if item.dumped and item.span else None

    def _notes(self, y: int) -> Iterator[str]:
        """Yield what is said after a row's value."""
        row = self._rows[y]
        item = row.field
        if item.was and not item.dumped:
            yield f"was {item.was}"
        if item.note:
            yield item.note
        if not self.has_focus:
            return
        if y == self.cursor:
            yield hex_dump.place(self._fields, row)
        elif (byte := self._byte) is not None and row.path == self._rows[self.cursor].path[:-1]:
            yield hex_dump.said_of(self._fields, byte)

    def _dumped(self, item: Field, byte: int | None, under: Style) -> Iterator[Part]:
        """Yield a line of a dump; what the cursor is on, or was decoded from, stands out."""
        palette = self.palette
        selected = (byte, byte + 1) if byte is not None else None
        if selected is None and self.has_focus and self._rows:
            selected = self._rows[self.cursor].field.span
        for piece in hex_dump.pieces(item, selected):
            style = palette["changed"] if piece.changed else under
            yield piece.text, style + palette["current"] if piece.selected else style

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one row: change mark, opener, name, value."""
        palette, row, byte = self.palette, self._rows[y], self._byte
        item = row.field
        under = palette["text"]
        if y == self.cursor and self.has_focus:
            under = palette["cursor"]
        elif byte is not None and hex_dump.linked(row, byte):
            under = palette["current"]
        opener = " " if item.children is None else "▾" if row.open else "▸"
        name = "  " * row.depth + opener + " " + item.label
        mark = "*" if item.changed and item.tone is not Tone.HEADING else " "
        if item.tone is Tone.HEADING:
            return [
                (mark, palette["changed"]),
                (name, palette["heading"]),
                ("  " + item.value, palette["dim"]),
                *(("  " + said, palette["dim"]) for said in self._notes(y) if said),
            ], under
        value_style = palette["changed"] if item.changed else palette[item.tone.value]
        label = clip(name, self._label_width + 2) if item.value else name
        return [
            (mark, palette["changed"]),
            (label, palette["file"]),
            (" ", under),
            *(self._dumped(item, byte, palette["text"]) if item.dumped else ((item.value, value_style),)),
            *(("  " + said, palette["dim"]) for said in self._notes(y) if said),
        ], under

    def copied(self) -> str:
        """Return the value under the cursor."""
        return self._rows[self.cursor].field.value if self._rows else ""

    def action_open(self, wanted: bool) -> None:
        """Open or close the field under the cursor; closing a closed one goes to its parent."""
        if not self._rows:
            return
        row = self._rows[self.cursor]
        if row.field.dumped and self._to_byte(1 if wanted else -1):
            return
        if row.field.children is not None and row.open is not wanted:
            self.action_toggle_field()
        elif not wanted and row.depth:
            parent = next(i for i in range(self.cursor, -1, -1) if self._rows[i].path == row.path[:-1])
            self.action_move(parent - self.cursor)

    def _to_byte(self, by: int) -> bool:
        """Go to the next byte of a dump, or the one before; False where that would leave the dump."""
        item, byte = self._rows[self.cursor].field, self._byte
        if byte is None or item.span is None:
            return False
        first, end = item.span
        if not first <= byte + by < end:
            other = self.cursor + by
            if not 0 <= other < len(self._rows) or not self._rows[other].field.dumped:
                return by > 0
            self._column = 0 if by > 0 else item.dumped - 1
            self.action_move(by)
            return True
        self._column = byte + by - first
        self.refresh()
        return True

    def action_toggle_field(self) -> None:
        """Open what is closed and the other way round; go where the field leads."""
        if not self._rows:
            return
        row = self._rows[self.cursor]
        if row.field.leads_to is not None:
            self.post_message(self.Followed(*row.field.leads_to))
        if row.field.children is None:
            return
        if row.open:
            self.opened.discard(row.path)
            self.closed.add(row.path)
        else:
            self.opened.add(row.path)
            self.closed.discard(row.path)
        self._lay_out()
        if not row.open and not row.field.children:
            self.post_message(self.Opened(self))

    def action_remove(self) -> None:
        """Ask for the field under the cursor to go."""
        if self._rows:
            self.post_message(self.Removed(self, self._rows[self.cursor].path[0]))

    def on_click(self, event: events.Click) -> None:
        """Select the clicked row; open it where the opener was clicked, or at a second click."""
        line = event.y + self.scroll_offset.y
        if line < len(self._rows):
            again = line == self.cursor
            self.cursor = line
            at = event.x + self.scroll_offset.x - self._label_width - 4
            item = self._rows[line].field
            if item.dumped and item.span and (byte := hex_dump.byte_at(item, at)) is not None:
                self._column = byte - item.span[0]
            elif again or event.x + self.scroll_offset.x <= 2 * self._rows[line].depth + 2:
                self.action_toggle_field()
            self.refresh()
