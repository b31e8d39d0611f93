"""The command of --cmd: what makes the traffic that is captured."""

from __future__ import annotations

import os
import signal
import subprocess

from ktcpdump_tui import environment


class Traffic:
    """A command line of the user, run by the shell in a process group of its own; it writes to stderr."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(  # noqa: S602 - the user's own command line
            command,
            shell=True,
            env=environment.of_the_user(),
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )

    def status(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
