"""Which of the functions called on a line to look into, and how closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult


class CalleeScreen(ModalScreen[str | None]):
    """Gives the SPEC to probe, None where the user thinks better of it."""

    DEFAULT_CSS = """
    CalleeScreen { align: center middle; }
    CalleeScreen > Vertical {
        width: auto; min-width: 52; max-width: 90%; height: auto; max-height: 80%; padding: 0 1;
        background: $background; border: round $rule-focus;
    }
    CalleeScreen OptionList, CalleeScreen OptionList:focus {
        width: auto; min-width: 56; height: auto; max-height: 12; border: none; padding: 0;
        background: $background;
    }
    CalleeScreen Static { width: auto; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose(':*')", "Probe its lines", priority=True),
        Binding("i", "choose('+*')", "Probe every instruction", priority=True),
        Binding("e", "choose('')", "Probe its entry", priority=True),
        Binding("j", "move(1)", "Next", show=False),
        Binding("k", "move(-1)", "Before", show=False),
        Binding("escape,q", "leave", "Do not", priority=True),
    ]

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def compose(self) -> ComposeResult:
        """Make the list."""
        with Vertical() as box:
            box.border_title = "look into this call"
            yield OptionList(*self._names, id="callees", markup=False)
            yield Static("Enter lines · i every instruction · e entry · Esc leave", markup=False)

    def on_mount(self) -> None:
        """Begin with the first."""
        choices = self.query_one(OptionList)
        choices.highlighted = 0
        choices.focus()

    def action_choose(self, how: str) -> None:
        """Take the function under the cursor."""
        at = self.query_one(OptionList).highlighted
        self.dismiss(f"{self._names[at or 0]}{how}")

    def on_option_list_option_selected(self) -> None:
        """Take the one that was clicked on."""
        self.action_choose(":*")

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        choices = self.query_one(OptionList)
        choices.highlighted = ((choices.highlighted or 0) + by) % len(self._names)

    def action_leave(self) -> None:
        """Probe nothing."""
        self.dismiss(None)
