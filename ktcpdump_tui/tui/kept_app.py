"""What outlives a run: settings, keys, profiles (breakpoints, watches, layout), places in traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ktcpdump_tui.config import Place, Profile, Settings
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.tui import keymap
from ktcpdump_tui.tui.bindings import GROUPS
from ktcpdump_tui.tui.columns import ColumnChoice
from ktcpdump_tui.tui.palette import NAMES as THEMES
from ktcpdump_tui.tui.prompt import Prompt
from ktcpdump_tui.tui.source_pane import SourcePane
from ktcpdump_tui.tui.terminal import MOUSE_OFF, MOUSE_ON
from ktcpdump_tui.tui.view_app import SHARES, ViewApp

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from ktcpdump_tui.config import Profiles

#: Entries of the prompt's history that are kept.
_HISTORY: Final = 100

#: Classes that say how the panes are arranged: of all of them (the inspector is not shown), of the source's.
_CLASSES: Final = ("closed", "disassembly")


class KeptApp(ViewApp):
    """A ViewApp that begins where the last one ended.

    ``profiles`` is where that is kept (None: nowhere); ``place`` tells whether the trace is a file that may
    be opened again.
    """

    def __init__(
        self,
        *arguments: Any,
        settings: Settings | None = None,
        profiles: Profiles | None = None,
        place: bool = False,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._panes: tuple[DOMNode, ...] = ()
        self.settings = settings or Settings()
        self.groups, problems = keymap.groups_for(self.settings)
        self.our_bindings = keymap.with_priority(self.groups)
        self._bind()
        self._problems = [*self.settings.problems, *problems]
        if self.settings.theme is not None and not named.get("theme"):
            if self.settings.theme in THEMES:
                if not self.no_color:
                    self.theme = THEMES[self.settings.theme]
            else:
                wrong = f"there is no theme '{self.settings.theme}'; there are {', '.join(THEMES)}"
                self._problems.append(self.settings.wrong("theme", wrong))
        self.mouse = self.settings.mouse
        self.profile = self.settings.profile
        self._profiles, self._place = profiles, place
        self._loaded_profile = Profile()

    def _bind(self) -> None:
        """Take our keys away, and bind them anew."""
        ours = {binding.action for _, group in GROUPS for binding in group}
        kept = self._bindings.key_to_bindings
        for key in list(kept):
            kept[key] = [one for one in kept[key] if one.action not in ours]
            if not kept[key]:
                del kept[key]
        for binding in self.our_bindings:
            kept.setdefault(binding.key, []).append(binding)

    def on_mount(self) -> None:
        """Take up what was left (TraceApp's own on_mount is called as well, before)."""
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        if self._profiles is not None:
            try:
                self._take_up(self._profiles.load(self.profile))
                place = self._profiles.place(Path(self.trace.path)) if self._place else None
                if place is not None:
                    self._return_to(place)
            except UserError as error:
                self._problems.append(str(error))
                self._profiles = None  # what cannot be read is not overwritten
        if self._problems:
            more = len(self._problems) - 1
            self.fail(UserError(self._problems[0] + (f" (and {more} more)" if more else "")))

    def _take_up(self, profile: Profile) -> None:
        self.navigator.stops.restore(profile.breakpoints)
        self.watches += [watch for watch in profile.watches if watch not in self.watches]
        if profile.columns:
            self._table.choice = ColumnChoice.from_words(profile.columns)
        self._arrange(profile)
        history = self.main.query_one(Prompt).history
        history[":"][:0] = profile.commands
        history["&"][:0] = profile.filters
        self._history = history
        self._loaded_profile = self._as_it_is(profile)
        self.show_breakpoints()
        self.ask_inspector()

    def _arrange(self, profile: Profile) -> None:
        """Arrange the panes as the profile has it; what it says nothing of is as at first."""
        wanted, rows = profile.layout, self.navigator.rows
        self._panes = self.main, self.main.query_one(SourcePane)
        if self.shares != SHARES:
            self.action_even()
        for name in SHARES:
            if isinstance(share := wanted.get(name), int):
                self.set_share(name, share)
        for name, pane in zip(_CLASSES, self._panes, strict=True):
            pane.set_class(wanted.get(name) is True, name)
        if rows.nested != (wanted.get("nested") is True):
            self.action_nest()
        if (rows.groups is not None) != (wanted.get("grouped") is True):
            self.action_group()

    def _layout(self) -> dict[str, int | str | bool]:
        """Return what of the layout is not as at first."""
        rows = self.navigator.rows
        ways = {name: pane.has_class(name) for name, pane in zip(_CLASSES, self._panes, strict=False)}
        ways |= {"nested": rows.nested, "grouped": rows.groups is not None}
        sizes = {name: share for name, share in self.shares.items() if share != SHARES[name]}
        return {**sizes, **{name: True for name, is_so in ways.items() if is_so}}

    def _return_to(self, place: Place) -> None:
        self._table.marked |= {no for no in place.marks if self.trace.first_no <= no <= len(self.trace)}
        if place.filter and not self.filter.text:
            self.filter.apply(place.filter)
        if place.only_packet is not None and self.trace.packet_span(place.only_packet) is not None:
            self.navigator.rows.show_only(place.only_packet)
        if self.trace.first_no <= place.no <= len(self.trace):
            self.go(place.no)

    def _as_it_is(self, before: Profile) -> Profile:
        """Return the profile as it would be kept now."""
        words = tuple(self._table.choice.to_words())
        history = getattr(self, "_history", None) or {":": [], "&": []}
        return replace(
            before,
            breakpoints=self.navigator.stops.saved(),
            watches=tuple(self.watches),
            columns=words if words != tuple(ColumnChoice().to_words()) else (),
            commands=tuple(history[":"][-_HISTORY:]),
            filters=tuple(history["&"][-_HISTORY:]),
            layout=self._layout(),
        )

    def on_unmount(self) -> None:
        """Keep what there is to keep."""
        try:
            self.remember()
        except UserError as error:
            self._problems.append(str(error))

    def remember(self) -> None:
        """Keep the profile, and where we are; UserError where that fails."""
        if self._profiles is None:
            return
        before, now = self._loaded_profile, self._as_it_is(self._loaded_profile)
        changed = {
            name: getattr(now, name)
            for name in ("breakpoints", "watches", "columns", "commands", "filters", "layout")
            if getattr(now, name) != getattr(before, name)
        }
        if changed:
            # What another window changed meanwhile stays, where we changed nothing of it.
            self._loaded_profile = self._profiles.update(self.profile, lambda kept: replace(kept, **changed))
        if self._place and self.navigator.current:
            marks, rows = tuple(sorted(self._table.marked)), self.navigator.rows
            self._profiles.leave(
                Path(self.trace.path),
                Place(self.navigator.current, marks, self.filter.text, rows.only_packet),
            )

    def use_profile(self, name: str) -> None:
        """Keep this profile, and go on with another; UserError where that fails."""
        if self._profiles is None:
            raise UsageError("nothing is kept here", "start ktcpdump-tui with --profile NAME")
        profile = self._profiles.load(name)
        self.remember()
        self.profile = name
        self.navigator.stops.delete()
        self.watches.clear()
        self._take_up(profile)
        self.notice(f"profile {name}: {len(profile.breakpoints)} breakpoints, {len(profile.watches)} watches")

    def action_mouse(self) -> None:
        """Leave the mouse to the terminal, for selecting text, or take it back."""
        self.mouse = not self.mouse
        if self._driver is not None:
            self._driver.write(MOUSE_ON if self.mouse else MOUSE_OFF)
            self._driver.flush()
        self.notice(
            "the mouse is ours again"
            if self.mouse
            else "the mouse is the terminal's: select text; M takes it back"
        )
