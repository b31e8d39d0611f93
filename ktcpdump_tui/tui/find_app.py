"""Finding: incremental search in the list and in the source, the filter, the palette, going to a place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace.stepping import Stop
from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.goto import goto
from ktcpdump_tui.tui.navigator import searched_parts
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_view import SourceView
from ktcpdump_tui.tui.stepping_app import SteppingApp

if TYPE_CHECKING:
    from ktcpdump_tui.tui.stepper import Arrival, StepOrder

#: The prompts that search: in the direction of time, and against it.
SEARCHES: Final = ("/", "?")
FILTER: Final = "&"


def searched(text: str) -> re.Pattern[str]:
    """Return what finds a regular expression, or the same characters as they are.

    Case counts only where there is a capital letter.
    """
    flags = 0 if any(char.isupper() for char in text) else re.IGNORECASE
    try:
        re.compile(text)
    except re.error:
        return re.compile(re.escape(text), flags)
    return re.compile(f"(?:{text})|{re.escape(text)}", flags)


class FindApp(SteppingApp):
    """A SteppingApp in which things are found."""

    _pattern: re.Pattern[str] | None = None
    _text = ""
    _onwards = True
    _in_source = False
    _search = -1
    _origin: tuple[Stop, int, bool] = (Stop(0), 0, False)

    # The prompt

    def action_prompt(self, kind: str) -> None:
        """Ask for a command, for what to search, or for what to list."""
        view, navigator = self.main.query_one(SourceView), self.navigator
        self._origin = (Stop(navigator.current, navigator.level), view.cursor, navigator.follow)
        if kind in SEARCHES:
            self._in_source = self.focused is view
        self.main.query_one(Prompt).ask(kind, self.filter.text if kind == FILTER else "")

    def typing(self, kind: str, text: str) -> None:
        """Search for what is being typed; say whether a filter is right."""
        prompt = self.main.query_one(Prompt)
        if kind == FILTER:
            try:
                criteria = self.filter.check(text)
            except UserError as error:
                # libpcap says what it could not parse twice over; what is wrong comes last.
                said = error.message.splitlines()[0].removeprefix("Filter expression: ")
                prompt.say(said.removeprefix("can't parse filter expression: "), bad=True)
            else:
                prompt.say("Enter lists what this selects" if criteria else "Enter lists all events")
        elif kind in SEARCHES and text:
            self._take(text)
            self._find(self._origin[0], self._origin[1], forward=kind == "/")

    def left(self, kind: str) -> None:
        """Go back to where the search began: it was given up."""
        if kind not in SEARCHES:
            return
        self.supersede()
        stop, cursor, follow = self._origin
        view = self.main.query_one(SourceView)
        view.find(None)
        if self._in_source:
            view.go_to(cursor)
        elif stop.no and stop.no != self.navigator.current:
            self.go(stop.no, level=stop.up, follow=follow)

    # Searching

    def search(self, kind: str, text: str) -> None:
        """Search from where the prompt was opened; no text searches for the last one again."""
        self._onwards = kind == "/"
        if text:
            self._take(text)
        if self._pattern is None:
            self.notice("nothing was searched for yet: / searches")
        else:
            self._find(self._origin[0], self._origin[1], forward=self._onwards, last=True)

    def action_search(self, forward: bool) -> None:
        """Go to the next match, or the one before, in the direction of the search."""
        if self._pattern is None:
            self.notice("nothing was searched for yet: / searches")
        else:
            cursor = self.main.query_one(SourceView).cursor
            self._find(None, cursor, forward=forward == self._onwards, last=True)

    def _take(self, text: str) -> None:
        """Search for ``text`` from now on."""
        self._pattern, self._text = searched(text), text
        self.main.query_one(Prompt).say("")

    def _find(self, start: Stop | None, cursor: int, *, forward: bool, last: bool = False) -> None:
        """Find in the source from line ``cursor``, or in the list from ``start``; ``last``: complain."""
        assert self._pattern is not None
        if self._in_source:
            self._find_in_source(self._pattern, cursor, forward=forward)
            return
        insns = self.navigator.matching(self._pattern, self.line_text)
        if not insns:
            said = f"nothing in the trace is called {self._text}"
            if last:
                self.main.query_one(Banner).show_error(said)
            else:
                self.main.query_one(Prompt).say("no match", bad=True)
            return
        direction = "later" if forward else "earlier"
        self.supersede()
        self.run_to(insns, f"no {direction} event matches {self._text}", forward=forward, start=start)
        self._search = self._serial

    def _stepped(self, order: StepOrder, arrival: Arrival) -> None:
        super()._stepped(order, arrival)
        if arrival.stop is not None and order.serial == self._search and self.shown:
            self._say_match()

    def _say_match(self) -> None:
        """Say what matches of the event where its row does not show it: a column may lack, or be cut."""
        instruction, table = self.instruction(), self.table
        if instruction is None or self._pattern is None:
            return
        found = [
            (what, text, match[0])
            for what, text in searched_parts(instruction, self.line_text)
            if (match := self._pattern.search(text))
        ]
        row, prompt = table.row_text(table.cursor), self.main.query_one(Prompt)
        if not found or any(matched in row for _, _, matched in found):
            return
        what, text, _ = found[0]
        if prompt.display:
            prompt.say(f"{what}: {text}")
        else:
            self.notice(f"the {what} matches: {text}")

    def _find_in_source(self, pattern: re.Pattern[str], cursor: int, *, forward: bool) -> None:
        view = self.main.query_one(SourceView)
        view.find(pattern)
        lines = view.document.raw
        places = [number for number, line in enumerate(lines) if pattern.search(line)]
        if not places:
            self.notice(f"nothing in {view.document.name or 'the source'} matches {self._text}")
            return
        behind = [number for number in places if (number > cursor if forward else number < cursor)]
        at = (behind or places)[0 if forward else -1]
        if not behind:
            self.notice("search went on at the other end")
        view.go_to(at)

    # The filter

    def apply_filter(self, text: str) -> None:
        """List what ``text`` selects; UserError where it is wrong."""
        self.filter.apply(text)
        self.filtered()
        if self.filter.criteria:
            self.notice("\\ lists all events again")

    def action_clear_filter(self) -> None:
        """List all events again."""
        if not self.filter.criteria:
            self.notice("nothing is filtered: & lists only what a tcpdump expression selects")
        else:
            self.apply_filter("")

    # Places

    def goto(self, text: str) -> None:
        """Go to an event, a time, a function, a line, a loss or a drop; UserError where there is none."""
        found = goto(self.trace, self.navigator, text)
        if isinstance(found, int):
            self.go(found)
        else:
            self.run_to(found, f"no event at {text}", wrap=True)

    def action_palette(self) -> None:
        """Choose from all commands, keys and functions."""
        from textual.command import CommandPalette

        from ktcpdump_tui.tui.palette_providers import PROVIDERS

        self.push_screen(CommandPalette(PROVIDERS, placeholder="a command, a key's action, a function …"))
