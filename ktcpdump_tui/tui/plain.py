"""Terminals without fine signs: everything is written with ASCII there, in the one place all goes through."""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING, Final

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The signs the panes draw with, then those of Textual's borders and scroll bars (U+2500 to U+259F).
_SIGNS: Final = {
    "▶": ">", "▷": "}", "●": "B", "◆": "+", "▌": "#", "○": "o", "·": ".", "▾": "-", "▸": "+", "✗": "X",
    "—": "-", "│": "|", "┃": "|", "║": "|", "├": "|", "┤": "|", "←": "<", "→": ">", "↑": "^", "↓": "v",
    "↳": "`", "…": "~", "─": "-", "━": "=", "═": "=", "▎": "|", "▕": "|", "▏": "|", "▐": "|", "✓": "*",
}  # fmt: skip

#: Anything else of boxes and blocks.
PLAIN: Final = {code: "+" if code < 0x2580 else "#" for code in range(0x2500, 0x25A0)} | {
    ord(sign): plain for sign, plain in _SIGNS.items()
}


def plain_terminal(environment: Mapping[str, str] = os.environ, encoding: str | None = None) -> bool:
    """Return whether the terminal cannot be trusted with more than ASCII.

    TERM=linux is the console, whose font has 256 or 512 signs, nobody knows which; encodings other than
    UTF-8 have none of ours.
    """
    encoding = locale.getpreferredencoding(False) if encoding is None else encoding
    utf8 = encoding.lower().replace("-", "") == "utf8"
    return environment.get("TERM", "") in ("linux", "vt100", "vt220") or not utf8


def plain_text(text: str) -> str:
    """Return ``text`` with every sign replaced by one of ASCII that takes as much room."""
    return text.translate(PLAIN)


class PlainDriver(LinuxDriver):
    """Writes ASCII for what the terminal does not have."""

    def write(self, data: str) -> None:
        """Write to the terminal."""
        super().write(plain_text(data))
