"""What is drawn of a frame is what Textual's own compositor would draw of it."""

from __future__ import annotations

import random
import threading
import time

import pytest
from textual._compositor import Compositor
from textual.geometry import Region

from ktcpdump_tui.tui.gate import PATIENCE, Gate
from ktcpdump_tui.tui.painter import Painter


def drawn(update):
    """Return {(y, x): strip} of the pieces an update writes."""
    found = {}
    for y, start, end in update.spans:
        pieces = update.chops[y].items()
        for (x, strip), after in zip(pieces, update.chop_ends[y], strict=False):
            if strip is not None and x < end and after > start:
                found[y, x] = strip
    return found


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_piece_of_a_frame_is_the_one_textual_draws(debugger, recorded, size):
    choose = random.Random(1)
    async with debugger(recorded, size=size) as driver:
        compositor = driver.app.screen._compositor
        assert type(compositor) is Painter
        for key in ("j", "2", "d", "G", "v", ":", "escape", "z", "z"):
            await driver.press(key)
            for _ in range(5):
                regions = set()
                for _ in range(choose.randint(1, 4)):
                    x, y = choose.randrange(size[0]), choose.randrange(size[1])
                    regions.add(Region(x, y, choose.randint(1, size[0]), choose.randint(1, 4)))
                compositor._dirty_regions = set(regions)
                ours = compositor.render_partial_update()
                whole = Region(0, 0, *size)
                compositor._dirty_regions = {region.intersection(whole) for region in regions}
                theirs = Compositor.render_partial_update(compositor)
                assert ours.spans == theirs.spans
                assert drawn(ours) == drawn(theirs)


async def test_a_frame_without_a_change_is_none(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.screen._compositor._dirty_regions = {Region(500, 500, 3, 3)}
        assert driver.app.screen._compositor.render_partial_update() is None


def test_others_wait_for_the_screen_but_not_for_ever():
    gate, order = Gate(), []
    gate.shut()

    def work():
        gate.pass_through()
        order.append("work")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(PATIENCE / 6)
    order.append("drawn")
    gate.open()
    thread.join()
    assert order == ["drawn", "work"]
    gate.shut()
    gate.pass_through()  # nothing is drawn: it goes on all the same
