"""The throw-away VM: a stock Debian kernel on this machine's own files, gone when the program is gone."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import agent, kvm, packages, requirements
from ktcpdump_tui.lab.machine import PAIRS, Machine, Tools, useful_cpus
from ktcpdump_tui.lab.process import GuestProcess, PortStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from ktcpdump_tui.lab.progress import Progress
    from ktcpdump_tui.lab.stock import StockKernel

#: Seconds until the agent must have answered; software emulation on a busy machine needs up to 40.
BOOT_LIMIT = {"kvm": 45.0, "tcg": 240.0}
#: Of the host's environment, what a command in the guest gets too: names that begin so.
PASSED_ON = (
    "HOME",
    "LANG",
    "LC_",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "TZ",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "PYTHON",
)


class LabError(UserError):
    """The virtual machine did not come up, or ended before its work did."""


class BootEndedError(LabError):
    """The virtual machine ended by itself while it booted."""


class Lab:
    """A virtual machine with the stock kernel of ``version`` (``6.1``, ``6.12``; None: the default).

    Use as a context manager: entering fetches what is missing and boots, leaving takes the machine down.
    ``run`` may be called any number of times, also from several threads, at most ``PAIRS`` at once.
    The guest sees this machine's files as they were, read-only underneath: what it writes stays in its
    memory. ``cpus`` are two unless a second one would only slow the guest down (machine.useful_cpus).
    ``log`` keeps the console. UserError: a requirement is missing, the kernel cannot be fetched, the
    machine does not boot.
    """

    def __init__(
        self,
        version: str | None = None,
        *,
        memory_mib: int = 2048,
        cpus: int | None = None,
        append: str = "",
        log: Path | None = None,
        accelerator: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._version = version
        self._memory_mib = memory_mib
        self._cpus = cpus
        self._append = append
        self._log = log
        self._accelerator = accelerator
        self._progress = progress
        self._changed = threading.Condition()
        self._machine: Machine | None = None
        self._keeper: threading.Thread | None = None
        self._ended: str | Exception | None = None  # the console's last lines, or why it never started
        self._ready = False
        self._closing = False
        self._outgoing = threading.Lock()
        self._numbers = itertools.count(1)
        self._running: dict[int, GuestProcess] = {}
        self._slots: dict[int, GuestProcess | None] = dict.fromkeys(range(PAIRS))
        self.kernel: StockKernel
        self.boot_seconds = 0.0

    # What the kernel is

    @property
    def release(self) -> str:
        """``uname -r`` of the guest."""
        return self.kernel.release

    @property
    def vmlinux(self) -> Path:
        """The kernel with debug symbols; the same path outside and inside."""
        return self.kernel.vmlinux

    @property
    def source_tarball(self) -> Path:
        """The source package's .tar.xz; the same path outside and inside."""
        return self.kernel.source_tarball

    @property
    def kernel_root(self) -> Path:
        """Where the kernel's packages are unpacked."""
        return self.kernel.root

    @property
    def accelerator(self) -> str:
        """``kvm`` or ``tcg`` (software emulation)."""
        return self._machine.accelerator if self._machine else ""

    # Up and down

    def __enter__(self) -> Self:
        tools = requirements.check()
        self.kernel = packages.fetch(self._version, self._progress)
        accelerator = self._accelerator or kvm.choose(tools, self.kernel)
        try:
            if accelerator == "tcg":
                self._boot_emulated(tools)
            else:
                self._boot(tools, accelerator)
        except LabError as error:
            self.close()
            if accelerator != "kvm" or self._accelerator:
                raise
            # It passed the probe, and still not this.
            self._say(f"{error.message.splitlines()[0]} Trying software emulation.")
            self._boot_emulated(tools)
        except BaseException:
            self.close()
            raise
        return self

    def _boot_emulated(self, tools: Tools) -> None:
        """Boot; once more where the guest dies meanwhile, as software emulation makes it now and then."""
        try:
            self._boot(tools, "tcg")
        except BootEndedError as error:
            self.close()
            self._say(f"{error.message.splitlines()[0]} Once more.")
            self._boot(tools, "tcg")

    def _say(self, text: str) -> None:
        if self._progress:
            self._progress.say(text)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _boot(self, tools: Tools, accelerator: str) -> None:
        self._say(f"booting Debian's kernel {self.release} ({kvm.describe(accelerator)})")
        self._machine, self._ended, self._ready, self._closing = None, None, False, False
        started = time.monotonic()
        limit = BOOT_LIMIT[accelerator]
        self._keeper = threading.Thread(
            target=self._keep, args=(tools, accelerator), name="lab-machine", daemon=True
        )
        start_whole(self._keeper)
        with self._changed:
            answered = self._changed.wait_for(lambda: self._ready or self._ended is not None, limit)
            if isinstance(self._ended, Exception):
                raise self._ended
            if not self._ready:
                what = "ended while it booted" if answered else f"did not come up within {limit:.0f} s"
                tail = self._ended or (self._machine.tail() if self._machine else "")
                kind = BootEndedError if answered else LabError
                raise kind(
                    f"The virtual machine with kernel {self.release} {what}"
                    f" ({kvm.describe(accelerator)}). Its last words:\n{tail}"
                )
        self.boot_seconds = time.monotonic() - started

    def close(self) -> None:
        """Take the machine down; what still runs in it is lost."""
        with self._changed:
            self._closing = True
            if self._machine:
                self._machine.stop()
        keeper, self._keeper = self._keeper, None
        if keeper and keeper.ident is not None:  # an interrupt may have come before it was started
            keeper.join()

    def _keep(self, tools: Tools, accelerator: str) -> None:
        """Own the machine, whose children die with this thread, and dispatch what the agent says."""
        command = [sys.executable, "-I", "-S", agent.__file__]
        try:
            machine = Machine(
                tools,
                self.kernel,
                command,
                accelerator=accelerator,
                memory_mib=self._memory_mib,
                cpus=self._cpus or useful_cpus(tools.qemu, accelerator),
                append=self._append,
                log=self._log,
            )
        except Exception as error:  # it is raised again by the thread that waits for the boot
            self._end(error)
            return
        buffer = bytearray()
        try:
            with self._changed:
                self._machine = machine
                if self._closing:
                    return
            while data := machine.receive():
                buffer += data
                while (message := agent.unpack(buffer)) is not None:
                    self._hear(message)
        finally:
            machine.kill()
            self._end(machine.tail())
            machine.close()

    def _end(self, reason: str | Exception) -> None:
        with self._changed:
            self._ended = reason
            self._changed.notify_all()

    def _hear(self, message: list[bytes]) -> None:
        with self._changed:
            if message[0] == b"ready":
                self._ready = True
            else:
                self._running.pop(int(message[1])).returncode = int(message[2])
            self._changed.notify_all()

    def _gone(self) -> UserError:
        """Return the error for whoever still waits for something from the guest."""
        with self._changed:
            # The end of a stream may be seen before the keeper has collected the machine's last words.
            self._changed.wait_for(lambda: self._ended is not None, 10)
        return LabError(
            f"The virtual machine with kernel {self.release} has ended. Its last words:\n{self._ended}"
        )

    def _check_alive(self) -> None:
        if self._ended is not None:
            raise self._gone()

    # Commands

    def run(
        self,
        command: str | Sequence[str | Path],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        talk: bool = False,
    ) -> GuestProcess:
        """Start ``command`` in the guest as root: an argv, or a string for ``bash -c``.

        ``cwd`` is this process' own unless given; ``env`` is added to what is passed on. Its output
        must be read (see GuestProcess). With ``talk`` it reads what ``GuestProcess.tell`` writes, instead of
        ``stdin``. A command that does not exist exits with 127. LabError: the
        machine has ended.
        """
        argv = ["bash", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        if not argv:
            raise ValueError("no command")
        environment = guest_environment() | dict(env or {})
        with self._changed:
            self._check_alive()
            assert self._machine is not None, "run() is for a Lab that has been entered"
            pair = self._free_pair()
            streams = (
                PortStream(self._machine.outputs[pair][0], self._gone),
                PortStream(self._machine.outputs[pair][1], self._gone),
            )
            ident = next(self._numbers)
            process = GuestProcess(
                ident, streams, self._changed, self._check_alive, self._signal, self._write_input
            )
            self._slots[pair] = process
            self._running[ident] = process
        settings = [f"{name}={value}" for name, value in environment.items()]
        self._tell(
            "talk" if talk else "run", ident, pair, str(cwd or Path.cwd()), stdin, len(argv), *argv, *settings
        )
        return process

    def check_output(
        self,
        command: str | Sequence[str | Path],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float | None = 120,
    ) -> str:
        """Run ``command`` to its end and return its stdout as text.

        subprocess.CalledProcessError (with both outputs as text) unless it exits with 0; TimeoutError after
        ``timeout`` seconds.
        """
        process = self.run(command, cwd=cwd, env=env, stdin=stdin)
        output, errors = (data.decode(errors="replace") for data in process.communicate(timeout))
        status = process.wait()
        if status:
            failed = subprocess.CalledProcessError(status, command, output, errors)
            failed.add_note(f"stderr in the guest:\n{errors[-4000:]}\nstdout:\n{output[-4000:]}")
            raise failed
        return output

    def _free_pair(self) -> int:
        """Return a slot whose last command has ended and been read; the caller holds the lock."""
        for pair, process in self._slots.items():
            if process is None or all(stream.ended for stream in process.streams):
                return pair
        # Nobody reads what is left of a command that has ended: throw that away.
        for pair, process in self._slots.items():
            if process and process.returncode is not None and process.closed:
                for stream in process.streams:
                    stream.drain()
                return pair
        raise RuntimeError(f"{PAIRS} commands run in the guest already, or have output that nobody reads")

    def _signal(self, ident: int, number: int) -> None:
        self._tell("signal", ident, number)

    def _write_input(self, ident: int, data: bytes) -> None:
        self._tell("tell", ident, data)

    def _tell(self, *fields: str | bytes | int) -> None:
        assert self._machine is not None
        with self._outgoing:
            try:
                self._machine.control.sendall(agent.pack(*fields))
            except OSError as error:
                raise self._gone() from error


def start_whole(thread: threading.Thread) -> None:
    """Start ``thread``; an interrupt comes before that or after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def guest_environment() -> dict[str, str]:
    """Return what every command in the guest finds in its environment; this interpreter is first in PATH."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    here = str(Path(sys.executable).parent)
    path = f"{here}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"HOME": "/root", "LANG": "C.UTF-8", **passed, "PATH": path}
