"""What a running capture can be asked for from the screen: probes to add and to remove."""

from __future__ import annotations

from typing import Any, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.tui.callee_screen import CalleeScreen
from ktcpdump_tui.tui.disassembly import DisassemblyView
from ktcpdump_tui.tui.probing import Probing, callees, function_at
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.trace_app import TraceApp

#: Seconds between looks at what was asked for.
_LOOK: Final = 0.1


class LiveApp(TraceApp):
    """A TraceApp that gives orders to the capture it shows."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.probing = Probing(self.control, self.notice, self.fail)

    def on_mount(self) -> None:
        """Look at what was asked for, now and then (TraceApp's own on_mount is called as well)."""
        self.set_interval(_LOOK, self._look)

    def _look(self) -> None:
        if self.shown:
            self.probing.look()

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

    def look_into(self, file: str, line: int) -> bool:
        """Offer to probe what a source line calls; False where it calls nothing, or nothing can be probed."""
        if not self.probing.possible:
            return False
        names = callees(self.trace.plan, file, line)
        if not names:
            return False

        def chosen(spec: str | None) -> None:
            if spec is not None:
                self.order_probes("probe", spec)

        self.push_screen(CalleeScreen(names), chosen)
        return True
