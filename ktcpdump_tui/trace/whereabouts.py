"""Where a trace is: its file, until the disk is full and the capture goes on in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Whereabouts:
    """The path of a trace, shared by its writer and its readers, in whatever threads.

    The trace in the new place has the same events under the same numbers, but for the oldest ones where
    there is no room for all: readers only need to open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
