"""What the line-by-line widgets share: only visible lines are rendered, whatever their number."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ktcpdump_tui.tui.palette import PALETTES, Palette

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.widget import Widget

#: A piece of a line: text and how it looks.
Part = tuple[str, Style]


def palette_of(widget: Widget) -> Palette:
    """Return the styles of the theme in use (the dark one for a theme that is not ours)."""
    return PALETTES.get(widget.app.theme, PALETTES["ktcpdump-dark"])


def printable(text: str) -> str:
    """Replace what a terminal would obey: task names, packets and source are not to be trusted."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def clip(text: str, width: int) -> str:
    """Return ``text`` in exactly ``width`` cells; what does not fit ends in an ellipsis."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    if width <= 0:
        return ""
    return set_cell_size(text, width - 1).rstrip().ljust(width - 1) + "…"


def clip_offset(ksym: str, width: int) -> str:
    """As ``clip``, but the name is cut, not the offset behind it."""
    name, plus, offset = ksym.rpartition("+")
    if len(ksym) <= width or not plus or len(offset) + 3 > width:
        return clip(ksym, width)
    return clip(name, width - len(offset) - 1).rstrip() + plus + offset


def clip_left(text: str, width: int) -> str:
    """As ``clip``, but keeping the end: the interesting end of a path."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return "…" + text[len(text) - width + 1 :] if width > 0 else ""


class LineView(ScrollView, can_focus=True):
    """A scrolling view, with a cursor, of lines that are made when they are shown.

    A subclass says how many lines there are with ``set_lines`` and makes line ``y`` in ``parts``.
    ``HELP`` is what the help screen says of it.
    """

    HELP: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "One line up", show=False),
        Binding("down", "move(1)", "One line down", show=False),
        Binding("pageup", "page(-1)", "A page up", show=False),
        Binding("pagedown", "page(1)", "A page down", show=False),
        Binding("home", "move(-1000000000)", "To the first line", show=False),
        Binding("end", "move(1000000000)", "To the last line", show=False),
    ]
    DEFAULT_CSS = """
    LineView {
        background: $background; overflow: scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
    }
    """

    line_count = 0
    #: What is said where there is no line.
    empty = ""
    cursor = 0
    _style = Style.null()

    def set_lines(self, count: int, width: int = 0) -> None:
        """Say how many lines there are, and the widest one's width in cells (0: as wide as the widget)."""
        self.line_count = count
        size = Size(width, count)
        if self.virtual_size != size:
            # A plain assignment has all panes laid out anew, which is most of what a key costs. So has a
            # scroll bar that comes or goes, also one that takes no room: they have their place always.
            self.set_reactive(LineView.virtual_size, size)
            self._scroll_update(size)

    @abstractmethod
    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Return line ``y`` as parts, and the style that lies under all of it."""

    @property
    def palette(self) -> Palette:
        """The styles of the theme in use."""
        return palette_of(self)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Make the visible lines; the widget's own style is worked out once for all of them."""
        self._style = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Make the visible line ``y`` (0 is the topmost on the screen)."""
        scroll_x, scroll_y = self.scroll_offset
        width = self.size.width
        style = self._style
        line = y + scroll_y
        if line >= self.line_count:
            if self.empty and not self.line_count and y == 1:
                said = clip("  " + printable(self.empty), width)
                return Strip([Segment(said, style + self.palette["dim"])], width)
            return Strip.blank(width, style)
        parts, under = self.parts(line)
        whole = style + under
        if under.reverse:
            # Reversed colours would make a patchwork of the line: only the weight of its parts is kept.
            parts = [(text, Style(bold=part.bold, underline=part.underline)) for text, part in parts]
        segments = [Segment(printable(text), whole + part) for text, part in parts if text]
        return Strip(segments).crop_extend(scroll_x, scroll_x + width, whole)

    def copied(self) -> str:
        """Return what is under the cursor, for the clipboard; empty where nothing is."""
        return ""

    @property
    def page_lines(self) -> int:
        """Lines that are visible at once."""
        return max(1, self.size.height)

    def action_move(self, by: int) -> None:
        """Move the cursor by some lines."""
        self.cursor = max(0, min(self.cursor + by, self.line_count - 1))
        self.show_line(self.cursor)
        self.refresh()

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is visible."""
        self.action_move(pages * self.page_lines)

    def on_focus(self) -> None:
        """Show the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Dim the cursor."""
        self.refresh()

    def refresh_only(self, lines: Iterable[int]) -> None:
        """Draw these lines anew: a whole pane costs tens of milliseconds on a large terminal."""
        top = self.scroll_offset.y
        for line in lines:
            if top <= line < top + self.page_lines:
                self.refresh_line(line)

    def show_line(self, line: int, *, centre: bool = False, margin: int = 0) -> None:
        """Scroll so that ``line`` is visible, moving as little as possible; a far jump centres it."""
        top, page = self.scroll_offset.y, self.page_lines
        margin = min(margin, (page - 1) // 2)
        if top + margin <= line < top + page - margin and not centre:
            return
        if centre or line < top - page or line >= top + 2 * page:
            target = line - page // 2
        elif line < top + margin:
            target = line - margin
        else:
            target = line - page + 1 + margin
        target = max(0, min(target, self.line_count - page))
        self.scroll_to(y=target, animate=False, immediate=True, force=True)
