"""The instructions of the function being executed, with what is known of each, also below their lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from ktcpdump_tui.model import Flow, ProbeState
from ktcpdump_tui.tui.coverage import short_count
from ktcpdump_tui.tui.line_view import LineView, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from rich.style import Style
    from textual import events

    from ktcpdump_tui.model import Instruction, SourceLine
    from ktcpdump_tui.trace.jumps import Ways
    from ktcpdump_tui.tui.rows import Texts


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source line above its instructions; ``names_file`` where the one above is of another file."""

    source: SourceLine
    names_file: bool


class DisassemblyView(LineView):
    """Instructions: position, offset, hits, state, text; those of the current source line are marked.

    With ``mixed`` each run of instructions stands below its source line, in the order of their addresses, as
    gdb's ``disassemble /s`` has it.
    """

    HELP: ClassVar[str] = (
        "The function's instructions. │ marks those of the source line above; x was refused by the kernel;"
        " ↳ a jump says whether it was taken, by the packet looked at."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "run_to", "Look into what it calls; else its next event", show=False),
    ]

    class RunTo(Message):
        """Go to the next event that executes this instruction."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, texts: Texts, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.instructions: Sequence[Instruction] = ()
        self.current: Instruction | None = None
        self.mixed = False
        self._texts = texts
        self._rows: list[Instruction | SourceRow] = []
        self._hits: np.ndarray | None = None
        self._packet_hits: np.ndarray | None = None
        self._unknown = False
        self._jumps: Mapping[int, Ways] = {}
        self._taken: tuple[int, bool | None] = (-1, None)

    def show(self, instructions: Sequence[Instruction], current: Instruction) -> None:
        """Show a function's instructions, and the one being executed."""
        same, before, top = instructions is self.instructions, self.current, self.scroll_offset.y
        beside = self._beside() if same else []
        self.instructions, self.current = instructions, current
        if not same:
            self._lay_out()
        place = self._row_of(current)
        left = {self.cursor, self._row_of(before) if same and before is not None else place}
        self.cursor = place
        self.show_line(place, margin=2)
        if not same or self.scroll_offset.y != top:
            self.refresh()
        else:
            rows = enumerate(zip(beside, self._beside(), strict=True), top)
            self.refresh_only({place, *left, *(y for y, (old, new) in rows if old != new)})

    def _beside(self) -> list[bool]:
        """Tell of each visible row whether it is an instruction of the current one's source line."""
        rows = self._rows[self.scroll_offset.y : self.scroll_offset.y + self.page_lines]
        return [not isinstance(row, SourceRow) and self._is_beside(row) for row in rows]

    def _is_beside(self, instruction: Instruction) -> bool:
        source = self.current.source if self.current is not None else None
        own = instruction.source
        return source is not None and own is not None and (own.file, own.line) == (source.file, source.line)

    def mix(self, wanted: bool) -> None:
        """Put source lines between the instructions, or not."""
        self.mixed = wanted
        self._lay_out()
        if self.current is not None:
            self.cursor = self._row_of(self.current)
            self.show_line(self.cursor, centre=True)
        self.refresh()

    def _lay_out(self) -> None:
        self._rows = list(self._mix(self.instructions)) if self.mixed else list(self.instructions)
        widest = max((44 + len(i.text) + (len(i.call or "") + 10) for i in self.instructions), default=0)
        self.set_lines(len(self._rows), widest)

    @staticmethod
    def _mix(instructions: Iterable[Instruction]) -> Iterable[Instruction | SourceRow]:
        before: SourceLine | None = None
        for instruction in instructions:
            source = instruction.source
            if source is not None and source.line:
                other = before is None or before.file != source.file
                if before is None or other or before.line != source.line:
                    yield SourceRow(source, other)
                before = source
            yield instruction

    def _row_of(self, wanted: Instruction) -> int:
        rows = enumerate(self._rows)
        return next((n for n, row in rows if not isinstance(row, SourceRow) and row.index == wanted.index), 0)

    def show_hits(self, hits: np.ndarray, packet_hits: np.ndarray, *, unknown: bool) -> None:
        """Show other counts; ``unknown``: events were lost, so no hits do not mean not executed."""
        lines = range(self.scroll_offset.y, min(self.scroll_offset.y + self.page_lines, len(self._rows)))
        before = [self._counted(y) for y in lines]
        self._hits, self._packet_hits, self._unknown = hits, packet_hits, unknown
        self.refresh_only([y for y, drawn in zip(lines, before, strict=True) if self._counted(y) != drawn])

    def _counted(self, y: int) -> object:
        """Return what is drawn of a line's counts."""
        row = self._rows[y]
        if isinstance(row, SourceRow):
            return None
        hits, ours = self._count(self._hits, row), self._count(self._packet_hits, row)
        return short_count(hits), short_count(ours), self._state(row, hits)

    def show_jumps(self, jumps: Mapping[int, Ways]) -> None:
        """Show which ways the function's conditional jumps went (by index in the plan)."""
        if jumps != self._jumps:
            self._jumps = jumps
            self.refresh()

    def show_taken(self, index: int, taken: bool | None) -> None:
        """Show whether the jump at the current event, instruction ``index``, is taken."""
        self._taken = (index, taken)
        if self.current is not None:
            self.refresh_only({self._row_of(self.current)})

    def parts(self, y: int) -> tuple[Iterable[Part], Style]:
        """Make one line."""
        palette, row, current = self.palette, self._rows[y], self.current
        if isinstance(row, SourceRow):
            under = palette["cursor"] if y == self.cursor and self.has_focus else palette["text"]
            return self._source(row), under
        here = current is not None and row.index == current.index
        under = palette["current"] if here else palette["text"]
        if y == self.cursor and not here and self.has_focus:
            under = palette["cursor"]
        return self._instruction(row, here=here), under

    def _source(self, row: SourceRow) -> list[Part]:
        palette, source = self.palette, row.source
        text = self._texts.line(source.file, source.line)
        parts: list[Part] = [("  ", palette["text"]), (f"{source.line:>6}  ", palette["heading"])]
        parts.append((text, palette["function"]))
        if row.names_file or not text:
            parts.append((f"  {source.file}", palette["file"]))
        return parts

    def _instruction(self, instruction: Instruction, *, here: bool) -> list[Part]:
        palette = self.palette
        hits, ours = self._count(self._hits, instruction), self._count(self._packet_hits, instruction)
        glyph, style = self._state(instruction, hits)
        mnemonic, _, operands = instruction.text.partition(" ")
        parts: list[Part] = [
            ("▶" if here else " ", palette["marker"]),
            ("│" if self._is_beside(instruction) else " ", palette["accent"]),
            (f"{'+' + str(instruction.offset):>6} ", palette["number"]),
            (f"{short_count(ours) if ours else '':>4} ", palette["accent"]),
            (f"{short_count(hits) if hits else '':>4} ", palette["hits"]),
            (glyph + " ", palette[style]),
            (f"{mnemonic:<7} ", palette["mnemonic"]),
            (operands.strip(), palette["text"]),
        ]
        if instruction.call:
            parts.append((f"  // CALL {instruction.call}", palette["inline"]))
        if (way := self._way(instruction, here=here)) is not None:
            parts.append((f"  ↳ {way}", palette["changed" if here else "accent"]))
        if instruction.refusal:
            parts.append((f"  {instruction.refusal}", palette["dim"]))
        return parts

    @staticmethod
    def _count(hits: np.ndarray | None, instruction: Instruction) -> int:
        return int(hits[instruction.index]) if hits is not None and instruction.index < len(hits) else 0

    def _state(self, instruction: Instruction, hits: int) -> tuple[str, str]:
        if hits:
            return "▌", "executed"
        if instruction.probe is ProbeState.REFUSED:
            return "x", "breakpoint"
        if instruction.probe is ProbeState.LEFT_OUT:
            return "·", "not_probed"
        return ("?", "unknown") if self._unknown else ("○", "not_executed")

    def _way(self, instruction: Instruction, *, here: bool) -> str | None:
        """Say which way a conditional jump went, None where that cannot be told."""
        if instruction.flow is not Flow.BRANCH:
            return None
        if here and self._taken[0] == instruction.index and self._taken[1] is not None:
            return "taken" if self._taken[1] else "not taken"
        ways = self._jumps.get(instruction.index)
        if ways is None:
            return None
        if ways.taken and ways.not_taken:
            return f"taken {short_count(ways.taken)}, not taken {short_count(ways.not_taken)}"
        return "taken" if ways.taken else "not taken"

    def copied(self) -> str:
        """Return the instruction, or the source line, under the cursor."""
        if not self._rows:
            return ""
        row = self._rows[self.cursor]
        if isinstance(row, SourceRow):
            return self._texts.line(row.source.file, row.source.line)
        return f"{row.ksym}: {row.text}"

    def action_run_to(self) -> None:
        """Ask for the next event at the cursor's instruction."""
        if self._rows and not isinstance(row := self._rows[self.cursor], SourceRow):
            self.post_message(self.RunTo(row.index))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; twice: run there."""
        line = event.y + self.scroll_offset.y
        if line < self.line_count:
            self.cursor = line
            if event.chain == 2:
                self.action_run_to()
            self.refresh()
