"""All traced functions: type to narrow the list down, Enter shows the source, Ctrl-E goes to an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from ktcpdump_tui.tui.coverage import short_count
from ktcpdump_tui.tui.line_view import palette_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from ktcpdump_tui.tui.functions import Function


class FunctionsScreen(ModalScreen[tuple[str, "Function"] | None]):
    """Returns ("source" or "event", the function), None where the user left.

    ``hits`` says how often a function's most executed instruction was executed.
    """

    DEFAULT_CSS = """
    FunctionsScreen { align: center middle; }
    FunctionsScreen > Vertical {
        width: 90%; max-width: 120; height: 80%; background: $background; border: round $rule-focus;
    }
    FunctionsScreen Input { border: none; height: 1; padding: 0 1; background: $panel; }
    FunctionsScreen OptionList { height: 1fr; border: none; background: $background; padding: 0; }
    FunctionsScreen Static { height: 1; color: $text-muted; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Leave"),
        Binding("down", "move(1)", "Down", priority=True),
        Binding("up", "move(-1)", "Up", priority=True),
        Binding("pagedown", "move(10)", "Down", priority=True),
        Binding("pageup", "move(-10)", "Up", priority=True),
        Binding("enter", "choose('source')", "Its source", priority=True),
        Binding("ctrl+e", "choose('event')", "The next event in it", priority=True),
    ]

    def __init__(self, known: Sequence[Function], hits: Callable[[Function], int]) -> None:
        super().__init__()
        self._known = known
        self._hits = hits
        self._shown: list[Function] = []

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = f"{len(self._known):,} traced functions: Esc leaves"
            yield Input(placeholder="part of a name or file")
            yield OptionList()
            yield Static("Enter shows the source   Ctrl-E goes to the next event in it")

    def on_mount(self) -> None:
        """Show all."""
        self._narrow("")

    def on_input_changed(self, message: Input.Changed) -> None:
        """Show those that match what was typed."""
        self._narrow(message.value)

    def _narrow(self, text: str) -> None:
        words = text.casefold().split()
        self._shown = [
            function
            for function in self._known
            if all(word in f"{function.name} {function.symbol} {function.file}".casefold() for word in words)
        ]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(self._line(function)) for function in self._shown])
        options.highlighted = 0 if self._shown else None

    def _line(self, function: Function) -> Text:
        palette, hits = palette_of(self), self._hits(function)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{short_count(hits) if hits else '':>5} ", palette["hits"])
        text.append("▌ " if hits else "○ ", palette["executed" if hits else "not_executed"])
        name = function.symbol or function.name
        text.append(f"{printable(name):<32} ", palette["symbol" if function.symbol else "inline"])
        text.append(f"{function.probes:>5} probes", palette["dim"])
        if function.refused:
            text.append(f", {function.refused} refused", palette["dim"])
        if function.within:
            text.append(f"  inlined in {printable(', '.join(function.within))}", palette["dim"])
        if function.file:
            text.append(f"  {printable(function.file)}:{function.line}", palette["file"])
        return text

    def action_move(self, by: int) -> None:
        """Move the cursor, also while one types."""
        options = self.query_one(OptionList)
        if self._shown:
            options.highlighted = max(0, min((options.highlighted or 0) + by, len(self._shown) - 1))

    def action_choose(self, what: str) -> None:
        """Return the one under the cursor."""
        place = self.query_one(OptionList).highlighted
        self.dismiss((what, self._shown[place]) if place is not None else None)

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Return the clicked one."""
        self.dismiss(("source", self._shown[message.option_index]))
