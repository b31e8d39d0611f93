"""File descriptor 2 while the screen is full: BCC, clang and libbpf print there from C, past Python."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

#: Lines kept; older ones are only counted.
KEPT: Final = 2000

STDERR: Final = 2


class DivertedStderr(contextlib.AbstractContextManager["DivertedStderr"]):
    """While entered, what is written on descriptor 2 becomes lines here.

    Textual draws on the terminal through ``sys.__stderr__``: that is pointed at a duplicate of the original
    descriptor meanwhile. Enter it before the application runs, leave it after the terminal was restored.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._count = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """Lines written so far."""
        return self._count

    def lines(self, last: int = KEPT) -> list[str]:
        """Return the last lines, oldest first."""
        with self._lock:
            return list(self._lines)[-last:]

    def __enter__(self) -> Self:
        sys.stderr.flush()
        self._saved = os.dup(STDERR)
        self._read, write = os.pipe()
        self._stop_read, self._stop_write = os.pipe()
        self._dunder, self._python = sys.__stderr__, sys.stderr
        self._terminal = os.fdopen(os.dup(self._saved), "w", encoding="utf-8", errors="replace")
        sys.__stderr__ = self._terminal  # type: ignore[misc]
        os.dup2(write, STDERR)
        os.close(write)
        # A test runner may have put something without a descriptor here: the log wants Python's words too.
        sys.stderr = os.fdopen(os.dup(STDERR), "w", encoding="utf-8", errors="replace", buffering=1)
        self._thread = threading.Thread(target=self._collect, name="stderr", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        diverted, sys.stderr = sys.stderr, self._python
        diverted.close()
        os.dup2(self._saved, STDERR)
        sys.__stderr__ = self._dunder  # type: ignore[misc]
        self._terminal.close()
        os.close(self._saved)
        # A child that inherited the pipe may keep it open: the thread is told to end, not left to find out.
        os.close(self._stop_write)
        if self._thread is not None:
            self._thread.join()
        os.close(self._read)
        os.close(self._stop_read)

    def _collect(self) -> None:
        rest = b""
        while True:
            ready, _, _ = select.select([self._read, self._stop_read], [], [])
            if self._read not in ready:
                break
            data = os.read(self._read, 65536)
            if not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            self._keep(whole)
        if rest:
            self._keep([rest])

    def _keep(self, lines: list[bytes]) -> None:
        with self._lock:
            self._lines.extend(line.decode("utf-8", "replace") for line in lines)
            self._count += len(lines)
