"""The application: what the keys and the commands do."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui import bindings, commands
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.compare_app import CompareApp
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.drop_app import DropApp
from ktcpdump_tui.tui.field_tree import FieldTree
from ktcpdump_tui.tui.find_app import FILTER, SEARCHES, FindApp
from ktcpdump_tui.tui.inspector import NAMES, Inspector
from ktcpdump_tui.tui.kept_app import KeptApp
from ktcpdump_tui.tui.live_app import LiveApp
from ktcpdump_tui.tui.palette import DARK, LIGHT
from ktcpdump_tui.tui.probing import of_line
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.source_view import SourceView
from ktcpdump_tui.tui.trace_list import TraceList

#: What our keys do; of that, what is done whatever is on the screen.
_ACTIONS = frozenset(binding.action.partition("(")[0] for binding in bindings.BINDINGS) | {"digit"}
_EVERYWHERE = frozenset(("interrupt", "app.focus_next", "app.focus_previous"))

#: Seconds in which keys of one command follow one another (vim's timeoutlen).
_SEQUENCE = 1.0


class DebuggerApp(FindApp, KeptApp, DropApp, CompareApp, LiveApp):
    """The application with its keys and commands."""

    BINDINGS: ClassVar[list[BindingType]] = list(bindings.BINDINGS)
    _counted_at = 0.0

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action may be done now: our keys are letters while one types."""
        if action in _EVERYWHERE or action not in _ACTIONS:
            return super().check_action(action, parameters)
        return len(self.screen_stack) == 1 and not isinstance(self.focused, Input)

    # Moving

    def action_neighbour(self, by: int) -> None:
        """Go to a neighbouring event of the list; after a count, that many events on."""
        no = self.navigator.rows.neighbour(self.navigator.current, by * (self.take_count() or 1))
        if no is not None:
            self.go(no)

    def action_edge(self, last: bool) -> None:
        """Go to the first or the last event; the last one of a live capture is followed.

        After a count go to that event, as vim's 12G and 12gg go to line 12: the second g is passed over.
        """
        rows, now = self.navigator.rows, time.monotonic()
        if count := self.take_count():
            self._counted_at = now
            self.go(count)
        elif rows.events and (last or now - self._counted_at > _SEQUENCE):
            self.go(rows.number(rows.events - 1 if last else 0), follow=last and self.live)

    def action_follow(self) -> None:
        """Pause or follow."""
        if not self.live:
            self.notice("nothing is being captured: there is nothing to follow")
        elif self.navigator.follow:
            self.navigator.stop_following()
        else:
            self.navigator.follow = True
            if self.navigator.newest:
                self.go(self.navigator.newest, follow=True)
        self.show_status()

    def action_packet(self, by: int) -> None:
        """Go to the first event of the next packet, or of the one before, that has events."""
        no = self.navigator.current
        current = int(self.trace.heads(no, no)[0]["packet"]) if no else 0
        found = self.trace.packet_after(current, reverse=by < 0)
        if found is not None:
            packet, first = found
            if self.navigator.rows.only_packet is not None:
                self.navigator.rows.show_only(packet)
            self.go(max(first, self.trace.first_no))
            return
        self.notice("there is no further packet")

    def action_only_packet(self) -> None:
        """List only the current packet's events, or all."""
        navigator = self.navigator
        if navigator.rows.only_packet is not None:
            navigator.rows.show_only(None)
        elif navigator.current:
            packet = int(self.trace.heads(navigator.current, navigator.current)[0]["packet"])
            navigator.rows.show_only(packet)
        if navigator.current:
            self.go(navigator.current, follow=navigator.follow)

    def action_frame(self, by: int) -> None:
        """Show a caller in the inline chain, or what it called."""
        instruction = self.instruction()
        if instruction is None:
            return
        level = self.navigator.level + by
        if not 0 <= level < max(1, len(instruction.inlined_by)):
            self.notice(
                "the outermost function of the chain" if by > 0 else "the innermost function of the chain"
            )
            return
        self.navigator.level = level
        self.show_source()

    # Filtering

    def filtered(self) -> None:
        """Show what the filter found since; go to the nearest listed event where the current one is not."""
        if not self.shown:
            return
        rows, navigator = self.navigator.rows, self.navigator
        if navigator.follow and navigator.newest:
            self.go(navigator.newest, follow=True)
        elif rows.events and rows.neighbour(navigator.current, 0) != navigator.current:
            self.go(rows.neighbour(navigator.current, 0) or rows.number(0))
        else:
            self._table.grow()
            self.show_list()
        self.show_status()

    # Searching

    def ask_command(self, text: str) -> None:
        """Ask for the rest of a command."""
        self.main.query_one(Prompt).ask(":", text)

    def action_watch(self) -> None:
        """Ask for a watch expression."""
        self.main.query_one(Prompt).ask(":", "display ")

    def action_last_write(self) -> None:
        """Ask whose last write to go to."""
        self.main.query_one(Prompt).ask(":", "last ")

    async def entered(self, kind: str, text: str) -> None:
        """Do what was entered at the prompt."""
        if kind in SEARCHES:
            self.search(kind, text)
            return
        try:
            if kind == FILTER:
                self.apply_filter(text)
                return
            command = commands.parse(text)
            if command is None:
                self.action_repeat()
            else:
                from ktcpdump_tui.tui import command_runner

                await command_runner.run(self, command)
        except UserError as error:
            self.main.query_one(Banner).show_error(str(error))

    # Panes

    def action_disassembly(self) -> None:
        """Show or hide the instructions."""
        self.main.query_one(SourcePane).toggle_class("disassembly")
        self.call_after_refresh(self.show_source)

    def action_inspector(self) -> None:
        """Show or hide the inspector."""
        compact = self.main.has_class("compact")
        self.main.toggle_class("inspecting" if compact else "closed")
        self.call_after_refresh(self._arranged)

    def _arranged(self) -> None:
        """Fill what became visible; the keyboard goes where something is."""
        inspector, table = self.main.query_one(Inspector), self.main.query_one(TraceList)
        self.ask_inspector()
        if inspector.display and not self.main.query_one("#trace-pane").display:
            inspector.choose(inspector.shown[0])
        elif not inspector.display and (self.focused is None or inspector in self.focused.ancestors):
            self.main.set_focus(table)

    def action_section(self, number: int) -> None:
        """Show a section of the inspector."""
        inspector, name = self.main.query_one(Inspector), NAMES[number - 1]
        if inspector.display:
            # Nothing looks different by it now: only in a terminal that gets small.
            self.main.add_class("inspecting", update=False)
            inspector.choose(name)
            return
        self.main.add_class("inspecting")
        self.main.remove_class("closed")
        self.call_after_refresh(inspector.choose, name)

    def action_zoom(self) -> None:
        """Show the focused pane alone, or all."""
        zoomed = [name for name in self.main.classes if name.startswith("zoom-")]
        if zoomed:
            self.main.remove_class(*zoomed)
        elif isinstance(self.focused, FieldTree):
            self.main.add_class("zoom-inspector")
        else:
            self.main.add_class("zoom-trace" if isinstance(self.focused, TraceList) else "zoom-source")

    def action_theme(self) -> None:
        """Dark or light."""
        self.use_theme(DARK if self.theme != DARK else LIGHT)

    def use_theme(self, name: str) -> None:
        """Draw with another theme's colours."""
        if self.no_color:
            self.notice("NO_COLOR is set, and themes are colours: start again with env -u NO_COLOR")
        else:
            self.theme = name

    def action_log(self) -> None:
        """Show what was written on standard error."""
        from ktcpdump_tui.tui.log_screen import LogScreen

        if self.stderr_log is not None:
            self.push_screen(LogScreen(self.stderr_log))

    def action_help(self) -> None:
        """Show all keys and commands."""
        from ktcpdump_tui.tui.help_screen import HelpScreen

        sections = [(title, "", list(group)) for title, group in self.groups]
        for kind, title in (
            (TraceList, "Trace list"), (SourceView, "Source"), (DisassemblyView, "Instructions"),
            (FieldTree, "Inspector"),
        ):  # fmt: skip
            own = [binding for cls in kind.__mro__ for binding in cls.__dict__.get("BINDINGS", ())]
            split = [
                one
                for binding in own
                if isinstance(binding, Binding)
                for one in Binding.make_bindings([binding])
            ]
            sections.append((title, kind.HELP, split))
        self.push_screen(HelpScreen(sections))

    def action_dismiss_banner(self) -> None:
        """Take the message away; then a zoomed pane back."""
        banner = self.main.query_one(Banner)
        if self.give_up():
            return
        if banner.message:
            banner.dismiss()
        elif self.verdict.display:
            self.verdict.dismiss()
        elif any(name.startswith("zoom-") for name in self.main.classes):
            self.action_zoom()

    async def action_quit(self) -> None:
        """End; who started the capture stops it when the screen is gone, and prints its counts."""
        self.leave()

    async def action_interrupt(self) -> None:
        """End, whatever is on the screen."""
        await self.action_quit()

    # Messages of the panes

    def on_trace_list_moved(self, message: TraceList.Moved) -> None:
        """Go where the list's cursor is."""
        self.go(message.no, follow=message.follow and self.live)

    def on_trace_list_scrolled_up(self) -> None:
        """Stop following: the list was scrolled up."""
        self.navigator.stop_following()
        self.show_status()

    def on_source_view_run_to(self, message: SourceView.RunTo) -> None:
        """Look into what a line calls, where that can be probed; else go to the next event on the line."""
        if self.look_into(of_line(self.trace.plan, message.file, message.line)):
            return
        found = self.navigator.at_line(message.file, message.line)
        if not found:
            self.notice(f"no instruction of {message.file}:{message.line} is in the plan")
            return
        self.run_to(found, f"no event of {message.file}:{message.line}", wrap=True)

    def on_source_view_breakpoint(self, message: SourceView.Breakpoint) -> None:
        """Set or clear a breakpoint."""
        self.toggle_break(f"{message.file}:{message.line}")

    def on_disassembly_view_run_to(self, message: DisassemblyView.RunTo) -> None:
        """Look into a call, where that can be probed; else go to the next event at the instruction."""
        if self.look_into([self.trace.instruction(message.index)]):
            return
        self.run_to(frozenset((message.index,)), "no event at this instruction", wrap=True)

    def on_inspector_needed(self) -> None:
        """Fill what else of the inspector is visible."""
        self.ask_inspector()

    def on_field_tree_followed(self, message: FieldTree.Followed) -> None:
        """Go to a frame's event, and show its level of the inline chain."""
        self.go(message.no, level=message.level)

    def on_field_tree_removed(self, message: FieldTree.Removed) -> None:
        """Remove a watch expression."""
        if message.tree.id == "section-watch" and message.name in self.watches:
            self.watches.remove(message.name)
            self.ask_inspector()
