"""A file that events are written to: failures in words, and closed once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ktcpdump_tui.model import Summary


@contextlib.contextmanager
def reported(name: str) -> Iterator[None]:
    """Turn a failure to write ``name`` into a sentence; BrokenPipeError stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"cannot write to {name}: {error.strerror or error}",
            "write to another place, or make room: df -h .",
        ) from error


class FileWriter:
    """What all formats that write bytes share. With ``close`` False (stdout) the stream is left open."""

    def __init__(self, stream: BinaryIO, name: str = "the capture file", close: bool = True) -> None:
        self._stream = stream
        self._name = name
        self._close = close

    def end(self, summary: Summary | None) -> None:  # noqa: ARG002 - most formats have no room for it
        """Close the file; stdout is left open. Once more does nothing."""
        if self._stream.closed:
            return
        with reported(self._name):
            self._stream.flush()
            if self._close:
                self._stream.close()

    def write(self, parts: Iterable[bytes]) -> None:
        """Write and flush; UserError where that fails, BrokenPipeError where nobody reads any more."""
        with reported(self._name):
            self._stream.write(b"".join(parts))
            self._stream.flush()
