"""The errors a user is meant to read: one sentence, and the command that mends it."""

from __future__ import annotations


class UserError(Exception):
    """Something outside the program is wrong; the message is shown as it is, without a traceback.

    ``message`` is one sentence that says what is wrong and where; ``remedy`` is the command or the
    action that mends it; ``status`` is the exit status (1: cannot run, 2: bad usage), as tcpdump's.
    """

    status = 1

    def __init__(self, message: str, remedy: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class UsageError(UserError):
    """The command line itself is wrong: an option, a SPEC or an EXPRESSION."""

    status = 2
