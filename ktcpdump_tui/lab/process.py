"""A command that runs in the guest, as seen from outside."""

from __future__ import annotations

import io
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from ktcpdump_tui.errors import UserError


class PortStream(io.RawIOBase):
    """One output of a command: the payload of the frames on a port, up to the frame of length 0.

    Raises what ``gone()`` returns if the machine ends before the stream does. ``ended`` is set at the end:
    from then on the port may serve another command.
    """

    def __init__(self, port: socket.socket, gone: Callable[[], UserError]) -> None:
        self._port = port
        self._gone = gone
        self._left = 0
        self.ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the port, for select(2)."""
        return self._port.fileno()

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what is there, at most the rest of the frame; 0 at the end."""
        if self.ended:
            return 0
        if not self._left:
            self._left = int.from_bytes(self._receive(4), "little")
            if not self._left:
                self.ended = True
                return 0
        view = memoryview(buffer)[: self._left]
        try:
            size = self._port.recv_into(view)
        except OSError as error:
            raise self._gone() from error
        if not size:
            raise self._gone()
        self._left -= size
        return size

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self._port.recv(size - len(data))
            except OSError as error:
                raise self._gone() from error
            if not part:
                raise self._gone()
            data += part
        return data

    def drain(self) -> None:
        """Throw away what is left, so that the port can serve another command."""
        while not self.ended:
            self.readinto(bytearray(65536))


class GuestProcess:
    """A running command; its ``stdout`` and ``stderr`` must both be read, or ``communicate`` used."""

    def __init__(
        self,
        ident: int,
        streams: tuple[PortStream, PortStream],
        changed: threading.Condition,
        check_alive: Callable[[], None],
        send_signal: Callable[[int, int], None],
        send_input: Callable[[int, bytes], None],
    ) -> None:
        self.ident = ident
        self.streams = streams
        self.stdout: BinaryIO = io.BufferedReader(streams[0], 1 << 16)
        self.stderr: BinaryIO = io.BufferedReader(streams[1], 1 << 16)
        self.returncode: int | None = None
        self._changed = changed
        self._check_alive = check_alive
        self._send_signal = send_signal
        self._send_input = send_input

    @property
    def closed(self) -> bool:
        """Whether nobody is going to read its output any more."""
        return self.stdout.closed and self.stderr.closed

    def close(self) -> None:
        """Give up both outputs; what the command still writes is thrown away when its slot is needed."""
        self.stdout.close()
        self.stderr.close()

    def poll(self) -> int | None:
        """Return the exit status, -N if signal N killed it, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status (-N: killed by signal N). ``timeout`` in seconds; TimeoutError after it."""
        with self._changed:

            def over() -> bool:
                if self.returncode is None:
                    self._check_alive()
                return self.returncode is not None

            if not self._changed.wait_for(over, timeout):
                raise TimeoutError(f"the command in the guest still runs after {timeout} s")
            assert self.returncode is not None
            return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Read both streams to their ends and wait; on TimeoutError (seconds) the command has been killed."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        timer = threading.Timer(threading.TIMEOUT_MAX if timeout is None else timeout, expire)
        timer.daemon = True
        timer.start()
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="lab-stderr") as other:
                errors = other.submit(self.stderr.read)
                result = self.stdout.read(), errors.result()
            self.wait()
        finally:
            timer.cancel()
        if expired.is_set():
            last = b"".join(output[-2000:] for output in result).decode(errors="replace")
            raise TimeoutError(
                f"the command in the guest was killed after {timeout} s; its last output:\n{last}"
            )
        return result

    def tell(self, data: bytes) -> None:
        """Write to the stdin of a command started to be talked to; what it does not read any more is lost."""
        if self.returncode is None:
            self._send_input(self.ident, data)

    def interrupt(self) -> None:
        """Send SIGINT to the command and what it started, as Ctrl-C does."""
        self.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Send SIGKILL likewise."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send signal ``number`` to the command's process group; nothing happens if it has ended."""
        if self.returncode is None:
            self._send_signal(self.ident, number)
