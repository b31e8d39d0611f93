"""Colours: four themes, and for each of them the styles that the line-by-line widgets draw with.

Nothing is told by colour alone: every state that has a colour here also has a glyph or a mark of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.style import Style
from textual.theme import BUILTIN_THEMES, Theme

if TYPE_CHECKING:
    from collections.abc import MutableMapping

#: A terminal with 8 or 16 colours gets its own colours, not the nearest of ours.
DARK: Final = "ktcpdump-dark"
LIGHT: Final = "ktcpdump-light"
ANSI: Final = "ktcpdump-ansi"
#: For weak eyes, projectors and sunlight: text at 7:1 and more (WCAG 2.2, success criterion 1.4.6).
CONTRAST: Final = "ktcpdump-contrast"

#: What people call them.
NAMES: Final = {"dark": DARK, "light": LIGHT, "contrast": CONTRAST, "ansi": ANSI}


def no_color(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Return whether no colour at all is wanted (no-color.org): NO_COLOR is set, and not to nothing.

    To nothing it is taken out of the environment: Textual does not look at its value.
    """
    if environment.get("NO_COLOR"):
        return True
    environment.pop("NO_COLOR", None)
    return False


def _styles(text: str) -> dict[str, Style]:
    """Parse lines of ``name = rich style``."""
    pairs = (line.split("=", 1) for line in text.strip().splitlines())
    return {name.strip(): Style.parse(style.strip()) for name, style in pairs}


@dataclass(frozen=True, slots=True)
class Palette:
    """The styles of one theme, by what they mean.

    ``packets`` are told apart by the packet's id; ``styles`` holds the rest; unknown names are an error.
    """

    name: str
    background: str
    styles: dict[str, Style]
    packets: tuple[Style, ...] = field(default=())

    def __getitem__(self, name: str) -> Style:
        return self.styles[name]

    def packet(self, packet_id: int) -> Style:
        """Return the style of a packet's number: neighbours differ."""
        return self.packets[packet_id % len(self.packets)]


_DARK = _styles(
    """
    text = #d6dce5
    dim = #a3adba
    rule = #3b4554
    thumb = on #3b4554
    thumb_text = #b8c4d4
    heading = bold #7cc4ff
    accent = #7cc4ff
    number = #9fb0c3
    current = on #463a12
    marker = bold #ffcf5c
    cursor = on #263243
    cursor_blurred = on #1e2632
    breakpoint = bold #ff8d85
    executed = #62d08a
    not_executed = #e3a857
    not_probed = #a3adba
    unknown = bold #e48be0
    hits = #9fb0c3
    lost = bold #ff8d85
    good = #62d08a
    warn = #e3a857
    bad = bold #ffffff on #b3261e
    changed = bold #ffcf5c
    symbol = #a5d6ff
    file = #b3c0cf
    inline = #c8a6f0
    match = bold underline #ffcf5c
    keyword = #ff9d7e
    type = #7fd7c4
    string = #a8d78b
    constant = #7cc4ff
    comment = italic #a3adba
    preprocessor = #d3a8f2
    function = #f0d58c
    mnemonic = bold #a5d6ff
    bytes = #a3adba
    status = #d6dce5 on #232c38
    status_dim = #9fabba on #232c38
    status_notice = bold #ffffff on #2f4a66
    status_live = bold #0f1a12 on #62d08a
    status_paused = bold #1d1600 on #e3a857
    status_ended = bold #0c1722 on #7cc4ff
    status_lost = bold #ffffff on #b3261e
    """
)

_LIGHT = _styles(
    """
    text = #1f2328
    dim = #545c66
    rule = #b9c0c8
    thumb = on #cdd5dd
    thumb_text = #545c66
    heading = bold #0a58a8
    accent = #0a58a8
    number = #4f5862
    current = on #ffe9a3
    marker = bold #8a4b00
    cursor = on #d5e4f7
    cursor_blurred = on #e6ebf1
    breakpoint = bold #b3261e
    executed = #14692f
    not_executed = #8a4b00
    not_probed = #545c66
    unknown = bold #8f1f8c
    hits = #4f5862
    lost = bold #b3261e
    good = #14692f
    warn = #8a4b00
    bad = bold #ffffff on #b3261e
    changed = bold #8a4b00
    symbol = #0a3d7a
    file = #3d4650
    inline = #6b3fa0
    match = bold underline #8a4b00
    keyword = #a3290f
    type = #05605a
    string = #14692f
    constant = #0a58a8
    comment = italic #545c66
    preprocessor = #6b3fa0
    function = #7a4a00
    mnemonic = bold #0a3d7a
    bytes = #545c66
    status = #1f2328 on #dfe5ec
    status_dim = #4c5560 on #dfe5ec
    status_notice = bold #1f2328 on #bcd6f2
    status_live = bold #ffffff on #14692f
    status_paused = bold #ffffff on #8a4b00
    status_ended = bold #ffffff on #0a58a8
    status_lost = bold #ffffff on #b3261e
    """
)

