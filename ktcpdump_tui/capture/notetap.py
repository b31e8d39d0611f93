"""A look at the notes on their way to the trace: where packets were freed, so that it can be given a name."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.trace.layout import FREE_BODY, NOTE_HEADER, NoteKind
from ktcpdump_tui.trace.sink import PassingSink

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.trace.sink import TraceSink

#: The first two fields of layout.NOTE_HEADER, and ``location`` of layout.FREE_BODY.
_KIND_AND_SIZE: Final = struct.Struct("<II")
_LOCATION: Final = struct.Struct(f"<{FREE_BODY.fields['location'][1]}xQ")  # type: ignore[index]


class FreeTap(PassingSink):
    """Passes everything on to ``sink`` and keeps the distinct locations of the FREE notes that go by.

    ``new`` is set when a location was not known before.
    """

    def __init__(self, sink: TraceSink) -> None:
        super().__init__(sink)
        self.locations: set[int] = set()
        self.new = False

    def write_notes(self, notes: bytes | memoryview) -> None:
        """Look for FREE notes, and pass on."""
        at, end = 0, len(notes)
        while at < end:
            kind, size = _KIND_AND_SIZE.unpack_from(notes, at)
            if kind == NoteKind.FREE:
                (location,) = _LOCATION.unpack_from(notes, at + NOTE_HEADER.itemsize)
                if location and location not in self.locations:
                    self.locations.add(location)
                    self.new = True
            at += max(size, NOTE_HEADER.itemsize)
        super().write_notes(notes)

    def named(
        self, symbolise: Callable[[int], str | None], line_of: Callable[[int], str | None]
    ) -> dict[str, list[str | None]]:
        """Return {hex address: [symbol+offset, "file:line"]} of all locations; none is new then."""
        self.new = False
        return {f"{one:#x}": [symbolise(one), line_of(one)] for one in sorted(self.locations)}
