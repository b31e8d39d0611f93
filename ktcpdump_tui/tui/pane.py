"""A part of the screen with a header line that shows whether the keyboard is in it."""

from __future__ import annotations

from textual.containers import Vertical


class Pane(Vertical):
    """Carries the class ``focused`` while one of its widgets has the focus.

    The pseudo-class :focus-within changes without the styles of the widgets inside being worked out anew.
    """

    def on_descendant_focus(self) -> None:
        """Mark the header."""
        self.add_class("focused")

    def on_descendant_blur(self) -> None:
        """Unmark it."""
        self.remove_class("focused")
