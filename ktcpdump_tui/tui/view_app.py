"""What changes how things are shown: the list's order and columns, marks, panes' sizes, browsing, copying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.tui.functions import Function, functions, named_on
from ktcpdump_tui.tui.inspector import Inspector
from ktcpdump_tui.tui.line_view import LineView
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.stepping_app import SteppingApp
from ktcpdump_tui.tui.trace_header import TraceHeader

if TYPE_CHECKING:
    from textual.widget import Widget

    from ktcpdump_tui.tui.minimap import Minimap
    from ktcpdump_tui.tui.splitter import Splitter
    from ktcpdump_tui.tui.trace_list import TraceList

#: Smallest and largest share of a pane, and what a key adds to it, in percent.
_LEAST, _MOST, _STEP = 15, 85, 5

#: Shares of the list's height and of the inspector's width before anybody changed them, in percent.
SHARES: Final = {"list": 40, "inspector": 40}


class ViewApp(SteppingApp):
    """A SteppingApp whose view can be arranged."""

    # The list

    def _list_anew(self) -> None:
        if self.navigator.current:
            self.go(self.navigator.current, level=self.navigator.level, follow=self.navigator.follow)
        self.table.refresh()
        self.show_columns()
        self.show_minimap()

    def show_columns(self) -> None:
        """Show another choice of columns."""
        self.table.show_columns()
        self.main.query_one(TraceHeader).refresh()

    def action_nest(self) -> None:
        """Indent functions by call depth, or not."""
        rows = self.navigator.rows
        rows.nest(not rows.nested)
        self._list_anew()
        self.notice(f"functions are {'indented by call depth' if rows.nested else 'not indented'}")

    def action_group(self) -> None:
        """List packet after packet, or events in their order."""
        rows = self.navigator.rows
        rows.group(rows.groups is None)
        self._list_anew()
        self.notice(
            "events in the order of time" if rows.groups is None else "grouped by packet: h and H fold away"
        )

    def action_fold(self) -> None:
        """Fold the current packet's events away, or back."""
        groups, no = self.navigator.rows.groups, self.navigator.current
        if groups is None or not no:
            self.notice("P groups the list by packet")
            return
        groups.toggle(int(self.trace.heads(no, no)[0]["packet"]))
        self._list_anew()

    def action_fold_all(self) -> None:
        """Fold all packets' events away, or none."""
        groups = self.navigator.rows.groups
        if groups is None:
            self.notice("P groups the list by packet")
            return
        groups.toggle_all()
        self._list_anew()

    def on_trace_list_toggled(self, message: TraceList.Toggled) -> None:
        """Fold a packet's events away, or back."""
        if (groups := self.navigator.rows.groups) is not None:
            groups.toggle(message.packet)
            self._list_anew()

    def action_columns(self) -> None:
        """Choose columns."""
        from ktcpdump_tui.tui.columns_screen import ColumnsScreen

        self.push_screen(ColumnsScreen(self.table.choice, self.show_columns))

    def on_trace_header_clicked(self) -> None:
        """Choose columns."""
        self.action_columns()

    def on_minimap_asked(self, message: Minimap.Asked) -> None:
        """Scroll to a place of the list."""
        self.navigator.stop_following()
        rows = len(self.navigator.rows)
        top = round(message.share * max(0, rows - self.table.page_lines))
        self.table.scroll_to(y=top, animate=False, immediate=True, force=True)
        self.show_minimap()
        self.show_status()

    def action_mark(self) -> None:
        """Mark the current event, or remove its mark."""
        no = self.navigator.current
        if not no:
            return
        self.table.marked ^= {no}
        self.table.refresh()
        self.show_minimap()
        self.notice(f"event {no:,} is {'marked' if no in self.table.marked else 'no longer marked'}")

    def action_next_mark(self, by: int) -> None:
        """Go to the next marked event, or the one before; round the ends."""
        marked, no = sorted(self.table.marked), self.navigator.current
        if not marked:
            self.notice("nothing is marked: m marks the event")
            return
        beyond = [other for other in marked if (other > no if by > 0 else other < no)]
        self.go((beyond or marked)[0 if by > 0 else -1])

    # The source

    def action_mixed(self) -> None:
        """Put source lines between the instructions, or not; show the instructions where they are not."""
        pane = self.main.query_one(SourcePane)
        visible = pane.has_class("disassembly") or pane.has_class("missing")
        pane.add_class("disassembly")
        pane.disassembly.mix(not pane.disassembly.mixed or not visible)
        self.call_after_refresh(self.show_source)

    def action_return(self) -> None:
        """Show the line being executed again, wherever one browsed to."""
        if self.navigator.current:
            self.show_source()
            self.show_list()

    def _functions(self) -> list[Function]:
        return functions(self.trace.plan)

    def action_functions(self) -> None:
        """List all traced functions."""
        from ktcpdump_tui.tui.functions_screen import FunctionsScreen

        hits = self.trace.hits()

        def count(function: Function) -> int:
            return max((int(hits[i]) for i in function.instructions if i < len(hits)), default=0)

        def chosen(result: tuple[str, Function] | None) -> None:
            if result is not None:
                self._go_to(*result)

        self.push_screen(FunctionsScreen(self._functions(), count), chosen)

    def _go_to(self, what: str, function: Function) -> None:
        name = function.symbol or function.name
        if what == "event":
            self.run_to(function.instructions, f"no event in {name}", wrap=True)
        elif function.file:
            self.show_file(function.file, function.line, browse=True)
            self.main.set_focus(self.main.query_one(SourcePane).view)
        else:
            self.notice(f"no source line is known of {name}")

    def action_definition(self) -> None:
        """Show the source of the traced function that the line under the cursor names."""
        view = self.main.query_one(SourcePane).view
        if not view.document.raw:
            return
        found = [
            function
            for function in named_on(view.document.raw[view.cursor], self._functions())
            if (function.file, function.line) != (view.document.file, view.cursor + 1)
        ]
        if found:
            self._go_to("source", found[0])
        else:
            self.notice("this line names no traced function: L lists them")

    def action_copy(self) -> None:
        """Copy what is under the focused pane's cursor to the terminal's clipboard (OSC 52)."""
        focused = self.focused
        text = focused.copied() if isinstance(focused, LineView) else ""
        if text:
            self.copy_to_clipboard(text)
            self.notice(f"copied: {text if len(text) < 60 else text[:57] + '…'}")
        else:
            self.notice("there is nothing to copy here")

    # Sizes

    def set_share(self, pane: str, percent: int) -> None:
        """Give the ``list`` this share of the height, or the ``inspector`` this share of the width."""
        self.shares[pane] = share = max(_LEAST, min(percent, _MOST))
        if pane == "list":
            self.main.query_one("#trace-pane").styles.height = f"{share}%"
            self.main.query_one("#source-pane").styles.height = "1fr"
        else:
            self._set_inspector(share)

    def _set_inspector(self, share: int) -> None:
        inspector = self.main.query_one(Inspector)
        if self.main.has_class("compact"):
            inspector.styles.height = f"{share}%"
        else:
            inspector.styles.width, inspector.styles.max_width = f"{share}%", "100%"

    def action_grow(self, by: int) -> None:
        """Give the focused pane more room, or less."""
        focused: Widget | None = self.focused
        if focused is not None and any(isinstance(one, Inspector) for one in focused.ancestors):
            self.set_share("inspector", self.shares["inspector"] + by * _STEP)
        else:
            sign = 1 if focused is self.table else -1
            self.set_share("list", self.shares["list"] + sign * by * _STEP)

    def action_even(self) -> None:
        """Give the panes the sizes they had at first."""
        self.shares = dict(SHARES)
        for selector in ("#trace-pane", "#source-pane", "#inspector"):
            pane = self.main.query_one(selector)
            for rule in ("height", "width", "max_width"):
                pane.styles.clear_rule(rule)

    def on_splitter_moved(self, message: Splitter.Moved) -> None:
        """Move a border between panes to where it was dragged."""
        if message.splitter.vertical:
            whole = self.main.query_one("#main").region
            self.set_share("inspector", round(100 * (whole.right - message.at - 1) / max(1, whole.width)))
        else:
            whole = self.main.query_one("#left").region
            self.set_share("list", round(100 * (whole.bottom - message.at - 1) / max(1, whole.height)))
