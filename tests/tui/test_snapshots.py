"""The whole screen, cell by cell, as it was when somebody last looked at it and found it good.

A snapshot is text, so that a diff shows what has changed: the screen's lines, then for each cell a letter
of the style it is drawn with, then what the letters mean. (An SVG of Textual's would differ with each of its
versions.) Where one differs the new one and a picture of it are kept beside, NAME.new.txt and NAME.new.svg:
look at the picture, then have them taken over with

    KTCPDUMP_SNAPSHOTS=take pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import itertools
import os
import string
from pathlib import Path

import pytest

from ktcpdump_tui.tui.banner import Banner
from ktcpdump_tui.tui.palette import CONTRAST, DARK, LIGHT

HERE = Path(__file__).with_name("snapshots")
LETTERS = string.ascii_letters + string.digits + "".join(map(chr, range(0xC0, 0x250)))

#: What a newcomer sees; what is looked at most; everything at once.
SCREENS = {
    "80x24": ((80, 24), ("j",) * 11),
    "120x40": ((120, 40), ("3", "7", *("j",) * 19)),
    "200x60": ((200, 60), ("d", "2", "3", "4", *("j",) * 20)),
}
TAKEN = [
    *((name, theme) for name in ("80x24", "120x40", "200x60") for theme in (DARK, LIGHT)),
    ("120x40", CONTRAST),
]


def snapshot(driver) -> str:
    """Return the screen as text and styles."""
    legend: dict[str, str] = {}
    texts, styles = [], []
    for strip in driver.app.screen._compositor.render_strips():
        line, marks = "", ""
        for text, style, _ in strip:
            name = plain(style)
            letter = legend.setdefault(name, LETTERS[len(legend)])
            line += text
            marks += letter * len(text)
        texts.append(line.rstrip())
        styles.append(marks)
    return "\n".join([*texts, "", *styles, "", *(f"{letter} {name}" for name, letter in legend.items()), ""])


def plain(style) -> str:
    """Return colours and attributes of a style, without links and other hidden things."""
    if style is None:
        return ""
    attributes = [name for name in ("bold", "dim", "italic", "underline", "reverse") if getattr(style, name)]
    ground = style.bgcolor.name if style.bgcolor else "default"
    return " ".join([*attributes, style.color.name if style.color else "default", "on", ground])


async def drawn(debugger, recorded, name, theme) -> tuple[str, str]:
    """Return the snapshot, and the same as SVG."""
    size, keys = SCREENS[name]
    async with debugger(recorded, size=size, theme=theme) as driver:
        await driver.press(*keys)
        notice = driver.app.main.query_one(Banner).message
        assert not notice, "a notice leaves after some seconds: use no keys that make one"
        return snapshot(driver), driver.app.export_screenshot()


@pytest.mark.parametrize(("name", "theme"), TAKEN)
async def test_the_screen_is_as_it_was(debugger, recorded, name, theme):
    file = HERE / f"{name}-{theme.removeprefix('ktcpdump-')}.txt"
    new, picture = file.with_suffix(".new.txt"), file.with_suffix(".new.svg")
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    now, svg = await drawn(debugger, recorded, name, theme)
    if os.environ.get("KTCPDUMP_SNAPSHOTS") == "take":
        file.write_text(now, encoding="utf-8")
        new.unlink(missing_ok=True)
        picture.unlink(missing_ok=True)
        return
    if now != before:
        new.write_text(now, encoding="utf-8")
        picture.write_text(svg, encoding="utf-8")
        pairs = itertools.zip_longest(before.splitlines(), now.splitlines(), fillvalue="")
        differing = [f"- {old}\n+ {new}" for old, new in pairs if old != new]
        pytest.fail(f"{file.name} has changed; look at {picture}\n" + "\n".join(differing[:12]))
