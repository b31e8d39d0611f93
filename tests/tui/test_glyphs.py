"""Terminals that do not have all characters: the Linux console, and those of a locale without UTF-8."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from ktcpdump_tui.tui import glyphs
from ktcpdump_tui.tui.glyphs import ASCII, CONSOLE, AsciiDriver, ConsoleDriver, driver_for

TUI = Path(glyphs.__file__).parent
#: What code page 437 has beyond ASCII, as far as it is used here.
CP437 = "".join(bytes([n]).decode("cp437") for n in range(128, 256)) + "►•♦└┘┌┐←→↑↓≠"


@pytest.mark.parametrize(
    ("environment", "driver"),
    [
        ({"TERM": "xterm-256color", "LANG": "en_GB.UTF-8"}, None),
        ({"TERM": "xterm-256color", "LC_ALL": "C"}, None),
        ({"TERM": "linux", "LANG": "C.utf8"}, ConsoleDriver),
        ({"TERM": "xterm", "LANG": "de_DE.UTF-8", "LC_CTYPE": "de_DE.ISO-8859-15@euro"}, AsciiDriver),
        ({}, None),
    ],
)
def test_the_driver_is_that_of_the_terminal(environment, driver):
    assert driver_for(environment) is driver


def test_every_character_we_draw_has_a_stand_in_of_one_cell():
    drawn = set(re.findall(r"[^\x00-\x7f]", "".join(file.read_text() for file in TUI.glob("*.py"))))
    for char in drawn - set(CP437):
        assert char.translate(ASCII).isascii(), char
        assert char.translate(CONSOLE) != char, f"the console lacks {char}"
    for table in (ASCII, CONSOLE):
        assert all(cell_len(chr(stand_in)) == 1 for stand_in in table.values())
