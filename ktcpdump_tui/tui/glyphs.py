"""What is drawn in place of characters that a terminal does not have.

The Linux console's fonts have what code page 437 had, and little more (console_codes(4), the kernel's
drivers/tty/vt/cp437.uni). A locale that names another character set than UTF-8 gets ASCII.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Characters that are drawn for others on the Linux console; each takes one cell, as the other does.
CONSOLE: Final = str.maketrans(
    "…▶▷▾▸↳✗✓◆◇●○—–┃━▕▏▎▁▂▃▅▆▇╭╮╯╰",
    "~►>v>└x√♦*•o--│─││▌▄▄▄███┌┐┘└",
)
#: The same for character sets that have ASCII only in common.
ASCII: Final = str.maketrans(
    "…▶▷▾▸↳✗✓◆◇●○—–·│┃─━═║├┤┌┐└┘╭╮╯╰▌▐▕▏▎▁▂▃▄▅▆▇█▀←→↑↓≠",
    "~>>v>`xv*+@o--.||--=|++++++++++##|||____####^<>^v!",
)


class PlainDriver(LinuxDriver):
    """A driver that writes other characters."""

    table: Mapping[int, int] = {}

    def write(self, data: str) -> None:
        """Write to the terminal."""
        super().write(data if data.isascii() else data.translate(self.table))


class ConsoleDriver(PlainDriver):
    """For the Linux console."""

    table = CONSOLE


class AsciiDriver(PlainDriver):
    """For a character set that is not UTF-8."""

    table = ASCII

    def write(self, data: str) -> None:
        """Write to the terminal; what has no stand-in is a question mark."""
        if not data.isascii():
            data = data.translate(self.table).encode("ascii", "replace").decode()
        super().write(data)


def driver_for(environment: Mapping[str, str] = os.environ) -> type[LinuxDriver] | None:
    """Return the driver a terminal needs; None where it has all characters.

    The locale is the first that is set of LC_ALL, LC_CTYPE and LANG (locale(7)). One that names no character
    set tells nothing of the terminal: containers and ssh leave it at C on terminals that all know UTF-8.
    """
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    _, _, charset = next((name for name in names if name), "").partition(".")
    if charset.partition("@")[0].lower().replace("-", "") not in ("", "utf8"):
        return AsciiDriver
    return ConsoleDriver if environment.get("TERM") == "linux" else None
