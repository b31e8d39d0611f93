"""A capture by this same program in a throw-away virtual machine."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.commands.remote import RemoteSession, Retitled
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import guest_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.lab import Lab, LabCapture
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.sink import TraceSink

#: Seconds the program in the machine is given to end after its stream has ended.
GUEST_END: Final = 20


class LabSession(RemoteSession):
    """A capture by this same program in a throw-away virtual machine."""

    def __init__(self, options: Options, console: Console) -> None:
        super().__init__(options, console)
        self._stack = contextlib.ExitStack()
        self._running: LabCapture | None = None
        self._interrupted = False
        self.lab: Lab | None = None

    def prepare(self) -> None:
        """Fetch the kernel where it is not there yet, and boot it: in the caller's thread, with progress."""
        from ktcpdump_tui.lab import Lab, Progress

        version = None if self.options.lab == "default" else self.options.lab
        self.lab = self._stack.enter_context(Lab(version, progress=Progress()))

    @property
    def source_places(self) -> Sequence[Path]:
        """The source package of the machine's kernel."""
        return [self.lab.source_tarball] if self.lab is not None else []

    def stop(self) -> None:
        """Ask for the end. A second interrupt would cut the capture inside off before its counts."""
        super().stop()
        if self._running is not None and not self._interrupted:
            self._interrupted = True
            self._running.interrupt()

    def send(self, data: bytes) -> None:
        """Write to the stdin of the program inside."""
        if self._running is not None:
            self._running.tell(data)

    def close(self) -> None:
        """Stop, and take the machine down."""
        try:
            super().close()
        finally:
            self._stack.close()

    def _capture(self, sink: TraceSink) -> None:
        from ktcpdump_tui.lab import LabCapture
        from ktcpdump_tui.trace.stream import pump

        assert self.lab is not None, "prepare() comes before start()"
        image = self.options.debug_image or self.lab.vmlinux
        traffic = self.options.command is None
        # emulated traps cost ten times as much, and nobody else is on that machine
        inside = replace(self.options, max_cpu=self.options.max_cpu or 0)
        arguments = guest_arguments(inside, image.absolute())
        try:
            with LabCapture(self.lab, arguments, traffic=traffic, on_message=self.hear) as running:
                self._running = running
                if self._stopping:
                    running.interrupt()
                try:
                    pump(running.stdout, Retitled(sink, self.options), "the lab")
                except UserError as error:
                    status = running.wait(GUEST_END)
                    if self._stopping and not self.ready:
                        raise KeyboardInterrupt from error
                    raise self.told_error(status) or error from None
                # A capture that failed after it began has a summary, and says why on stderr.
                if (told := self.told_error(running.wait(GUEST_END))) is not None:
                    raise told
        finally:
            self.requests.end()
