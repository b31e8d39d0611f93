"""Two packets side by side: both sources, the rows of their paths, the values where they part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ktcpdump_tui.debuginfo.source import Missing
from ktcpdump_tui.tui.background import Background
from ktcpdump_tui.tui.compare_list import CompareList
from ktcpdump_tui.tui.comparison import CompareOrder, CompareReader, SideBySide
from ktcpdump_tui.tui.line_view import palette_of, printable
from ktcpdump_tui.tui.source_view import Document, SourceView

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events
    from textual.app import ComposeResult

    from ktcpdump_tui.model import Packet
    from ktcpdump_tui.trace.decision import Pair
    from ktcpdump_tui.tui.comparison import Sides

#: Variables shown at once.
_MOST = 12

#: Narrower terminals show the sources one above the other.
_WIDE = 110


class CompareScreen(ModalScreen[int | None]):
    """Compares ``packets``; gives the number of the event to go to, None to go nowhere."""

    DEFAULT_CSS = """
    CompareScreen { background: $background; }
    CompareScreen #compare-head { height: auto; padding: 0 1; }
    CompareScreen #compare-sources { height: 1fr; }
    CompareScreen #compare-sources > SourceView { width: 1fr; height: 1fr; }
    CompareScreen #compare-a { border-right: solid $rule; }
    CompareScreen.narrow #compare-sources { layout: vertical; }
    CompareScreen.narrow #compare-sources > SourceView { width: 1fr; height: 1fr; }
    CompareScreen.narrow #compare-a { border-right: none; }
    CompareScreen.narrow #compare-b { border-top: solid $rule; border-title-color: $text-muted; }
    CompareScreen.narrow #compare-rows { height: 6; }
    CompareScreen.narrow #compare-values { max-height: 4; }
    CompareScreen #compare-rows { height: 30%; min-height: 5; border-top: solid $rule; }
    CompareScreen #compare-values { height: auto; max-height: 8; padding: 0 1; border-top: solid $rule; }
    CompareScreen #compare-keys { height: 1; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "parting(1)", "Next parting"),
        Binding("N", "parting(-1)", "Parting before"),
        Binding("d", "decisive", "The parting that made the difference"),
        Binding("enter,left", "choose(True)", "Go to the first packet's event", priority=True),
        Binding("right", "choose(False)", "Go to the second packet's event", priority=True),
        Binding("escape,q", "leave", "Leave", priority=True),
    ]

    def __init__(
        self,
        packets: tuple[Packet, Packet],
        reader: CompareReader,
        fail: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._packets, self._reader, self._fail = packets, reader, fail
        self.found: SideBySide | None = None
        self.pairs: list[Pair] = []
        self._decision = ""

    def compose(self) -> ComposeResult:
        """Make the parts."""
        with Vertical():
            yield Static("comparing …", id="compare-head", markup=False)
            with Horizontal(id="compare-sources"):
                yield SourceView(id="compare-a", counts=False)
                yield SourceView(id="compare-b", counts=False)
            yield CompareList()
            yield Static(id="compare-values", markup=False)
            yield Static(
                "j k rows · n N partings · d the decisive one · ← → go to that event · Esc leave",
                id="compare-keys", markup=False,
            )  # fmt: skip

    def on_mount(self) -> None:
        """Start the thread, and compare."""
        self._background = Background(self.app, "compare", self._reader.read, self._read, self._failed)
        self.query_one("#compare-b").border_title = "B"
        self.query_one(CompareList).focus()
        self._background.order(CompareOrder((self._packets[0].id, self._packets[1].id)))

    def on_resize(self, event: events.Resize) -> None:
        """Put the sources one above the other where two lines of C do not fit side by side."""
        self.set_class(event.size.width < _WIDE, "narrow")

    def on_unmount(self) -> None:
        """End the thread."""
        self._background.close()

    @property
    def busy(self) -> bool:
        """Whether the thread owes the screen something."""
        return self._background.busy

    def _failed(self, error: Exception) -> None:
        self.dismiss(None)
        self._fail(error)

    def _read(self, _order: CompareOrder, result: SideBySide | Sides) -> None:
        if not self.is_attached:
            return
        if isinstance(result, SideBySide):
            self.found = result
            self.query_one("#compare-head", Static).update(self._head(result))
            self.query_one(CompareList).show(result)
        else:
            self._show(result)

    def _head(self, found: SideBySide) -> Text:
        palette = palette_of(self)
        text = Text("", palette["text"], no_wrap=True, overflow="ellipsis")
        for side, packet, events in zip(
            "AB", self._packets, (found.found.a_events, found.found.b_events), strict=True
        ):
            fate = (
                f"dropped: {packet.drop_reason}" if packet.fate == "dropped" else packet.fate or "no end seen"
            )
            text.append(f"{side} packet {packet.id}", palette["heading"])
            text.append(f" {events:,} events, {fate}    ", palette["text"])
        common = f"{found.found.common:,} in common"
        if found.found.decisive is None:
            text.append(f"\nboth took the same path ({common})", palette["good"])
            return text
        step = found.rows[found.decisive].a if found.decisive is not None else None
        text.append("\nthey part ", palette["dim"])
        text.append(f"after {step.place}" if step else "at their first event", palette["lost"])
        if found.found.decisive.lost:
            text.append(" (events were lost there)", palette["lost"])
        places = len(found.found.partings)
        text.append(
            f"; {places} place{'' if places == 1 else 's'} differ{'s' if places == 1 else ''}, {common}"
        )
        return text

    def on_compare_list_moved(self) -> None:
        """Show what is at the row."""
        view = self.query_one(CompareList)
        if view.row is not None:
            self._background.order(CompareOrder((self._packets[0].id, self._packets[1].id), view.cursor))

    def _show(self, sides: Sides) -> None:
        for name, instruction, document in zip(
            ("#compare-a", "#compare-b"), sides.instructions, sides.documents, strict=True
        ):
            view = self.query_one(name, SourceView)
            if isinstance(document, Document) and instruction is not None and instruction.source:
                view.show_document(document)
                view.show_position(instruction.source.line, instruction.source.column)
            else:
                text = "nothing is executed here meanwhile"
                if isinstance(document, Missing):
                    text = document.message
                elif instruction is not None:
                    text = f"{instruction.ksym}: {instruction.text} (no source line is known)"
                view.show_document(Document("", "", (text,), (((text, "dim"),),)))
                view.show_position(0)
        self.pairs, self._decision = list(sides.pairs), sides.decision
        self.query_one("#compare-values", Static).update(self._values())

    def _values(self) -> Text:
        palette = palette_of(self)
        text = Text("", palette["dim"], overflow="ellipsis")
        if self._decision:
            text.append("decided by ", palette["dim"]).append(printable(self._decision), palette["text"])
            text.append("\n")
        for at, pair in enumerate(self.pairs[:_MOST]):
            text.append("   " if at else "", palette["dim"])
            text.append(pair.name, palette["symbol"])
            if pair.a == pair.b:
                text.append(f" = {printable(pair.a or '')}", palette["dim"])
            else:
                sides = [printable(one) if one is not None else "–" for one in (pair.a, pair.b)]
                text.append(f"  A {sides[0]}  B {sides[1]}", palette["changed"])
        return text

    def action_parting(self, by: int) -> None:
        """Go to the next place where the packets part, or the one before."""
        view = self.query_one(CompareList)
        places = self.found.partings if self.found else ()
        ahead = [row for row in places if (row > view.cursor if by > 0 else row < view.cursor)]
        if ahead:
            view.go_to(ahead[0] if by > 0 else ahead[-1])

    def action_decisive(self) -> None:
        """Go to the parting that made the difference."""
        if self.found is not None and self.found.decisive is not None:
            self.query_one(CompareList).go_to(self.found.decisive)

    def action_choose(self, first: bool) -> None:
        """Leave, for one of the row's events."""
        row = self.query_one(CompareList).row
        step = (row.a if first else row.b) if row is not None else None
        if step is not None:
            self.dismiss(step.last)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)
