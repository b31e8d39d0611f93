"""The line for commands (``:``) and searches (``/``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from ktcpdump_tui.tui.commands import COMMANDS

if TYPE_CHECKING:
    from textual.app import ComposeResult


class Prompt(Horizontal):
    """Hidden until it is asked for; Enter hands the text on, Esc takes it away."""

    DEFAULT_CSS = """
    Prompt { height: 1; display: none; background: $panel; }
    Prompt > Static { width: auto; color: $accent; text-style: bold; }
    Prompt > Input { border: none; height: 1; padding: 0; background: $panel; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Leave the prompt", show=False),
        Binding("up", "recall(-1)", "Earlier entries", show=False),
        Binding("down", "recall(1)", "Later entries", show=False),
    ]

    class Entered(Message):
        """The user entered ``text`` at the prompt that begins with ``kind`` (``:`` or ``/``)."""

        def __init__(self, kind: str, text: str) -> None:
            super().__init__()
            self.kind = kind
            self.text = text

    class Left(Message):
        """The prompt went away: the focus has to go back."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.kind = ":"
        self._history: dict[str, list[str]] = {":": [], "/": []}
        self._place = 0

    def compose(self) -> ComposeResult:
        """Make the sign and the input."""
        yield Static(":", id="prompt-kind")
        yield Input(
            id="prompt-input",
            compact=True,
            select_on_focus=False,
            suggester=SuggestFromList([*COMMANDS], case_sensitive=False),
        )

    def ask(self, kind: str, text: str = "") -> None:
        """Show the prompt, beginning with ``text``."""
        self.kind = kind
        self._place = len(self._history[kind])
        self.query_one("#prompt-kind", Static).update(kind)
        entry = self.query_one(Input)
        entry.value = text
        self.display = True
        entry.focus()
        entry.cursor_position = len(text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand the text on."""
        event.stop()
        history = self._history[self.kind]
        if event.value and event.value not in history[-1:]:
            history.append(event.value)
        self.display = False
        self.post_message(self.Left())
        self.post_message(self.Entered(self.kind, event.value))

    def action_cancel(self) -> None:
        """Go away without doing anything."""
        self.display = False
        self.post_message(self.Left())

    def action_recall(self, by: int) -> None:
        """Bring an earlier entry back."""
        history = self._history[self.kind]
        self._place = max(0, min(self._place + by, len(history)))
        entry = self.query_one(Input)
        entry.value = history[self._place] if self._place < len(history) else ""
        entry.cursor_position = len(entry.value)
