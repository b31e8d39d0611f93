"""Source lines for the trace list: looked up in a thread, file by file, as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ktcpdump_tui.debuginfo.source import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.tui.ports import SourceProvider


class LineTexts:
    """Knows the lines of the files that were loaded; the interface's thread asks, another one loads."""

    def __init__(self, sources: SourceProvider) -> None:
        self._sources = sources
        self._files: dict[str, Sequence[str]] = {}
        self._asked: set[str] = set()

    def line(self, file: str, number: int) -> str:
        """Return the text of a line (from 1) without its indentation, empty where it is not known (yet)."""
        lines = self._files.get(file)
        if lines is None:
            self._asked.add(file)
            return ""
        return " ".join(lines[number - 1].split()) if 0 < number <= len(lines) else ""

    def wanted(self) -> set[str]:
        """Return the files asked for in vain since the last call."""
        asked, self._asked = self._asked, set()
        return asked

    def load(self, files: frozenset[str]) -> frozenset[str]:
        """Find the files' text; what cannot be found has no lines. Returns the files."""
        for file in sorted(files):
            if file not in self._files:
                found = self._sources.find(file)
                self._files[file] = () if isinstance(found, Missing) else found.lines
        return files
