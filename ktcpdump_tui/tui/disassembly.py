"""The instructions of the function being executed, with what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.model import ProbeState
from ktcpdump_tui.tui.coverage import short_count
from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from rich.style import Style
    from textual import events

    from ktcpdump_tui.model import Instruction


class DisassemblyView(LineView):
    """Instructions: position, offset, hits, state, text; those of the current source line are marked."""

    HELP: ClassVar[str] = (
        "The function's instructions. │ marks those of the source line above; x was refused by the kernel."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "run_to", "Look into what it calls; else its next event", show=False),
    ]

    class RunTo(Message):
        """Go to the next event that executes this instruction."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.instructions: Sequence[Instruction] = ()
        self.current: Instruction | None = None
        self._hits: np.ndarray | None = None
        self._packet_hits: np.ndarray | None = None
        self._unknown = False

    def show(self, instructions: Sequence[Instruction], current: Instruction) -> None:
        """Show a function's instructions, and the one being executed."""
        same, before, top = instructions is self.instructions, self.current, self.scroll_offset.y
        self.instructions, self.current = instructions, current
        widest = max((34 + len(i.text) + (len(i.call or "") + 10) for i in instructions), default=0)
        self.set_lines(len(instructions), widest)
        place = next((n for n, i in enumerate(instructions) if i.index == current.index), 0)
        self.cursor = place
        self.show_line(place, margin=2)
        if not same or before is None or before.source != current.source or self.scroll_offset.y != top:
            self.refresh()
        else:
            self.refresh_only({place, next((n for n, i in enumerate(instructions) if i is before), place)})

    def show_hits(self, hits: np.ndarray, packet_hits: np.ndarray, *, unknown: bool) -> None:
        """Show other counts; ``unknown``: events were lost, so no hits do not mean not executed."""
        self._hits, self._packet_hits, self._unknown = hits, packet_hits, unknown
        self.refresh()

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line."""
        palette, instruction, current = self.palette, self.instructions[y], self.current
        here = current is not None and instruction.index == current.index
        under = palette["current"] if here else palette["text"]
        if y == self.cursor and not here and self.has_focus:
            under = palette["cursor"]
        hits = 0
        if self._hits is not None and instruction.index < len(self._hits):
            hits = int(self._hits[instruction.index])
        if hits:
            glyph, style = "▌", "executed"
        elif instruction.probe is ProbeState.REFUSED:
            glyph, style = "x", "breakpoint"
        elif instruction.probe is ProbeState.LEFT_OUT:
            glyph, style = "·", "not_probed"
        else:
            glyph, style = ("?", "unknown") if self._unknown else ("○", "not_executed")
        same_line = current is not None and current.source is not None and instruction.source is not None
        same_line = same_line and (instruction.source.file, instruction.source.line) == (  # type: ignore[union-attr]
            current.source.file,  # type: ignore[union-attr]
            current.source.line,  # type: ignore[union-attr]
        )
        mnemonic, _, operands = instruction.text.partition(" ")
        parts: list[Part] = [
            ("▶" if here else " ", palette["marker"]),
            ("│" if same_line else " ", palette["accent"]),
            (f"{'+' + str(instruction.offset):>6} ", palette["number"]),
            (f"{short_count(hits) if hits else '':>4} ", palette["hits"]),
            (glyph + " ", palette[style]),
            (f"{mnemonic:<7} ", palette["mnemonic"]),
            (operands.strip(), palette["text"]),
        ]
        if instruction.call:
            parts.append((f"  // CALL {instruction.call}", palette["inline"]))
        if instruction.refusal:
            parts.append((f"  {instruction.refusal}", palette["dim"]))
        return parts, under

    def action_run_to(self) -> None:
        """Ask for the next event at the cursor's instruction."""
        if self.instructions:
            self.post_message(self.RunTo(self.instructions[self.cursor].index))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; twice: run there."""
        line = event.y + self.scroll_offset.y
        if line < self.line_count:
            self.cursor = line
            if event.chain == 2:
                self.action_run_to()
            self.refresh()
