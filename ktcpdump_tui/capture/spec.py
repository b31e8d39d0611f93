"""SPEC, the language of ``-i``: which instructions of which functions are meant (CLI.md).

``symbol`` · ``symbol+OFFSET`` · ``0xADDRESS`` · ``symbol+*`` · ``symbol:*`` · ``FILE.c:LINE[-LINE]`` ·
globs · ``module:symbol`` · ``FILE.c:symbol``. Parsing knows no kernel; capture/resolve.py looks the names up.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMS: Final = "symbol, symbol+OFFSET, 0xADDRESS, symbol+*, symbol:*, FILE.c:LINE[-LINE]"

_FILE: Final = r"[^\s:,*?\[\]]+\.(?:c|h|S|s)"
_LINES: Final = re.compile(rf"(?P<file>{_FILE}):(?P<first>\d+)(?:-(?P<last>\d+))?")
#: ``name:*`` is every line of a function, never every function of a module.
_PLACE: Final = re.compile(
    r"(?:(?P<file>" + _FILE + r"):|(?P<module>[A-Za-z0-9_]+):(?!\*\Z))?"
    r"(?:(?P<address>0[xX][0-9a-fA-F]+)|(?P<name>[A-Za-z_.*?\[][A-Za-z0-9_.*?\[\]!$-]*?))"
    r"(?P<want>\+\*|:\*|\+(?P<offset>0[xX][0-9a-fA-F]+|\d+))?"
)
_GLOB: Final = re.compile(r"[*?\[]")


class Want(enum.Enum):
    """Which instructions of a function are meant."""

    ENTRY = "entry"
    OFFSET = "offset"
    INSTRUCTIONS = "every instruction"
    LINES = "every line"


@dataclass(frozen=True, slots=True)
class Spec:
    """One SPEC, taken apart. ``text`` is as typed.

    Either ``file`` with ``first_line`` and ``last_line`` names lines, or ``name`` (perhaps a glob) or
    ``address`` names functions; ``module`` (``vmlinux``: the kernel itself) or ``file`` then says which of
    several. ``offset`` is in bytes, for Want.OFFSET.
    """

    text: str
    want: Want
    name: str | None = None
    address: int | None = None
    module: str | None = None
    file: str | None = None
    offset: int = 0
    first_line: int | None = None
    last_line: int | None = None

    @property
    def is_glob(self) -> bool:
        """Whether ``name`` is a pattern."""
        return self.name is not None and bool(_GLOB.search(self.name))


def parse_specs(texts: Iterable[str]) -> list[Spec]:
    """Parse the values of all ``-i`` options; each may be a comma list. Raises UsageError."""
    return [parse_spec(part) for text in texts for part in _split(text)]


def parse_spec(text: str) -> Spec:
    """Parse one SPEC. Raises UsageError that says what is wrong with it."""
    lines = _LINES.fullmatch(text)
    if lines:
        first = int(lines["first"])
        last = int(lines["last"] or first)
        if not 0 < first <= last:
            wrong = "the last line comes before the first" if first else "lines count from 1"
            raise UsageError(f"-i {text}: {wrong}", "as in -i ip_input.c:460-470")
        return Spec(text, Want.LINES, file=lines["file"], first_line=first, last_line=last)
    place = _PLACE.fullmatch(text)
    if place is None:
        raise UsageError(f"-i {text}: {_complaint(text)}", f"SPEC is one of: {_FORMS}")
    want = {None: Want.ENTRY, "+*": Want.INSTRUCTIONS, ":*": Want.LINES}.get(place["want"], Want.OFFSET)
    spec = Spec(
        text,
        want,
        name=place["name"],
        address=int(place["address"], 16) if place["address"] else None,
        module=place["module"],
        file=place["file"],
        offset=int(place["offset"], 0) if place["offset"] else 0,
    )
    if spec.is_glob and want is Want.OFFSET:
        raise UsageError(
            f"-i {text}: one offset cannot fit all functions of a glob", f"try -i '{place['name']}+*'"
        )
    return spec


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"-i {text!r}: an empty SPEC", f"SPEC is one of: {_FORMS}")
    return parts


def _complaint(text: str) -> str:
    if re.search(r"\s", text):
        return "a SPEC has no blanks; join several with commas"
    line = re.fullmatch(r"([^:]+):\d+(-\d+)?", text)
    if line:
        return f"{line[1]!r} is not the name of a C file"
    offset = re.fullmatch(r"[^+]+\+(.*)", text)
    if offset:
        return f"{offset[1]!r} is no offset (decimal, 0x… or *)"
    if text.startswith("-"):
        return "a SPEC does not begin with a dash"
    return "cannot be read"
