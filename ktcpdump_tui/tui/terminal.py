"""The terminal is given back as it was found, however the program ends."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a full-screen program may have switched on: bracketed paste, mouse reports (X11, button, any event,
#: urxvt, SGR), focus reports, the Kitty keyboard protocol, synchronised output, the alternate screen, a
#: hidden cursor, attributes.
LEAVE: Final = (
    "\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1004l"
    "\x1b[<u\x1b[?2026l\x1b[?1049l\x1b[?25h\x1b[0m"
)

#: What Textual switches on to get the mouse (X11, any event, urxvt, SGR), and off.
MOUSE_ON: Final = "\x1b[?1000h\x1b[?1003h\x1b[?1015h\x1b[?1006h"
MOUSE_OFF: Final = "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l"


@contextlib.contextmanager
def restored_terminal() -> Iterator[None]:
    """Restore the terminal's modes at the end; after an exception also what escape sequences switched on.

    Textual does so itself where it ends in order; this is for where it does not.
    """
    descriptor = next((fd for fd in (0, 1, 2) if os.isatty(fd)), None)
    if descriptor is None:
        yield
        return
    modes = termios.tcgetattr(descriptor)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(descriptor, LEAVE.encode())
        raise
    finally:
        # The terminal may be gone (SIGHUP): there is nothing to restore then.
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
        sys.stdout.flush()
