"""All that is known of the addresses of one function: lines, inline chains, frame rules; kept in a cache."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.debuginfo.errors import reading
from ktcpdump_tui.debuginfo.frames import frame_rows
from ktcpdump_tui.debuginfo.inlines import Call, FunctionScopes
from ktcpdump_tui.debuginfo.units import extent_at
from ktcpdump_tui.model import FrameRule, SourceLine

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.cache import DiskCache
    from ktcpdump_tui.debuginfo.image import DebugImage
    from ktcpdump_tui.model import InlineFrame


@dataclass(frozen=True, slots=True)
class FunctionTable:
    """One contiguous part of a function (its main part, or its ``.cold`` part).

    Addresses are counted from the start of the part, so that a module's table serves wherever the module is
    loaded. ``lines`` are the rows of the line table by address (None where no row is in force), ``frames``
    the frame rules by address.
    """

    size: int
    line_starts: list[int]
    lines: list[SourceLine | None]
    frame_starts: list[int]
    frames: list[FrameRule | None]
    scopes: FunctionScopes

    def line(self, offset: int) -> SourceLine | None:
        """Return the row in force ``offset`` bytes into the part."""
        row = bisect_right(self.line_starts, offset) - 1
        return self.lines[row] if row >= 0 else None

    def chain(self, offset: int) -> tuple[InlineFrame, ...]:
        """Return the inline chain ``offset`` bytes into the part, innermost first."""
        return self.scopes.chain(offset, self.line(offset))

    def frame(self, offset: int) -> FrameRule | None:
        """Return how to find the CFA ``offset`` bytes into the part."""
        row = bisect_right(self.frame_starts, offset) - 1
        return self.frames[row] if row >= 0 else None

    def statements(self) -> list[tuple[int, SourceLine]]:
        """Return (offset, line) of each row that begins a statement, as DebugImage.statement_rows does."""
        found = zip(self.line_starts, self.lines, strict=True)
        return [(start, line) for start, line in found if line and line.line and line.is_stmt]

    def dump(self) -> bytes:
        """Return the table as bytes for ``load``."""
        files: dict[str, int] = {}
        lines = [
            [files.setdefault(line.file, len(files)), line.line, line.column, int(line.is_stmt)]
            if line
            else 0
            for line in self.lines
        ]
        calls = [
            [call.function, files.setdefault(call.file, len(files)), call.line, call.column, call.parent]
            for call in self.scopes.calls
        ]
        frames = [list(astuple(rule)) if rule else 0 for rule in self.frames]
        fields = {
            "size": self.size,
            "files": list(files),
            "line_starts": self.line_starts,
            "lines": lines,
            "frame_starts": self.frame_starts,
            "frames": frames,
            "function": self.scopes.function,
            "calls": calls,
            "edges": self.scopes.edges,
            "owners": self.scopes.owners,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def load(cls, data: bytes) -> FunctionTable:
        """Return the table that ``dump`` wrote. Raises ValueError, LookupError or TypeError if not."""
        fields: dict[str, Any] = json.loads(data)
        files = fields["files"]
        rows: dict[tuple[int, ...], SourceLine] = {}
        lines: list[SourceLine | None] = []
        for row in fields["lines"]:
            if not row:
                lines.append(None)
                continue
            file, line, column, is_stmt = key = tuple(row)
            if key not in rows:
                rows[key] = SourceLine(files[file], line, column, bool(is_stmt))
            lines.append(rows[key])
        calls = [
            Call(name, files[file], line, column, up) for name, file, line, column, up in fields["calls"]
        ]
        return cls(
            fields["size"],
            fields["line_starts"],
            lines,
            fields["frame_starts"],
            [FrameRule(row[0], row[1], bool(row[2])) if row else None for row in fields["frames"]],
            FunctionScopes(fields["function"], calls, fields["edges"], fields["owners"]),
        )


class Functions:
    """Function tables of one image, from memory, from the cache, else decoded."""

    def __init__(self, image: DebugImage, cache: DiskCache | None) -> None:
        self.image = image
        self._cache = cache
        self._tables: dict[int, FunctionTable | None] = {}

    def starting_at(self, start: int) -> FunctionTable | None:
        """Return the table of the part of a function that begins at ``start``.

        None where no subprogram does (assembler code without one). Raises UserError on a damaged image.
        """
        if start not in self._tables:
            self._tables[start] = self._cached(start)
        return self._tables[start]

    def _cached(self, start: int) -> FunctionTable | None:
        build_id = self.image.build_id
        if self._cache is None or not build_id:
            return self._decoded(start)
        name = self._key(start)
        data = self._cache.get(build_id, name)
        if data:
            try:
                return FunctionTable.load(data)
            except (ValueError, LookupError, TypeError):
                data = None  # written by something else than this version: made anew below
        table = self._decoded(start)
        if table:
            self._cache.put(build_id, name, table.dump())
        return table

    def _key(self, start: int) -> str:
        if not self.image.relocatable:
            return f"{start:x}"
        sections = [
            (base, section.name)
            for section in self.image.elf.sections
            if section.executable and section.size
            for base in [self.image.section_addresses[section.name]]
            if base <= start < base + section.size
        ]
        base, name = sections[0] if sections else (0, "")
        return f"{name}+{start - base:x}"

    def _decoded(self, start: int) -> FunctionTable | None:
        image = self.image
        with reading(image.path, ".debug_info and .debug_line"):
            unit = image.units.at(start)
            extent = extent_at(unit, start) if unit else None
            scopes = image.inlines.scopes_at(start)
            table = image.lines.table(unit) if unit else None
            if extent is None or scopes is None or extent[0] != start:
                return None
            rows = table.between(*extent) if table else []
            # Of several rows at one address the last names the line; any of them may begin a statement, and
            # stepping by lines needs to stop there.
            begins = {address for address, _ in image.statement_rows(*extent)}
            rows = [
                (address, replace(line, is_stmt=True) if line and address in begins else line)
                for address, line in rows
            ]
            edges = [edge - start for edge in scopes.edges]
            moved = FunctionScopes(scopes.function, scopes.calls, edges, scopes.owners)
        frames = frame_rows(image, *extent)
        return FunctionTable(
            extent[1] - start,
            [address - start for address, _ in rows],
            [line for _, line in rows],
            [address - start for address, _ in frames],
            [rule for _, rule in frames],
            moved,
        )
