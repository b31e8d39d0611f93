"""What two ktcpdump-tui say to each other beside the trace: one captures elsewhere, one shows it here.

The one here writes JSON objects, a line each, to the stdin of the other: ``{"do": "stop"}``, and
``{"id": N, "do": "probe" | "unprobe", "spec": SPEC}``. The other answers on stderr with ``answer: `` and
``{"id": N, "text": SENTENCE}`` or ``{"id": N, "error": SENTENCE, "remedy": TEXT | null, "status": N}``. Where
its stdin ends the one here is gone, so that the capture ends too: no probe outlives its viewer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.commands.session import Session

#: How an answer begins on stderr.
ANSWER: Final = "answer: "


class Listener(threading.Thread):
    """Obeys what comes on stdin, for a capture that streams its trace to stdout."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="control", daemon=True)
        self._session = session
        self._descriptor = sys.stdin.fileno()

    def run(self) -> None:
        """Obey until stdin ends."""
        received = b""
        # not through sys.stdin: its lock would be held at the program's exit
        while data := os.read(self._descriptor, 1 << 16):
            received += data
            *lines, received = received.split(b"\n")
            for line in lines:
                self._obey(line)
        self._session.stop()

    def _obey(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            wanted, number = message["do"], message.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # of no version of this program
        if wanted == "stop":
            self._session.stop()
        elif wanted in ("probe", "unprobe"):
            change = self._session.probe if wanted == "probe" else self._session.unprobe
            change(str(message.get("spec", ""))).add_done_callback(lambda done: self._answer(number, done))

    def _answer(self, number: object, done: Future[str]) -> None:
        error = done.exception()
        if error is None:
            answer: dict[str, Any] = {"text": done.result()}
        elif isinstance(error, UserError):
            answer = {"error": error.message, "remedy": error.remedy, "status": error.status}
        else:
            answer = {"error": f"{type(error).__name__}: {error}", "remedy": None, "status": 1}
        self._session.console.say(ANSWER + json.dumps({"id": number} | answer))


class Requests:
    """What was asked of a capture elsewhere and is not answered yet. From any thread."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._waiting: dict[int, Future[str]] = {}
        self._lock = threading.Lock()
        self._last = 0

    def stop(self) -> None:
        """Ask for the end."""
        self._send(_line({"do": "stop"}))

    def ask(self, verb: str, spec: str) -> Future[str]:
        """Ask for a change of the probes."""
        asked: Future[str] = Future()
        with self._lock:
            self._last += 1
            number = self._last
            self._waiting[number] = asked
        try:
            self._send(_line({"id": number, "do": verb, "spec": spec}))
        except (OSError, UserError) as error:
            self._settle(number, UserError(f"{verb} {spec}: the capture cannot be reached: {error}"))
        return asked

    def hear(self, text: str) -> None:
        """Take an answer: what follows ANSWER."""
        try:
            answer = json.loads(text)
            number = int(answer["id"])
            error = answer.get("error")
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if error is None:
            self._settle(number, str(answer.get("text", "")))
        else:
            remedy = answer.get("remedy")
            status = answer.get("status", 1)
            self._settle(number, UserError(str(error), remedy, status=status if status in (1, 2) else 1))

    def end(self) -> None:
        """Nothing more will be answered."""
        with self._lock:
            numbers = list(self._waiting)
        for number in numbers:
            self._settle(number, UserError("the capture ended before it answered"))

    def _settle(self, number: int, result: str | UserError) -> None:
        with self._lock:
            asked = self._waiting.pop(number, None)
        if asked is None:
            return
        if isinstance(result, UserError):
            asked.set_exception(result)
        else:
            asked.set_result(result)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
