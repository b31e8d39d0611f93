"""The keys that work in every pane: gdb's letters (capitals go backwards), less's for searching."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from textual.binding import Binding

from ktcpdump_tui.tui.view_bindings import VIEW

#: (title on the help screen, bindings).
GROUPS: Final[tuple[tuple[str, tuple[Binding, ...]], ...]] = (
    (
        "Stepping",
        (
            Binding("j", "neighbour(1)", "Next event of the list"),
            Binding("k", "neighbour(-1)", "Event before"),
            Binding("s", "step('step')", "Next source line, entering inlined and traced functions"),
            Binding("S", "step('reverse-step')", "Step backwards"),
            Binding("n", "step('next')", "Next source line of this frame"),
            Binding("N", "step('reverse-next')", "Next backwards"),
            Binding("i", "step('stepi')", "Next instruction of this packet"),
            Binding("I", "step('reverse-stepi')", "Instruction before"),
            Binding("f", "step('finish')", "Until this frame returns"),
            Binding("F", "step('reverse-finish')", "Back to where this frame was called"),
            Binding("c", "step('continue')", "Continue to the next breakpoint"),
            Binding("C", "step('reverse-continue')", "Continue backwards"),
            Binding("e", "step('until')", "Next line, but not back in a loop"),
            Binding("A", "advance", "On to the source line under the cursor, or the end of this frame"),
            Binding("full_stop", "repeat", "The last step again (as an empty command does)"),
            Binding("O", "across", "Let steps go on in other packets, or stay in one"),
            Binding("b", "breakpoint", "Set or clear a breakpoint on the source line"),
            Binding("B", "stops", "List breakpoints, watches, catches: enable, disable, delete"),
            Binding("W", "last_write", "Back to who wrote the value of an expression last"),
            Binding("g", "edge(False)", "First event"),
            Binding("G", "edge(True)", "Last event; follows a live capture"),
        ),
    ),
    (
        "Packets",
        (
            Binding("D", "drop", "Where this packet was dropped; again: what decided it"),
            Binding("x", "next_drop(True)", "Next drop"),
            Binding("X", "next_drop(False)", "Drop before"),
            Binding("V", "compare", "Choose this packet for a comparison; on a second one: compare"),
            Binding("p", "only_packet", "List only this packet, or all again"),
            Binding("right_square_bracket", "packet(1)", "First event of the next packet"),
            Binding("left_square_bracket", "packet(-1)", "First event of the packet before"),
            Binding("space", "follow", "Pause; follow a live capture again"),
        ),
    ),
    (
        "Probes, while a capture runs",
        (
            Binding(
                "plus", "probe('probe', 'line')", "Probe the source line, or instruction, under the cursor"
            ),
            Binding("minus", "probe('unprobe', 'line')", "Remove its probes"),
            Binding("asterisk", "probe('probe', 'function')", "Probe every line of the function"),
            Binding("underscore", "probe('unprobe', 'function')", "Remove all probes of the function"),
        ),
    ),
    (
        "Panes",
        (
            Binding("tab", "app.focus_next", "Next pane"),
            Binding("shift+tab", "app.focus_previous", "Pane before"),
            Binding("d", "disassembly", "Show or hide the instructions"),
            Binding("u", "frame(1)", "Up: the caller of the inlined function"),
            Binding("U", "frame(-1)", "Down again"),
            Binding("v", "inspector", "Show or hide the inspector"),
            *(
                Binding(str(number), f"section({number})", f"Inspector: {title}")
                for number, title in enumerate(
                    (
                        "packet",
                        "struct sk_buff",
                        "registers",
                        "variables",
                        "watch expressions",
                        "fate",
                        "stack",
                    ),
                    1,
                )
            ),
            Binding("w", "watch", "Add a watch expression"),
            Binding("z", "zoom", "This pane alone, or all again"),
        ),
    ),
    ("Looks", VIEW),
    (
        "Searching and the rest",
        (
            Binding("slash", "prompt('/')", "Search the list, or the source: regular expression"),
            Binding("ctrl+r", "prompt('?')", "Search backwards"),
            Binding("ampersand", "prompt('&')", "List only what a tcpdump expression selects"),
            Binding("backslash", "clear_filter", "List all events again"),
            Binding("ctrl+p", "palette", "Command palette"),
            Binding("greater_than_sign", "search(True)", "Next match"),
            Binding("less_than_sign", "search(False)", "Match before"),
            Binding("colon", "prompt(':')", "Command, or the number of an event"),
            Binding("l", "log", "What was written on standard error"),
            Binding("t", "theme", "Dark or light"),
            Binding("escape", "dismiss_banner", "Dismiss a message"),
            Binding("M", "mouse", "Leave the mouse to the terminal (to select text), or take it back"),
            Binding("question_mark", "help", "This help"),
            Binding("f1", "help", "This help"),
            Binding("q", "quit", "Quit"),
            Binding("ctrl+c", "interrupt", "Quit"),
        ),
    ),
)

#: With priority they are looked at before the pane's own, in the order in which they were typed: what follows
#: a ``:`` must find the prompt open.
BINDINGS: Final = [
    replace(binding, priority=not binding.key.endswith("tab")) for _, group in GROUPS for binding in group
]
