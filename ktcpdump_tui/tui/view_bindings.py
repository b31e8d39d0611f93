"""Keys for how things are shown."""

from __future__ import annotations

from typing import Final

from textual.binding import Binding

VIEW: Final = (
    Binding("T", "nest", "Indent the list by call depth, or not"),
    Binding("P", "group", "Group the list by packet, or not"),
    Binding("h", "fold", "Fold away the events of the packet, when grouped"),
    Binding("H", "fold_all", "Fold away those of all packets, or none"),
    Binding("o", "columns", "Choose the list's columns"),
    Binding("m", "mark", "Mark the event, or remove the mark"),
    Binding("apostrophe", "next_mark(1)", "Next marked event"),
    Binding("quotation_mark", "next_mark(-1)", "Marked event before"),
    Binding("a", "mixed", "Source lines between the instructions, or not"),
    Binding("r", "return", "Back to the line being executed"),
    Binding("L", "functions", "All traced functions"),
    Binding("ctrl+right_square_bracket", "definition", "To the function named on the source line"),
    Binding("y", "copy", "Copy what is under the cursor"),
    Binding("ctrl+up", "grow(1)", "More room for the pane"),
    Binding("ctrl+down", "grow(-1)", "Less room for the pane"),
    Binding("equals_sign", "even", "The panes' sizes as at first"),
)
