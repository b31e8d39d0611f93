"""Draws the main screen: of each frame only what changed, where Textual goes through all widgets beside it.

Textual's compositor draws every widget that lies in the rectangle around all changes, containers below
other widgets too, and cuts each of their lines at every widget's edge. A key changes the source's line, the
list's and the status line: that rectangle is the whole screen.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.reactive import Reactive
from textual.screen import Screen

if TYPE_CHECKING:
    from textual.strip import Strip
    from textual.timer import Timer
    from textual.widget import Widget


#: Seconds between two frames at least. Textual's 1/60 is what the answer to a key waits where something else
#: (the rate, a count) was drawn just before.
FRAME: Final = 0.005

#: Rounds of the event loop from a widget that asks to be drawn to the screen that hears of it, and some.
_HOPS: Final = 8


class Painter(Compositor):
    """Gives the same frames as Textual's compositor (tests/tui/test_painter.py), for less work."""

    def render_partial_update(self) -> ChopsUpdate | None:
        """Return what changed since the last frame, None for nothing."""
        screen = self.size.region
        changed = [region for one in self._dirty_regions if (region := one.intersection(screen))]
        self._dirty_regions.clear()
        if not changed:
            return None
        spans = list(self._regions_to_spans(changed))
        chops, missing = self._wanted(spans)
        for widget, (region, clip) in self.visible_widgets.items():
            if not missing:
                break
            area = region.intersection(clip)
            lines = [
                y
                for y in area.line_range
                if y in missing and any(area.x <= cut < area.right for cut in missing[y])
            ]
            if not lines:
                continue
            top, height = lines[0], lines[-1] - lines[0] + 1
            strips = widget.render_lines(Region(area.x - region.x, top - region.y, area.width, height))
            for y in lines:
                self._fill(chops[y], missing, y, area, strips[y - top])
        return ChopsUpdate(chops, spans, [cuts[1:] for cuts in self.cuts])

    def _wanted(
        self, spans: list[tuple[int, int, int]]
    ) -> tuple[list[dict[int, Strip | None]], dict[int, set[int]]]:
        """Return an empty place for each piece of each line, and which of them have to be filled."""
        cuts = self.cuts
        chops: list[dict[int, Strip | None]] = [{} for _ in cuts]
        missing: dict[int, set[int]] = {}
        for y, start, end in spans:
            line = cuts[y]
            if not chops[y]:
                chops[y] = dict.fromkeys(line[:-1])
                missing[y] = set()
            missing[y].update(cut for cut, after in itertools.pairwise(line) if cut < end and after > start)
        return chops, missing

    def _fill(
        self,
        chops: dict[int, Strip | None],
        missing: dict[int, set[int]],
        y: int,
        area: Region,
        strip: Strip,
    ) -> None:
        """Put a widget's line into the places that nothing in front of it has taken."""
        cuts = [cut for cut in self.cuts[y] if area.x <= cut <= area.right]
        wanted = missing[y]
        for cut, piece in zip(cuts, strip.divide([cut - area.x for cut in cuts[1:]]), strict=False):
            if cut in wanted:
                chops[cut] = piece
                wanted.discard(cut)
        if not wanted:
            del missing[y]


class MainScreen(Screen[Any]):
    """The screen with the panes."""

    #: As in Textual, but what has the keyboard does not have all panes drawn anew: they draw what it changes.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__(id="_default")
        self._compositor = Painter()
        self._frames: Timer | None = None

    @property
    def _update_timer(self) -> Timer:
        """The timer that draws; it is stopped while there is nothing to draw."""
        if self._frames is None:
            self._frames = self.set_interval(FRAME, self._draw, name="frames", pause=True)
        return self._frames

    async def _draw(self) -> None:
        """Draw when all that is to be drawn is known: a key's widgets tell the screen one after another."""
        for _ in range(_HOPS):
            await asyncio.sleep(0)
        self._on_timer_update()
