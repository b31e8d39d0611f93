"""Lets the screen answer first: what else is to be worked out waits until the answer is drawn."""

from __future__ import annotations

import threading
from typing import Final

#: The longest time the others wait, seconds: what was done may change nothing that is on the screen.
PATIENCE: Final = 0.06


class Gate:
    """Shut while the screen owes an answer to a key; open else.

    All threads share the interpreter. One that begins while the screen is drawn doubles the time that
    takes, and nobody sees its result before.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        #: How often it was shut.
        self.turn = 0

    def shut(self) -> None:
        """Have the others wait. Called in the interface's thread."""
        self.turn += 1
        self._open.clear()

    def open(self, turn: int | None = None) -> None:
        """Let the others go on: a frame was drawn. With ``turn`` only if it was not shut again since."""
        if turn is None or turn == self.turn:
            self._open.set()

    def pass_through(self) -> None:
        """Wait until the gate is open, or has been shut for long. Called in the other threads."""
        self._open.wait(PATIENCE)