_CONTRAST = _styles(
    """
    text = #ffffff
    dim = #d0d0d0
    rule = #a0a0a0
    thumb = on #606060
    thumb_text = bold #ffffff
    heading = bold #66d9ff
    accent = #66d9ff
    number = #e0e0e0
    current = on #3d2e00
    marker = bold #ffe600
    cursor = on #003452
    cursor_blurred = on #262626
    breakpoint = bold #ffb3ad
    executed = bold #5dff8f
    not_executed = #ffc966
    not_probed = #d0d0d0
    unknown = bold #ffb3ff
    hits = #e0e0e0
    lost = bold #ffb3ad
    good = #5dff8f
    warn = #ffc966
    bad = bold #ffffff on #9e0000
    changed = bold #ffe600
    symbol = #b3e5ff
    file = #e0e0e0
    inline = #e0c8ff
    match = bold underline #ffe600
    keyword = bold #ffc2b0
    type = #8ff5e3
    string = #c3f5a0
    constant = #8fdcff
    comment = italic #d0d0d0
    preprocessor = #e6ccff
    function = #ffe9a3
    mnemonic = bold #b3e5ff
    bytes = #d0d0d0
    status = #ffffff on #262626
    status_dim = #e0e0e0 on #262626
    status_notice = bold #ffffff on #004a75
    status_live = bold #000000 on #5dff8f
    status_paused = bold #000000 on #ffc966
    status_ended = bold #000000 on #66d9ff
    status_lost = bold #ffffff on #9e0000
    """
)

_ANSI = _styles(
    """
    text = default
    dim = default
    rule = default
    thumb = reverse
    thumb_text = bold
    heading = bold cyan
    accent = cyan
    number = default
    current = reverse
    marker = bold yellow
    cursor = underline
    cursor_blurred = underline
    breakpoint = bold red
    executed = green
    not_executed = yellow
    not_probed = default
    unknown = bold magenta
    hits = default
    lost = bold red
    good = green
    warn = yellow
    bad = bold white on red
    changed = bold yellow
    symbol = cyan
    file = default
    inline = magenta
    match = bold underline yellow
    keyword = yellow
    type = cyan
    string = green
    constant = cyan
    comment = italic
    preprocessor = magenta
    function = bold
    mnemonic = bold
    bytes = default
    status = default
    status_dim = default
    status_notice = bold
    status_live = bold green
    status_paused = bold yellow
    status_ended = bold cyan
    status_lost = bold red
    """
)

PALETTES: Final[dict[str, Palette]] = {
    DARK: Palette(
        DARK,
        "#14191f",
        _DARK,
        tuple(Style.parse(s) for s in ("#7cc4ff", "#f0d58c", "#a8d78b", "#e48be0", "#ff9d7e")),
    ),
    LIGHT: Palette(
        LIGHT,
        "#fcfcfa",
        _LIGHT,
        tuple(Style.parse(s) for s in ("#0a58a8", "#7a4a00", "#14692f", "#8f1f8c", "#a3290f")),
    ),
    CONTRAST: Palette(
        CONTRAST,
        "#000000",
        _CONTRAST,
        tuple(Style.parse(s) for s in ("#66d9ff", "#ffe9a3", "#c3f5a0", "#ffb3ff", "#ffc2b0")),
    ),
    ANSI: Palette(
        ANSI, "default", _ANSI, tuple(Style.parse(s) for s in ("cyan", "yellow", "green", "magenta", "red"))
    ),
}

THEMES: Final = (
    Theme(
        name=DARK, dark=True, primary="#7cc4ff", secondary="#c8a6f0", accent="#ffcf5c", warning="#e3a857",
        error="#ff7b72", success="#62d08a", foreground="#d6dce5", background="#14191f", surface="#1a2028",
        panel="#232c38",
        variables={"focused-header": "#2f4a66", "rule": "#3b4554",
                   "rule-focus": "#7cc4ff", "scrollbar": "#3b4554", "scrollbar-background": "#14191f",
                   "scrollbar-corner-color": "#14191f"},
    ),
    Theme(
        name=LIGHT, dark=False, primary="#0a58a8", secondary="#6b3fa0", accent="#8a4b00", warning="#8a4b00",
        error="#b3261e", success="#14692f", foreground="#1f2328", background="#fcfcfa", surface="#f2f4f6",
        panel="#dfe5ec",
        variables={"focused-header": "#bcd6f2", "rule": "#b9c0c8",
                   "rule-focus": "#0a58a8", "scrollbar": "#b9c0c8", "scrollbar-background": "#fcfcfa",
                   "scrollbar-corner-color": "#fcfcfa"},
    ),
    Theme(
        name=CONTRAST, dark=True, primary="#66d9ff", secondary="#e0c8ff", accent="#ffe600", warning="#ffc966",
        error="#ffb3ad", success="#5dff8f", foreground="#ffffff", background="#000000", surface="#0d0d0d",
        panel="#262626",
        variables={"focused-header": "#004a75", "rule": "#a0a0a0",
                   "rule-focus": "#ffe600", "scrollbar": "#a0a0a0", "scrollbar-background": "#000000",
                   "scrollbar-corner-color": "#000000"},
    ),
    Theme(
        name=ANSI, dark=True, ansi=True, primary="ansi_cyan", secondary="ansi_magenta", accent="ansi_yellow",
        warning="ansi_yellow", error="ansi_red", success="ansi_green", foreground="ansi_default",
        background="ansi_default", surface="ansi_default", panel="ansi_default", boost="ansi_default",
        variables=BUILTIN_THEMES["ansi-dark"].variables
        | {"focused-header": "ansi_default", "rule": "ansi_default", "rule-focus": "ansi_cyan"},
    ),
)  # fmt: skip
