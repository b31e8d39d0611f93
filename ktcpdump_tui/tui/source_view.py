"""The text of one source file, with what is known of each line in the gutter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.tui.coverage import GLYPHS, FileMarks, short_count
from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence

    from textual import events

    from ktcpdump_tui.tui.highlight import Line


@dataclass(frozen=True, slots=True)
class Document:
    """A source file ready to be shown.

    ``file`` is its name in the line table, ``name`` its path in the source tree, ``raw`` its lines
    as they are, ``lines`` the highlighted ones; ``doubt`` says why they may be of another version.
    """

    file: str
    name: str = ""
    raw: Sequence[str] = ()
    lines: Sequence[Line] = ()
    doubt: str | None = None


class SourceView(LineView):
    """Source lines: breakpoint, position, number, hits, state, text."""

    HELP: ClassVar[str] = (
        "The source file. In the gutter: breakpoint, position, line, executions (this packet, all), state."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "sideways(-8)", "Scroll left", show=False),
        Binding("right", "sideways(8)", "Scroll right", show=False),
        Binding("enter", "run_to", "Look into what the line calls; else its next event", show=False),
    ]

    class RunTo(Message):
        """Go to the next event that executes this line."""

        def __init__(self, file: str, line: int) -> None:
            super().__init__()
            self.file = file
            self.line = line

    class Breakpoint(Message):
        """Set or clear the breakpoint of this line."""

        def __init__(self, file: str, line: int) -> None:
            super().__init__()
            self.file = file
            self.line = line

    def __init__(self, *, counts: bool = True, id: str | None = None) -> None:  # noqa: A002
        """Make a view; ``counts`` tells whether its gutter has room for hits and states."""
        super().__init__(id=id)
        self._counts = counts
        self.document = Document("")
        self.position = 0
        self.column = 0
        self.inner = True
        self.marks: FileMarks | None = None
        self.breakpoints: frozenset[int] = frozenset()
        self._number_width = 4
        self._pattern: re.Pattern[str] | None = None

    def find(self, pattern: re.Pattern[str] | None) -> None:
        """Highlight what matches; None: nothing."""
        self._pattern = pattern
        self.refresh()

    def go_to(self, line: int) -> None:
        """Move the cursor to a line (from 0) that need not be the one being executed."""
        self.cursor = max(0, min(line, self.line_count - 1))
        self.show_line(self.cursor, margin=2)
        self.refresh()

    def show_document(self, document: Document) -> None:
        """Show another file, or the same one highlighted."""
        same = document.file == self.document.file
        self.document = document
        self._number_width = max(4, len(str(len(document.lines))))
        widest = max((len(line.expandtabs()) for line in document.raw), default=0)
        self.set_lines(len(document.lines), widest + self.gutter_width)
        if not same:
            self.scroll_to(x=0, y=0, animate=False, immediate=True, force=True)
        self.refresh()

    @property
    def gutter_width(self) -> int:
        """Cells before the text."""
        return 2 + self._number_width + 1 + (5 + 5 + 1 + 1 if self._counts else 0)

    def show_position(self, line: int, column: int = 0, *, inner: bool = True) -> None:
        """Show that ``line`` (from 1) is being executed; not ``inner``: it called what is."""
        changed, top = {self.position - 1, self.cursor, line - 1}, self.scroll_offset.y
        self.position, self.column, self.inner = line, column, inner
        if line:
            self.cursor = line - 1
            self.show_line(self.cursor, margin=max(2, self.page_lines // 5))
        if self.scroll_offset.y == top:
            self.refresh_only(changed)
        else:
            self.refresh()

    def on_resize(self) -> None:
        """Keep the line being executed visible."""
        if self.position and self.position <= self.line_count:
            self.show_line(self.position - 1, margin=max(2, self.page_lines // 5))

    def browse(self, line: int) -> None:
        """Show a line (from 1) that is not being executed."""
        self.position = 0
        self.cursor = max(0, min(line - 1, self.line_count - 1))
        self.show_line(self.cursor, centre=True)
        self.refresh()

    def copied(self) -> str:
        """Return the line under the cursor."""
        return self.document.raw[self.cursor].strip() if self.cursor < len(self.document.raw) else ""

    def show_marks(self, marks: FileMarks, breakpoints: frozenset[int]) -> None:
        """Show other counts, states and breakpoints."""
        lines = range(self.scroll_offset.y, self.scroll_offset.y + self.page_lines)
        before = [self._drawn(y) for y in lines]
        self.marks = marks
        changed = {y for y, drawn in zip(lines, before, strict=True) if self._drawn(y) != drawn}
        changed |= {line - 1 for line in breakpoints ^ self.breakpoints}
        self.breakpoints = breakpoints
        self.refresh_only(changed)

    def _drawn(self, y: int) -> object:
        """Return what of a line's mark is drawn: of a million and a million and one the same."""
        mark = self.marks.get(y + 1) if self.marks else None
        return mark and (mark.state, short_count(mark.hits), short_count(mark.packet_hits))

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line with its gutter."""
        palette, number = self.palette, y + 1
        mark = self.marks.get(number) if self.marks else None
        glyph, style = GLYPHS[mark.state] if mark else (" ", "dim")
        count = short_count(mark.hits) if mark and mark.hits else ""
        ours = short_count(mark.packet_hits) if mark and mark.packet_hits else ""
        here = number == self.position
        under = palette["text"]
        if y == self.cursor and not here and self.has_focus:
            under = palette["cursor"]
        if here:
            under = palette["current"]
        pointer = ("▶" if self.inner else "▷") if here else " "
        parts: list[Part] = [
            ("●" if number in self.breakpoints else " ", palette["breakpoint"]),
            (pointer, palette["marker"]),
            (f"{number:>{self._number_width}} ", palette["marker"] if here else palette["number"]),
        ]
        if self._counts:
            parts += [
                (f"{ours:>4} ", palette["accent"]),
                (f"{count:>4} ", palette["hits"]),
                (glyph + " ", palette[style]),
            ]
        text = self._with_matches([(piece, palette[name]) for piece, name in self.document.lines[y]])
        return parts + (self._with_column(y, text) if here else text), under

    def _with_matches(self, text: list[Part]) -> list[Part]:
        """Highlight what is searched for."""
        if self._pattern is None:
            return text
        whole = "".join(piece for piece, _ in text)
        for match in reversed(list(self._pattern.finditer(whole))):
            if match.end() > match.start():
                text = _restyled(text, match.start(), match.end(), self.palette["match"])
        return text

    def _with_column(self, y: int, text: list[Part]) -> list[Part]:
        """Underline the word the instruction belongs to. DWARF counts columns in bytes, a tab being one."""
        raw = self.document.raw[y]
        if not 0 < self.column <= len(raw):
            return text
        start = len(raw[: self.column - 1].expandtabs())
        word = raw[self.column - 1 :]
        length = 1
        while length < len(word) and (word[:length] + word[length]).isidentifier():
            length += 1
        return _restyled(text, start, start + length, Style(underline=True, bold=True))

    def action_sideways(self, by: int) -> None:
        """Scroll sideways."""
        self.scroll_to(x=max(0, self.scroll_offset.x + by), animate=False, force=True)

    def action_run_to(self) -> None:
        """Ask for the next event on the cursor's line."""
        if self.line_count:
            self.post_message(self.RunTo(self.document.file, self.cursor + 1))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; in the gutter, set or clear a breakpoint."""
        line = event.y + self.scroll_offset.y
        if line >= self.line_count:
            return
        self.cursor = line
        if event.x < 2 + self._number_width:
            self.post_message(self.Breakpoint(self.document.file, line + 1))
        elif event.chain == 2:
            self.action_run_to()
        self.refresh()


def _restyled(text: list[Part], start: int, end: int, style: Style) -> list[Part]:
    """Return parts of which the characters from ``start`` to ``end`` look otherwise."""
    result: list[Part] = []
    at = 0
    for piece, old in text:
        low, high = max(0, start - at), min(len(piece), end - at)
        if low < high:
            result += [(piece[:low], old), (piece[low:high], old + style), (piece[high:], old)]
        else:
            result.append((piece, old))
        at += len(piece)
    return result
