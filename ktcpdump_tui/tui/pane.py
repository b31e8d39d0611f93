"""A part of the screen with a header line that shows whether the keyboard is in it."""

from __future__ import annotations

from textual.containers import Vertical


class Pane(Vertical):
    """Its first widget, the header, carries the class ``focused`` while one of its widgets has the focus.

    A class of the pane's own would have the styles of all widgets inside worked out anew, which takes longer
    than to draw what a key shows. (The pseudo-class :focus-within changes without the header's.)
    """

    def on_descendant_focus(self) -> None:
        """Mark the header."""
        self.children[0].add_class("focused")

    def on_descendant_blur(self) -> None:
        """Unmark it, unless the focus went to another widget inside."""
        focused = self.screen.focused
        if focused is None or self not in focused.ancestors_with_self:
            self.children[0].remove_class("focused")
