"""``-r -``: what another ktcpdump-tui prints, as JSON lines or as frames, shown while it comes."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Final, cast

from ktcpdump_tui.commands.session import Session
from ktcpdump_tui.errors import UsageError, UserError

if TYPE_CHECKING:
    from typing import BinaryIO

    from _typeshed import WriteableBuffer

    from ktcpdump_tui.trace.sink import TraceSink

#: Seconds the other program is given to write its summary: Ctrl-C has ended it as well.
_LAST_WORDS: Final = 3.0
#: Where the keys come from when stdin is a pipe.
_TERMINAL: Final = "/dev/tty"


class StdinSession(Session):
    """Reads a trace from stdin into a temporary one."""

    def prepare(self) -> None:
        """Take stdin, and give the screen the terminal in its place."""
        if sys.stdin.isatty():
            raise UsageError(
                "-r - reads what another program writes", "ktcpdump-tui --json ... | ktcpdump-tui -r -"
            )
        self._pipe = _Pipe(os.dup(sys.stdin.fileno()))
        if not self.options.headless and self.options.compare is None:
            try:
                terminal = os.open(_TERMINAL, os.O_RDWR)
            except OSError as error:
                raise UsageError("there is no terminal to draw a screen on", "add --no-tui") from error
            os.dup2(terminal, sys.stdin.fileno())
            os.close(terminal)
        self.ready = True

    def stop(self) -> None:
        """Ask for the end: what the other program still writes at once is taken."""
        super().stop()
        self._pipe.stop(_LAST_WORDS)

    def abandon(self) -> None:
        """Read no more."""
        super().stop()
        self._pipe.stop(0.0)

    def _capture(self, sink: TraceSink) -> None:
        from ktcpdump_tui.trace.from_json import looks_like_json, pump_json
        from ktcpdump_tui.trace.stream import MAGIC, pump

        with io.BufferedReader(self._pipe) as stream:
            start = stream.peek(len(MAGIC))[: len(MAGIC)]
            feed = pump_json if looks_like_json(start) else pump
            try:
                feed(cast("BinaryIO", stream), sink, "standard input")
            except UserError:
                # Where it was left off on request, in the middle of a line is as good as anywhere.
                if not self.stop_asked():
                    raise


class _Pipe(io.RawIOBase):
    """A pipe whose reader can be told to stop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken, self._waking = os.pipe()
        self._deadline: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        watched = [self._descriptor, self._woken]
        while True:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            if left == 0.0:
                return 0
            ready, _, _ = select.select(watched if left is None else watched[:1], [], [], left)
            if self._descriptor in ready:
                return os.readv(self._descriptor, [buffer])

    def stop(self, seconds: float) -> None:
        """End after at most so many seconds; where that was said before, the sooner counts."""
        deadline = time.monotonic() + seconds
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        if not self.closed:
            os.write(self._waking, b"x")

    def close(self) -> None:
        if not self.closed:
            for descriptor in (self._descriptor, self._woken, self._waking):
                os.close(descriptor)
        super().close()
