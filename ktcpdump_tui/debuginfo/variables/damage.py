"""The one error of this package's readers; ``debuginfo.errors.reading`` makes a sentence of it."""

from __future__ import annotations


class BadDwarfError(ValueError):
    """The debug information contradicts itself, ends too early, or uses what DWARF 5 does not define."""
