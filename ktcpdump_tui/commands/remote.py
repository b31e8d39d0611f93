"""A capture by this same program somewhere else, whose trace comes as a stream."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import PROGRESS
from ktcpdump_tui.commands.control import ANSWER, Requests
from ktcpdump_tui.commands.session import READY, Session
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import PROGRAM
from ktcpdump_tui.trace.sink import PassingSink

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.model import TraceHeader
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.sink import TraceSink


class RemoteSession(Session):
    """What is common to captures elsewhere: their messages, and what can be asked of them."""

    def __init__(self, options: Options, console: Console) -> None:
        super().__init__(options, console)
        self.requests = Requests(self.send)
        self._messages: list[str] = []

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Write to the stdin of the program there; OSError or UserError where it is gone."""

    @property
    def can_probe(self) -> bool:
        """Whether the capture runs."""
        return self.ready and not self._stopping and not self._ended

    def _change(self, verb: str, spec: str) -> Future[str]:
        return self.requests.ask(verb, spec)

    def hear(self, line: str) -> None:
        """Take a line the program there wrote on stderr."""
        if line.startswith(PROGRESS):
            self.console.progress(line.removeprefix(PROGRESS), 0, 0)
            return
        if line.startswith(ANSWER):
            self.console.progress_done()
            self.requests.hear(line.removeprefix(ANSWER))
            return
        if line.startswith(READY):
            self.console.progress_done()
            self.ready = True
            if self.options.ready_file:
                self.options.ready_file.touch()
        self._messages.append(line)
        if not line.startswith((f"{PROGRAM}: ", "  ")):
            self.console.say(line)

    def told_error(self, status: int) -> UserError | None:
        """Return the error the program there ended with, as it said it."""
        starts = [number for number, line in enumerate(self._messages) if line.startswith(f"{PROGRAM}: ")]
        if not starts or status == 0:
            return None
        message, *rest = self._messages[starts[-1] :]
        return UserError(
            message.removeprefix(f"{PROGRAM}: "), "\n".join(rest).removeprefix("  ") or None, status=status
        )


class Retitled(PassingSink):
    """Passes a trace on under the command line that was typed here, not the one used there."""

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
