"""The line for commands (``:``) and searches (``/``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from ktcpdump_tui.tui.commands import COMMANDS
from ktcpdump_tui.tui.line_view import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import ComposeResult
    from textual.widget import Widget


#: Said while nothing is typed yet.
_HINTS: Final = {
    "&": "a tcpdump expression, fn:GLOB file:GLOB cpu:N packet:N is:drop; empty lists all",
    "/": "a regular expression",
    "?": "a regular expression, backwards",
}


class PromptInput(Input):
    """Takes keys in the order in which they were typed, however fast.

    A binding is found only after its key went to the application and back: what was typed right behind an
    Enter would be added to the text meanwhile.
    """

    async def _on_key(self, event: events.Key) -> None:
        prompt = self.parent
        assert isinstance(prompt, Prompt)
        if not prompt.display:
            event.stop()
            event.prevent_default()
            self.app.post_message(events.Key(event.key, event.character))
        elif event.key in ("enter", "escape"):
            event.stop()
            event.prevent_default()
            await prompt.leave(self.value if event.key == "enter" else None)
        else:
            await super()._on_key(event)


class Prompt(Horizontal):
    """Hidden until it is asked for; Enter hands the text on, Esc takes it away."""

    HELP: ClassVar[str] = "Commands after :, searches after / and ?, filters after &."
    DEFAULT_CSS = """
    Prompt { height: 1; display: none; background: $panel; }
    Prompt > Static { width: auto; color: $accent; text-style: bold; }
    Prompt > #prompt-note {
        max-width: 60%; color: $text-muted; text-style: none; padding-left: 1; display: none;
    }
    Prompt > #prompt-note.bad { color: $text-error; }
    Prompt > Input { border: none; height: 1; padding: 0; background: $panel; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "recall(-1)", "Earlier entries", show=False),
        Binding("down", "recall(1)", "Later entries", show=False),
        Binding("tab", "complete", "Complete the command", show=False),
    ]

    def __init__(
        self,
        entered: Callable[[str, str], Awaitable[None]],
        typing: Callable[[str, str], None],
        left: Callable[[str], None],
        instead: Widget,
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        """``entered`` is called with the prompt's sign and the text, before any later key.

        ``typing`` is called with the same at each change, ``left`` with the sign where the prompt is left
        with Esc. While it is shown, ``instead`` is not.
        """
        super().__init__(id=id)
        self._instead = instead
        self._entered, self._typing, self._left = entered, typing, left
        self.kind = ":"
        self.history: dict[str, list[str]] = {":": [], "/": [], "?": [], "&": []}
        self._place = 0
        self._bad = False
        self._focus_before: Widget | None = None

    def compose(self) -> ComposeResult:
        """Make the sign and the input."""
        yield Static(":", id="prompt-kind")
        suggester = SuggestFromList([*COMMANDS], case_sensitive=False)
        yield PromptInput(id="prompt-input", compact=True, select_on_focus=False, suggester=suggester)
        yield Static(id="prompt-note")

    def ask(self, kind: str, text: str = "") -> None:
        """Show the prompt, beginning with ``text``."""
        self.kind = kind
        self._place = len(self.history[kind])
        self._focus_before = self.screen.focused
        self.query_one("#prompt-kind", Static).update(kind)
        self.say(_HINTS.get(kind, ""))
        entry = self.query_one(Input)
        with self.prevent(Input.Changed):
            entry.value = text
        self._change_places(shown=True)
        self.screen.set_focus(entry)
        entry.cursor_position = len(text)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Say something of what is being typed, behind it."""
        self._bad = bad
        note = self.query_one("#prompt-note", Static)
        note.update(Text(printable(text), overflow="ellipsis", no_wrap=True))
        note.set_class(bad, "bad")
        note.display = bool(text)

    def _change_places(self, *, shown: bool) -> None:
        """Take the status line's place, or give it back: no pane changes its size then."""
        self.display = shown
        self._instead.display = not shown

    def on_input_changed(self, event: Input.Changed) -> None:
        """Have what is being typed looked at."""
        if self.display:
            self._typing(self.kind, event.value)

    async def leave(self, text: str | None) -> None:
        """Go away, and hand ``text`` on unless it is None."""
        if text is not None and self.kind == "&" and self._bad:
            return  # it would list nothing: what is wrong stays to be mended
        self._change_places(shown=False)
        self.screen.set_focus(self._focus_before)
        if text is None:
            self._left(self.kind)
            return
        history = self.history[self.kind]
        if text and text not in history[-1:]:
            history.append(text)
        await self._entered(self.kind, text)

    def action_complete(self) -> None:
        """Take the suggestion."""
        self.query_one(Input).action_cursor_right()

    def action_recall(self, by: int) -> None:
        """Bring an earlier entry back."""
        history = self.history[self.kind]
        self._place = max(0, min(self._place + by, len(history)))
        entry = self.query_one(Input)
        entry.value = history[self._place] if self._place < len(history) else ""
        entry.cursor_position = len(entry.value)
