"""A capture by a ktcpdump-tui on another host, over the system's ssh."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Final, cast

from ktcpdump_tui.commands.remote import RemoteSession, Retitled
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import PROGRAM, guest_arguments

if TYPE_CHECKING:
    from typing import BinaryIO

    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.sink import TraceSink

#: What the shell there says once ssh has let us in; then, where that is so, what it lacks.
CONNECTED: Final = "ktcpdump-tui over ssh: connected"
MISSING: Final = "ktcpdump-tui over ssh: missing"
NO_SUDO: Final = "ktcpdump-tui over ssh: sudo refused"

#: Seconds the program there is given to end: removing thousands of probes takes a while.
REMOTE_END: Final = 60

#: ssh(1): "ssh exits with the exit status of the remote command or with 255 if an error occurred."
_SSH_FAILED: Final = 255

#: How ssh begins what it says of a connection that ends.
_SSH_SAYS: Final = (
    "ssh:",
    "client_loop:",
    "Connection ",
    "Timeout, server",
    "Host key",
    "Received disconnect",
)

#: For sh on the other host. Whoever is not root becomes root by sudo, which must not ask: it has no terminal.
_REMOTE: Final = """\
echo {connected} >&2
program=$(command -v {program}) || {{ echo {missing} >&2; exit 127; }}
[ "$(id -u)" = 0 ] && exec "$program" {arguments}
sudo -n true || {{ echo {no_sudo} >&2; exit 1; }}
exec sudo -n "$program" {arguments}"""


class SshSession(RemoteSession):
    """A capture on another host. ssh asks for host keys and passphrases in ``prepare``, on the terminal."""

    def __init__(self, options: Options, console: Console) -> None:
        super().__init__(options, console)
        (self.host,) = options.ssh
        self._process: subprocess.Popen[bytes] | None = None
        self._connected = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="ssh-messages", daemon=True)
        self._heard: list[str] = []
        self._lacks = ""

    def prepare(self) -> None:
        """Log in, and have the program started there."""
        if shutil.which("ssh") is None:
            raise UserError(
                f"--ssh {self.host} needs ssh, which is not installed", "apt-get install openssh-client"
            )
        arguments = guest_arguments(self.options, self.options.debug_image)
        script = _REMOTE.format(
            connected=shlex.quote(CONNECTED),
            missing=shlex.quote(MISSING),
            no_sudo=shlex.quote(NO_SUDO),
            program=PROGRAM,
            arguments=shlex.join(arguments),
        )
        # Ctrl-C at the terminal is for us alone: ssh has still to bring the counts. It heeds what is ignored.
        self._process = subprocess.Popen(
            [
                "sh",
                "-c",
                "trap '' INT; exec ssh -T -- \"$@\"",
                "ssh",
                self.host,
                f"sh -c {shlex.quote(script)}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._listener.start()
        self.console.progress(f"connecting to {self.host}", 0, 0)
        self._connected.wait()
        self.console.progress_done()
        if CONNECTED not in self._heard:
            raise self._ssh_error()

    def send(self, data: bytes) -> None:
        """Write to the stdin of the program there."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def stop(self) -> None:
        """Ask for the end."""
        again = self._stopping
        super().stop()
        if not again:
            with contextlib.suppress(OSError, ValueError):
                self.requests.stop()

    def close(self) -> None:
        """Stop, and end ssh, which ends the program there: its stdin is closed."""
        process = self._process
        try:
            super().close()
        finally:
            if process is not None:
                with contextlib.suppress(OSError):
                    cast("BinaryIO", process.stdin).close()
                try:
                    process.wait(REMOTE_END if self._ended else 0)
                except subprocess.TimeoutExpired:
                    process.terminate()
                    process.wait()
                self._listener.join()
                cast("BinaryIO", process.stdout).close()

    def _listen(self) -> None:
        """Take what ssh, the shell there and the program there say on stderr."""
        assert self._process is not None
        with cast("BinaryIO", self._process.stderr) as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r\n")
                self._heard.append(text)
                if text == CONNECTED:
                    self._connected.set()
                elif text in (MISSING, NO_SUDO):
                    self._lacks = text
                elif self._connected.is_set():
                    self.hear(text)
        self._process.wait()
        self._connected.set()

    def _capture(self, sink: TraceSink) -> None:
        from ktcpdump_tui.trace.stream import pump

        assert self._process is not None, "prepare() comes before start()"
        try:
            try:
                pump(cast("BinaryIO", self._process.stdout), Retitled(sink, self.options), self.host)
            except UserError as error:
                status = self._end()
                if self._stopping and not self.ready:
                    raise KeyboardInterrupt from error
                raise self._error(status) or error from None
            # A capture that failed after it began has a summary, and says why on stderr.
            if (told := self._error(self._end())) is not None:
                raise told
        finally:
            self.requests.end()

    def _end(self) -> int:
        """Return the exit status of ssh, when everything it said has been heard."""
        assert self._process is not None
        try:
            status = self._process.wait(REMOTE_END)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            status = self._process.wait()
        self._listener.join()
        return status

    def _error(self, status: int) -> UserError | None:
        """Return why the other host did not do what it was asked to, in one sentence."""
        if self._lacks == MISSING:
            return UserError(
                f"{self.host} has no {PROGRAM} in its PATH", f"install it there: pipx install {PROGRAM}"
            )
        if self._lacks == NO_SUDO:
            return UserError(
                f"capturing on {self.host} needs root there, and its sudo asks for a password",
                f"log in as root (--ssh root@HOST), or let sudo there run {PROGRAM} with NOPASSWD",
            )
        if status == _SSH_FAILED and any(line.startswith(_SSH_SAYS) for line in self._heard):
            return self._ssh_error()
        told = self.told_error(status)
        return UserError(f"{self.host}: {told.message}", told.remedy, status=told.status) if told else None

    def _ssh_error(self) -> UserError:
        said = [line for line in self._heard if line.startswith(_SSH_SAYS)] or [
            line for line in self._heard if line.strip() and line != CONNECTED
        ]
        why = said[-1].removeprefix("ssh: ") if said else "ssh ended without a word"
        return UserError(f"--ssh {self.host}: {why}", f"try what ssh itself says: ssh {self.host} true")
