"""What can be asked for from the screen: probes to add and to remove, and files to keep the trace in."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.keeping import Job, Keeping, job, take_apart
from ktcpdump_tui.tui.probing import Probing, callees, function_at, went_to
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.trace_app import TraceApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ktcpdump_tui.model import Instruction


class LiveApp(TraceApp):
    """A TraceApp that gives orders to the capture it shows."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.probing = Probing(self.control, self.notice, self.fail)
        #: Whether a capture that is kept nowhere is asked for before it is thrown away.
        self.ask_on_quit = True
        self._saved = 0
        self._told_progress = ""
        self._record_error: BaseException | None = None

    def on_mount(self) -> None:
        """Be ready to write files (TraceApp's own on_mount is called as well)."""
        self.keeping = Keeping(self, self.open_reader, self._written, self.fail)
        if self.control is not None:
            self.control.give_way(self.gate.pass_through)

    def on_unmount(self) -> None:
        """End what is being written; nobody waits for the screen any more."""
        self.gate.open()
        self.keeping.close()

    def news(self) -> bool:
        """Return whether there is anything for ``beat`` to do."""
        record_error = self.control.record_error if self.control is not None else None
        asked = self.probing.busy or self.keeping.busy or record_error is not self._record_error
        return asked or self.busy or self._status.changed()

    def beat(self) -> None:
        """Look what is new, and at what was asked for; again soon where a thread is at work."""
        self._tick()
        if self.busy:
            self.ticker.stir()
        self._look()

    def _look(self) -> None:
        if not self.shown:
            return
        self.probing.look()
        progress = self.keeping.progress
        if progress and progress != self._told_progress:
            self.notice(progress)
        self._told_progress = progress
        if self.control is not None and self.control.record_error is not self._record_error:
            self._record_error = self.control.record_error
            if self._record_error is not None:
                self.fail(self._record_error)

    # Keeping it

    def keep(self, verb: str, argument: str, *, force: bool = False) -> None:
        """Carry out ``:record``, ``:save`` or ``:export``."""
        if verb == "record":
            self._record(argument, force=force)
            return
        if self.keeping.busy:
            raise UsageError("a file is being written already", "wait for it, or Esc gives it up")
        only = self.navigator.rows.only_packet
        listed = f"{self.filter.text} packet:{only}" if only is not None else self.filter.text
        ordered = job(
            verb, argument, force=force, shown=self.filter, listed=listed.strip(), watches=tuple(self.watches)
        )
        self.keeping.order(ordered)

    def _record(self, argument: str, *, force: bool) -> None:
        from ktcpdump_tui.trace.saving import check_new

        if self.control is None:
            raise UsageError(
                "this is a recorded trace: there is nothing to record", ":save FILE makes a copy"
            )
        name, rest = take_apart(argument)
        if rest:
            raise UsageError(f"record takes a file and nothing else, not '{rest}'", f":record {name}")
        path = check_new(Path(name), replace_it=force)
        self.control.record(path)
        first = self.trace.first_no
        since = (
            "the first event on"
            if first == 1
            else f"event {first:,} on: those before it are gone (--max-size says how much stays)"
        )
        self.notice(f"recording into {path}, from {since}")

    def _written(self, done: Job, count: int) -> None:
        if done.verb == "save" and done.what == "events":
            self._saved = count
        if self.shown:
            self.notice(f"{count:,} {done.what} written to {done.path}")

    def give_up(self) -> bool:
        """Give up what is being written; False where nothing is."""
        if not self.keeping.busy:
            return False
        self.keeping.cancel()
        return True

    def leave(self) -> None:
        """End, after asking where a capture would be thrown away."""
        from ktcpdump_tui.tui.quit_screen import QuitScreen

        if not self._would_lose() or isinstance(self.screen, QuitScreen):
            self.exit(0)
            return

        def answered(answer: str | None) -> None:
            if answer == "quit":
                self.exit(0)
            elif answer == "record":
                self.main.query_one(Prompt).ask(":", "record ")

        self.push_screen(QuitScreen(len(self.trace)), answered)

    def _would_lose(self) -> bool:
        """Tell whether there are events that are in no file but the temporary one."""
        if self.control is None or not self.ask_on_quit or self.control.kept is not None:
            return False
        return len(self.trace) > self._saved

    # Probes

    def action_probe(self, verb: str, what: str) -> None:
        """Add or remove the probes of the line or the function under the cursor."""
        spec = self._spec_here(verb, what)
        if spec is None:
            self.notice("no function of the trace has this line: :probe SPEC names one")
            return
        self.order_probes(verb, spec)

    def order_probes(self, verb: str, spec: str) -> None:
        """Ask the capture for a change of its probes, and say what comes of it."""
        try:
            self.probing.order(verb, spec)
        except UserError as error:
            self.fail(error)

    def _spec_here(self, verb: str, what: str) -> str | None:
        """Return the SPEC of what the cursor is on, in the pane that has the keyboard; None for no code."""
        pane = self.main.query_one(SourcePane)
        if isinstance(self.focused, DisassemblyView) and pane.disassembly.instructions:
            instruction = pane.disassembly.instructions[pane.disassembly.cursor]
            symbol, line = instruction.symbol, instruction.ksym
        elif self.focused is pane.view and pane.view.document.file:
            file, number = pane.view.document.file, pane.view.cursor + 1
            found = function_at(self.trace.plan, file, number)
            if found is None and what == "function":
                return None
            symbol, line = found or "", f"{file}:{number}"
        else:
            here = self.instruction()
            if here is None:
                return None
            symbol = here.symbol
            line = f"{here.source.file}:{here.source.line}" if here.source else here.ksym
        if what == "line":
            return line
        whole = symbol.partition(".cold")[0]
        # what was probed of it by line, by instruction or by its entry: all of it goes
        return f"{whole}+*" if verb == "unprobe" else f"{whole}:*"

    def look_into(self, calls: Iterable[Instruction]) -> bool:
        """Offer to probe what instructions call; False where they call nothing, or nothing can be probed."""
        if not self.probing.possible:
            return False
        from ktcpdump_tui.trace.values import TraceValues
        from ktcpdump_tui.tui.callee_screen import CalleeScreen

        called = partial(went_to, self.trace, TraceValues(self.trace))
        names = callees(self.trace.plan, calls, called)
        if not names:
            return False

        def chosen(spec: str | None) -> None:
            if spec is not None:
                self.order_probes("probe", spec)

        self.push_screen(CalleeScreen(names), chosen)
        return True
