"""Where a trace's source text is looked for, and keeping it with the trace (--embed-source)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.sink import PassingSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ktcpdump_tui.debuginfo.source import SourceFinder
    from ktcpdump_tui.model import Instruction, Summary, TraceHeader
    from ktcpdump_tui.trace.sink import TraceSink
    from ktcpdump_tui.trace.trace import Trace


def sources_of(places: Sequence[str | Path], trace: Trace) -> SourceFinder:
    """Return what finds the source of a trace: in ``places``, in the trace itself, in the usual places."""

    def embedded(file: str) -> bytes | None:
        # Asked in the thread that loads sources: a reader belongs to one thread.
        with trace.reopen() as reader:
            return blobs.embedded_source(reader, file)

    carried = bool(blobs.embedded_files(trace))
    return _finder(places, trace.header, blobs.builds(trace), embedded if carried else None)


def source_text(places: Sequence[str | Path], trace: Trace) -> Callable[[str], Sequence[str] | None]:
    """Return what gives the lines of a source file of a trace, None where there is no such file."""
    from ktcpdump_tui.debuginfo.source import SourceText

    finder = sources_of(places, trace)

    def lines(file: str) -> Sequence[str] | None:
        found = finder.find(file)
        return found.lines if isinstance(found, SourceText) else None

    return lines


def _finder(
    places: Sequence[str | Path],
    header: TraceHeader,
    builds: Mapping[str, tuple[str | None, str | None]],
    embedded: Callable[[str], bytes | None] | None = None,
) -> SourceFinder:
    from ktcpdump_tui.debuginfo.source import SourceFinder

    return SourceFinder(
        places,
        release=header.release,
        build_id=header.build_id,
        builds=list(builds.values()),
        embedded=embedded,
    )


class Embedding(PassingSink):
    """Passes a trace on, and at its end the source files that its instructions' lines name.

    ``say`` is told how many there are, and which were not found.
    """

    def __init__(self, sink: TraceSink, places: Sequence[str | Path], say: Callable[[str], None]) -> None:
        super().__init__(sink)
        self._places, self._say = places, say
        self._header: TraceHeader | None = None
        self._plan: Sequence[Instruction] = ()
        self._builds: dict[str, tuple[str | None, str | None]] = {}
        self._closed = False

    def write_header(self, header: TraceHeader) -> None:
        """Pass on."""
        self._header = header
        super().write_header(header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass on."""
        self._plan = instructions
        super().write_plan(instructions)

    def put_blob(self, name: str, data: bytes) -> None:
        """Pass on."""
        if name == blobs.BUILDS:
            self._builds = {module: (build, folder) for module, (build, folder) in json.loads(data).items()}
        super().put_blob(name, data)

    def close(self, summary: Summary | None) -> None:
        """Add the sources, and pass on."""
        try:
            if not self._closed and self._header is not None:
                self._closed = True
                self._embed(self._header)
        finally:
            super().close(summary)

    def _embed(self, header: TraceHeader) -> None:
        from ktcpdump_tui.debuginfo.source import Missing

        finder = _finder(self._places, header, self._builds)
        files = {line.source.file for line in self._plan if line.source}
        files |= {frame.file for line in self._plan for frame in line.inlined_by}
        absent: list[Missing] = []
        for file in sorted(files - {""}):
            found = finder.find(file)
            if isinstance(found, Missing):
                absent.append(found)
            else:
                blobs.embed_source(self._sink, file, "\n".join(found.lines).encode() + b"\n")
        count = len(files) - len(absent)
        self._say(f"{count} source file{'s' if count != 1 else ''} embedded in the trace")
        if absent:
            others = f", nor for {len(absent) - 1} others" if len(absent) > 1 else ""
            self._say(f"{absent[0].message}{others}")
            if absent[0].remedy:
                self._say(f"  {absent[0].remedy}")
