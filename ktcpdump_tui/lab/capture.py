"""A capture by this same program inside a lab, with traffic for it to see."""

from __future__ import annotations

import compileall
import os
import shlex
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import ktcpdump_tui
from ktcpdump_tui.lab.machine import find_busybox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ktcpdump_tui.lab.lab import Lab

READY_FILE = "/run/ktcpdump-tui.ready"
#: The default traffic: an echo request and its answer per second, through the loopback device.
PING_TARGET = "127.0.0.1"
PACKAGE = Path(ktcpdump_tui.__file__).parent


def program(*arguments: str) -> list[str]:
    """Return the argv that runs this very program (same interpreter, same files) in a guest."""
    return [sys.executable, "-m", "ktcpdump_tui", *arguments]


def program_environment() -> dict[str, str]:
    """Return the environment by which ``program`` finds this very package, wherever it is started."""
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def compile_package() -> None:
    """Write the package's .pyc files here: an emulated guest would need ten times as long, on each start."""
    compileall.compile_dir(PACKAGE, quiet=2, workers=1)


class LabCapture:
    """A ktcpdump-tui that captures in ``lab``; ``stdout`` is what it writes, binary and live.

    ``arguments`` are its options and EXPRESSION, without ``--lab``. With ``traffic`` a ping runs in the guest
    from the moment the probes are attached until the capture is closed. Each line of its stderr goes to
    ``on_message``, called from a thread of its own. Read ``stdout`` to its end, then ``wait``.
    """

    def __init__(
        self,
        lab: Lab,
        arguments: Sequence[str],
        *,
        traffic: bool = True,
        on_message: Callable[[str], None] = lambda _: None,
    ) -> None:
        compile_package()
        self._traffic = None
        options = ["--ready-file", READY_FILE] if traffic else []
        if traffic:
            self._traffic = lab.run(traffic_command())
        self._process = lab.run(program(*options, *arguments), env=program_environment(), talk=True)
        self.stdout: BinaryIO = self._process.stdout
        self._messages = threading.Thread(
            target=self._forward, args=(on_message,), name="lab-messages", daemon=True
        )
        self._messages.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _forward(self, on_message: Callable[[str], None]) -> None:
        for line in self._process.stderr:
            on_message(line.decode(errors="replace").rstrip("\n"))

    def tell(self, data: bytes) -> None:
        """Write to the program's stdin."""
        self._process.tell(data)

    def interrupt(self) -> None:
        """End the capture as Ctrl-C does: it detaches, writes its counts, and its stdout ends."""
        self._process.interrupt()

    def wait(self, timeout: float | None = None) -> int:
        """Return the capture's exit status; by then every line of its stderr has been delivered.

        ``timeout`` in seconds, then TimeoutError. LabError if the machine has ended.
        """
        status = self._process.wait(timeout)
        self._messages.join(timeout)
        return status

    def close(self) -> None:
        """Stop the traffic, and the capture if it still runs."""
        if self._traffic:
            self._traffic.kill()
            self._traffic.close()
        self._process.kill()


def traffic_command() -> str:
    """Return the shell command that waits for the probes and then pings."""
    busybox = shlex.quote(str(find_busybox()))
    return (
        f"rm -f {READY_FILE}; while [ ! -e {READY_FILE} ]; do sleep 0.1; done;"
        f" exec {busybox} ping {PING_TARGET} >/dev/null"
    )
