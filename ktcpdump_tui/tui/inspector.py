"""The inspector: sections of named values, as many at once as there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.message import Message
from textual.widget import Widget

from ktcpdump_tui.tui.field_tree import FieldTree
from ktcpdump_tui.tui.line_view import palette_of
from ktcpdump_tui.tui.packet_fields import DUMP_BYTES
from ktcpdump_tui.tui.pane import Pane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

    from ktcpdump_tui.tui.fields import Field

#: Sections in the order of their keys 1-7: name, title.
SECTIONS: Final = (
    ("packet", "Packet"),
    ("skb", "skb"),
    ("registers", "Regs"),
    ("variables", "Vars"),
    ("watch", "Watch"),
    ("identity", "Fate"),
    ("stack", "Stack"),
)
NAMES: Final = tuple(name for name, _ in SECTIONS)

#: Lines a section should have before a further one is shown.
_SECTION_LINES: Final = 18


#: Columns of a hex dump's line beside digits and characters, and the scrollbar.
_BESIDE_DUMP: Final = 13


class SectionBar(Widget):
    """The titles of the sections; a click shows one."""

    DEFAULT_CSS = "SectionBar { height: 1; text-wrap: nowrap; text-overflow: clip; }"

    class Chosen(Message):
        """The user clicked a title."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self) -> None:
        super().__init__(classes="pane-header")
        self.shown: Sequence[str] = ()
        self.note = ""
        self._places: list[tuple[int, int, str]] = []

    def show(self, shown: Sequence[str], note: str) -> None:
        """Mark the sections shown, and say something at the end."""
        self.shown, self.note = shown, note
        self.refresh()

    def render(self) -> Text:
        """Draw the titles."""
        palette = palette_of(self)
        text = Text(no_wrap=True, overflow="ellipsis")
        self._places = []
        before = False
        between = " " if sum(len(title) + 3 for _, title in SECTIONS) < self.size.width else ""
        for number, (name, title) in enumerate(SECTIONS, 1):
            chosen = name in self.shown
            edge = "|" if chosen and before else "[" if chosen else "]" if before else " "
            text.append(edge, palette["heading"])
            start = text.cell_len
            text.append(f"{number}{between}{title}", palette["heading" if chosen else "text"])
            self._places.append((start, text.cell_len, name))
            before = chosen
        text.append("]" if before else " ", palette["heading"])
        if text.cell_len + len(self.note) + 1 <= self.size.width:
            text.append(self.note.rjust(self.size.width - text.cell_len), palette["dim"])
        return text

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        for start, end, name in self._places:
            if start <= event.x < end:
                self.post_message(self.Chosen(name))


class Inspector(Pane):
    """Holds one tree per section and shows those last chosen."""

    DEFAULT_CSS = """
    Inspector FieldTree { height: 1fr; }
    Inspector .section-title { height: 1; color: $text-muted; }
    """

    HELP: ClassVar[str] = "What is known of the packet at this event."

    class Needed(Message):
        """What is visible or opened changed: the content has to be asked for."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._order = list(NAMES)
        self._trees = {name: FieldTree(id=f"section-{name}") for name in NAMES}
        self._bar = SectionBar()
        self._room = 1
        self.per_line = DUMP_BYTES[0]

    def compose(self) -> ComposeResult:
        """Make the bar and the trees, and show those there will be room for."""
        self._room = self._sections(self.app.size.height - 1)
        self._arrange(update=False)
        yield self._bar
        for name, title in SECTIONS:
            tree = self._trees[name]
            tree.border_title = title
            yield tree

    @property
    def shown(self) -> tuple[str, ...]:
        """The sections on the screen, in the order of their keys."""
        visible = self._order[: self._room]
        return tuple(name for name in NAMES if name in visible)

    def opened(self, name: str) -> frozenset[tuple[str, ...]]:
        """Return what is open in a section."""
        return frozenset(self._trees[name].opened)

    def choose(self, name: str) -> None:
        """Show a section, instead of the one chosen longest ago where there is no room."""
        self._order.remove(name)
        self._order.insert(0, name)
        self._arrange()
        self.screen.set_focus(self._trees[name])
        self.post_message(self.Needed())

    def show(self, name: str, fields: Sequence[Field]) -> None:
        """Fill a section."""
        self._trees[name].show(fields)

    def note(self, text: str) -> None:
        """Say beside the titles which event this is."""
        self._bar.show(self.shown, text)

    def on_resize(self, event: events.Resize) -> None:
        """Show more sections where there is room for more."""
        room = self._sections(event.size.height)
        per_line = next((n for n in DUMP_BYTES if 4 * n + _BESIDE_DUMP <= event.size.width), DUMP_BYTES[-1])
        if (room, per_line) != (self._room, self.per_line):
            self._room, self.per_line = room, per_line
            self._arrange()
            self.post_message(self.Needed())

    @staticmethod
    def _sections(height: int) -> int:
        return max(1, min(3, (height - 1) // _SECTION_LINES))

    def _arrange(self, *, update: bool = True) -> None:
        shown = self.shown
        for name, tree in self._trees.items():
            tree.display = name in shown
            tree.set_class(len(shown) > 1, "titled", update=update)
        self._bar.show(shown, self._bar.note)

    def on_section_bar_chosen(self, message: SectionBar.Chosen) -> None:
        """Show the clicked section."""
        message.stop()
        self.choose(message.name)

    def on_field_tree_opened(self, message: FieldTree.Opened) -> None:
        """Something was opened that is not known yet."""
        message.stop()
        self.post_message(self.Needed())
