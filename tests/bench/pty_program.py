"""A full-screen program in a pseudo-terminal: keys in, frames out, each with the time it was whole.

The terminal says that it knows synchronised output (DEC private mode 2026), as kitty, WezTerm, foot
others do, so that each frame ends with a mark of its own: a frame is on the screen when its end was read.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import tempfile
import termios
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 60.0
_END = b"\x1b[?2026l"
_ASKS, _ANSWER = b"\x1b[?2026$p", b"\x1b[?2026;2$y"
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_].*?\x1b\\|.)", re.DOTALL
)


@dataclass(frozen=True)
class Frame:
    """What was drawn at once (without colours), and when its end was read (s, perf_counter)."""

    at: float
    text: str


class PtyProgram:
    """A program whose terminal is ours."""

    def __init__(self, command: Sequence[str], size: tuple[int, int]) -> None:
        self.frames: list[Frame] = []
        self._news = threading.Condition()
        self._kept = tempfile.TemporaryDirectory()
        kept = self._kept.name
        self.started = time.perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            # A program's modules are compiled once, not at each start.
            for unwanted in ("NO_COLOR", "PYTHONDONTWRITEBYTECODE"):
                os.environ.pop(unwanted, None)
            # Breakpoints of the run before, and of the user, would be taken up.
            os.environ |= {"XDG_CONFIG_HOME": kept, "XDG_STATE_HOME": kept}
            os.execvp(command[0], list(command))
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                select.select([self._fd], [], [])
                data = os.read(self._fd, 1 << 16)
            except OSError:  # EIO: nobody has the other end any more
                return
            if not data:
                return
            pending += data
            if _ASKS in pending[-len(data) - len(_ASKS) :]:
                os.write(self._fd, _ANSWER)
            *whole, pending = pending.split(_END)
            if whole:
                now = time.perf_counter()
                with self._news:
                    self.frames += [
                        Frame(now, _ESCAPES.sub("", part.decode("utf-8", "replace"))) for part in whole
                    ]
                    self._news.notify_all()

    def send(self, keys: str) -> float:
        """Type; return when."""
        now = time.perf_counter()
        os.write(self._fd, keys.encode())
        return now

    def frame(self, wanted: Callable[[str], object], since: int = 0) -> Frame:
        """Wait for a frame, of those from ``since`` on, whose text is wanted."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for number in range(since, len(self.frames)):
                    if wanted(self.frames[number].text):
                        return self.frames[number]
                since = len(self.frames)
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    last = self.frames[-1].text if self.frames else "nothing"
                    raise TimeoutError(f"never drawn; the last frame: {last}")

    def quiet(self, seconds: float = 0.15) -> Frame:
        """Wait until nothing more is drawn; return the last frame."""
        while True:
            count = len(self.frames)
            with self._news:
                if not self._news.wait(seconds) and len(self.frames) == count and count:
                    return self.frames[-1]

    def processor(self) -> float:
        """Return the seconds of processor time the program has used (proc_pid_stat(5))."""
        with open(f"/proc/{self.pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> tuple[float, float]:
        """Return the highest resident memory so far, and what of it now is not of files, in MB."""
        with open(f"/proc/{self.pid}/status") as file:
            known = dict(line.split(":", 1) for line in file)
        return tuple(int(known[name].split()[0]) / 1024 for name in ("VmHWM", "RssAnon"))  # type: ignore[return-value]

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self._thread.join()
        os.close(self._fd)
        self._kept.cleanup()
