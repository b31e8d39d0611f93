"""The help screen: made from the bindings and the commands themselves, so it cannot be out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from ktcpdump_tui.tui.commands import COMMANDS
from ktcpdump_tui.tui.coverage import GLYPHS
from ktcpdump_tui.tui.line_view import palette_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.app import ComposeResult

#: What keys are called on this screen.
_NAMES = {
    "question_mark": "?", "slash": "/", "colon": ":", "space": "Space", "escape": "Esc",
    "greater_than_sign": ">",
    "less_than_sign": "<", "left_square_bracket": "[", "right_square_bracket": "]", "ctrl+c": "Ctrl-C",
    "pageup": "PgUp", "pagedown": "PgDn", "enter": "Enter", "tab": "Tab", "shift+tab": "Shift-Tab",
    "delete": "Del", "up": "↑", "down": "↓", "left": "←", "right": "→", "home": "Home", "end": "End",
    "upper_g": "G",
    "ampersand": "&", "backslash": "\\", "ctrl+p": "Ctrl-P", "f1": "F1",
    "full_stop": ".", "plus": "+", "minus": "-", "asterisk": "*", "underscore": "_",
}  # fmt: skip


def key_name(binding: Binding) -> str:
    """Return how a binding's key is written on the keyboard."""
    return _NAMES.get(binding.key, binding.key)


def by_description(bindings: Iterable[Binding]) -> list[tuple[str, str]]:
    """Return (keys, description) pairs; keys that do the same share a line, in their first one's place."""
    keys: dict[str, list[str]] = {}
    for binding in bindings:
        if binding.description:
            names = keys.setdefault(binding.description, [])
            if key_name(binding) not in names:
                names.append(key_name(binding))
    return [(" ".join(names), description) for description, names in keys.items()]


class HelpScreen(ModalScreen[None]):
    """Every key of every pane, every command, every glyph."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 90%; max-width: 100; height: 90%; padding: 0 1;
        background: $background; border: round $rule-focus;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Leave the help"),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(self, sections: Sequence[tuple[str, str, Sequence[Binding]]]) -> None:
        """``sections``: (title, what it is, its bindings)."""
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        """Make the text."""
        with VerticalScroll() as scroll:
            scroll.border_title = "Help: Esc leaves"
            yield Static(self._text(), id="help-text")

    def _text(self) -> Group:
        palette = palette_of(self)
        parts: list[Text | Table] = []

        def section(title: str, about: str) -> Table:
            heading = Text(title, palette["heading"])
            heading.append("  " + about, palette["dim"])
            table = Table.grid(padding=(0, 2))
            table.add_column(no_wrap=True, min_width=11)
            table.add_column(style=palette["text"])
            parts.extend((heading, table, Text()))
            return table

        for title, about, bindings in self._sections:
            table = section(title, about)
            names = {binding.description: binding.id for binding in bindings if binding.id}
            for keys, description in by_description(bindings):
                said = Text(description, palette["text"])
                if name := names.get(description):
                    said.append(f"  {name}", palette["dim"])  # what [keys] in config.toml calls it
                table.add_row(Text("  " + keys, palette["symbol"]), said)
        table = section("Gutter", "what is known of a source line")
        for state, (glyph, style) in GLYPHS.items():
            table.add_row(Text("  " + glyph, palette[style]), str(state))
        table = section("Commands", "after : (beginnings are enough)")
        for name, (takes, what) in COMMANDS.items():
            table.add_row(Text(f"  {name} {takes}", palette["symbol"]), what)
        return Group(*parts)

    def action_down(self) -> None:
        """Scroll down."""
        self.query_one(VerticalScroll).scroll_down(animate=False)

    def action_up(self) -> None:
        """Scroll up."""
        self.query_one(VerticalScroll).scroll_up(animate=False)
