"""A capture by this same program in a throw-away virtual machine."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.commands.console import PROGRESS
from ktcpdump_tui.commands.session import READY, Passing, Session
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import PROGRAM, guest_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.lab import Lab, LabCapture
    from ktcpdump_tui.model import TraceHeader
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.sink import TraceSink

#: Seconds the program in the machine is given to end after its stream has ended.
GUEST_END: Final = 20


class LabSession(Session):
    """A capture by this same program in a throw-away virtual machine."""

    def __init__(self, options: Options, console: Console) -> None:
        super().__init__(options, console)
        self._stack = contextlib.ExitStack()
        self._running: LabCapture | None = None
        self._interrupted = False
        self._messages: list[str] = []
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
        arguments = guest_arguments(self.options, image.absolute())
        with LabCapture(self.lab, arguments, traffic=traffic, on_message=self._hear) as running:
            self._running = running
            if self._stopping:
                running.interrupt()
            try:
                pump(running.stdout, _Retitled(sink, self.options), "the lab")
            except UserError as error:
                status = running.wait(GUEST_END)
                if self._stopping and not self.ready:
                    raise KeyboardInterrupt from error
                raise self._guest_error(status) or error from None
            # A capture that failed after it began has a summary, and says why on stderr.
            if (told := self._guest_error(running.wait(GUEST_END))) is not None:
                raise told

    def _hear(self, line: str) -> None:
        """Take a line the program inside wrote on stderr."""
        if line.startswith(PROGRESS):
            self.console.progress(line.removeprefix(PROGRESS), 0, 0)
            return
        if line.startswith(READY):
            self.console.progress_done()
            self.ready = True
            if self.options.ready_file:
                self.options.ready_file.touch()
        self._messages.append(line)
        if not line.startswith((f"{PROGRAM}: ", "  ")):
            self.console.say(line)

    def _guest_error(self, status: int) -> UserError | None:
        """Return the error the program inside ended with, as it said it."""
        starts = [number for number, line in enumerate(self._messages) if line.startswith(f"{PROGRAM}: ")]
        if not starts or status == 0:
            return None
        message, *rest = self._messages[starts[-1] :]
        return UserError(
            message.removeprefix(f"{PROGRAM}: "), "\n".join(rest).removeprefix("  ") or None, status=status
        )


class _Retitled(Passing):
    """Passes a trace on under the command line that was typed here, not the one used inside."""

    def __init__(self, sink: TraceSink, options: Options) -> None:
        super().__init__(sink)
        self._options = options

    def write_header(self, header: TraceHeader) -> None:
        """Pass the header on with the other command line."""
        super().write_header(
            replace(
                header, command_line=self._options.command_line, specs=self._options.specs or header.specs
            )
        )
