"""The source pane: breadcrumb, source text, and the disassembly where it is wanted or all there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from ktcpdump_tui.tui.breadcrumb import Breadcrumb
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.line_view import palette_of, printable
from ktcpdump_tui.tui.pane import Pane
from ktcpdump_tui.tui.source_view import Document, SourceView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.tui.rows import Texts


class SourcePane(Pane):
    """Shows a ``Document`` or says why there is none."""

    DEFAULT_CSS = """
    SourcePane > #notice { height: auto; max-height: 6; display: none; padding: 0 1; }
    SourcePane > SourceView { height: 2fr; }
    SourcePane > DisassemblyView { height: 1fr; display: none; border-top: solid $rule; }
    SourcePane.missing > #notice { display: block; }
    SourcePane.missing > SourceView { display: none; }
    SourcePane.missing > DisassemblyView { display: block; border-top: none; }
    SourcePane.doubt > #notice { display: block; }
    SourcePane.disassembly > DisassemblyView { display: block; }
    """

    def __init__(self, texts: Texts, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._texts = texts
        self._noticed = ("", "", "")

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Breadcrumb(id="breadcrumb")
        yield Static(id="notice")
        yield SourceView(id="source")
        yield DisassemblyView(self._texts, id="disassembly")

    @property
    def view(self) -> SourceView:
        """The source text."""
        return self.query_one(SourceView)

    @property
    def disassembly(self) -> DisassemblyView:
        """The instructions."""
        return self.query_one(DisassemblyView)

    def show_instruction(self, instruction: Instruction, level: int, function: Sequence[Instruction]) -> None:
        """Show where the packet is.

        ``level`` is the frame of the inline chain, ``function`` all instructions of the function.
        """
        self.query_one(Breadcrumb).show(instruction, level)
        self.disassembly.show(function, instruction)

    def look_for(self, file: str) -> None:
        """Say that a file's text is being looked for; below the notice that one is missing, say nothing yet.

        Where one is missing the next mostly is too. To come back to the text, and to leave it again, has all
        panes laid out and drawn anew.
        """
        said = f"looking for {file} …"
        document = Document(file, file, (said,), (((said, "dim"),),))
        if self.has_class("missing"):
            self.view.show_document(document)
        else:
            self.show_document(document)
        self.view.show_position(0)

    def show_document(self, document: Document) -> None:
        """Show a file's text."""
        self._leave_missing()
        self.set_class(document.doubt is not None, "doubt")
        if document.doubt is not None:
            self._notice(document.doubt)
        if document is not self.view.document:
            self.view.show_document(document)

    def show_missing(self, message: str, remedy: str, file: str = "") -> None:
        """Say why there is no text (of ``file``, where one is known), and show the instructions instead."""
        if file and self.view.document.file != file:
            self.view.show_document(Document(file, file))
            self.view.show_position(0)
        self._notice(message, remedy)
        had_focus = self.view.has_focus
        self.add_class("missing")
        if had_focus:
            self.screen.set_focus(self.disassembly)  # at once: later, a prompt may have the keyboard

    def _notice(self, message: str, remedy: str = "") -> None:
        """Say something above the source; the same again would have all panes laid out and drawn anew."""
        palette = palette_of(self)
        if self._noticed == (message, remedy, palette.name):
            return
        self._noticed = (message, remedy, palette.name)
        text = Text(printable(message), palette["warn"])
        if remedy:
            text.append("\n" + printable(remedy), palette["text"])
        notice = self.query_one("#notice", Static)
        notice.update(text, layout=False)
        width, height = notice.content_size
        # It grows, and shrinks when it comes the next time.
        if not height or notice.get_content_height(self.size, self.app.size, width) > height:
            notice.refresh(layout=True)

    def _leave_missing(self) -> None:
        if self.has_class("missing"):
            had_focus = self.disassembly.has_focus and not self.has_class("disassembly")
            self.remove_class("missing")
            if had_focus:
                self.screen.set_focus(self.view)
