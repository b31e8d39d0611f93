"""Profiles: what a user set up, by name; and where each trace was left.

A profile is ``$XDG_CONFIG_HOME/ktcpdump-tui/profiles/NAME.json``; places are in
``$XDG_STATE_HOME/ktcpdump-tui/places.json``. Several processes may read and change them at the same time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping  # noqa: TC003 (read by get_type_hints)
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

from ktcpdump_tui.config import files
from ktcpdump_tui.config.settings import PROFILE_NAME
from ktcpdump_tui.errors import UsageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Record = TypeVar("Record", bound="SavedBreakpoint | Place")

#: Traces whose places are remembered; the ones opened longest ago are forgotten.
_PLACES: Final = 500


@dataclass(frozen=True, slots=True)
class SavedBreakpoint:
    """A breakpoint: ``location`` as trace.breakpoints takes it, and how often it is still passed over."""

    location: str
    condition: str = ""
    enabled: bool = True
    ignore: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """What is kept under a name.

    ``columns``: keys of the list's columns in their order; ``widths``: {key: cells}; ``layout``: whatever the
    screen wants to find again (numbers, words, truth values by name); ``filters``: newest last.
    """

    breakpoints: tuple[SavedBreakpoint, ...] = ()
    watches: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    layout: Mapping[str, int | str | bool] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trace was left: event ``no``, the marked events, what was listed."""

    no: int
    marks: tuple[int, ...] = ()
    filter: str = ""
    only_packet: int | None = None


class Profiles:
    """Reads and changes profiles and places. UserError where a file cannot be read or written."""

    def __init__(self, config: Path | None = None, state: Path | None = None) -> None:
        self._config = (config or files.config_folder()) / "profiles"
        self._places = (state or files.state_folder()) / "places.json"

    def names(self) -> list[str]:
        """Return the names of the profiles there are."""
        return sorted(path.stem for path in self._config.glob("*.json"))

    def load(self, name: str) -> Profile:
        """Return a profile; an empty one where there is none of that name."""
        return _profile(_read(self._path(name)), self._path(name))

    def update(self, name: str, change: Callable[[Profile], Profile]) -> Profile:
        """Change a profile as it is now, whoever wrote it last; return what was written."""
        path = self._path(name)
        with files.locked(path):
            changed = change(_profile(_read(path), path))
            files.replace(path, json.dumps(asdict(changed), indent=1) + "\n")
        return changed

    def place(self, trace: Path) -> Place | None:
        """Return where ``trace`` was left; None where it was not seen, or is another file by now."""
        kept = _read(self._places).get(str(trace.resolve()))
        if not isinstance(kept, dict) or kept.get("identity") != _identity(trace):
            return None
        return _record(Place, kept.get("place"), self._places)

    def leave(self, trace: Path, place: Place) -> None:
        """Remember where ``trace`` is left."""
        identity = _identity(trace)
        if identity is None:
            return
        with files.locked(self._places):
            places = _read(self._places)
            name = str(trace.resolve())
            places.pop(name, None)
            places[name] = {"identity": identity, "place": asdict(place)}
            for old in list(places)[:-_PLACES]:
                del places[old]
            files.replace(self._places, json.dumps(places) + "\n")

    def _path(self, name: str) -> Path:
        if not PROFILE_NAME.fullmatch(name):
            raise UsageError(f"'{name}' is no name for a profile", "use letters, digits, '-', '_' and '.'")
        return self._config / f"{name}.json"


def _identity(trace: Path) -> list[int] | None:
    """Return what tells a file from another one of the same name; None where there is no file."""
    try:
        found = trace.stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", f"chmod u+r {path}") from error
    except ValueError as error:
        raise _damaged(path, re.sub(r"\s*\(char \d+\)", "", str(error))) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it holds no object")
    return content


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}", f"mv {path} {path}{os.extsep}old")


def _profile(content: dict[str, Any], path: Path) -> Profile:
    if not isinstance(content.get("breakpoints", []), list):
        raise _damaged(path, "breakpoints is no list")
    breakpoints = tuple(_record(SavedBreakpoint, one, path) for one in content.get("breakpoints", []))
    return _made(Profile, {**content, "breakpoints": breakpoints}, path)


def _record(kind: type[Record], content: object, path: Path) -> Record:
    if not isinstance(content, dict):
        raise _damaged(path, f"a {kind.__name__} is no object")
    return _made(kind, content, path)


Made = TypeVar("Made")


def _made(kind: type[Made], content: Mapping[str, Any], path: Path) -> Made:
    """Make a record of what was read; what a later version added is passed over."""
    hints, values = get_type_hints(kind), {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name not in content:
            continue
        value, wanted = content[one.name], str(hints[one.name])
        if isinstance(value, list):
            value = tuple(value)
        if not _fits(value, wanted):
            raise _damaged(path, f"{one.name} is {json.dumps(content[one.name], default=str)}")
        values[one.name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise _damaged(path, f"a {kind.__name__} lacks something") from error


def _fits(value: object, wanted: str) -> bool:
    """Tell whether a value read from JSON has the type of a record's field, as that is written."""
    item = {"str": str, "int": int}
    if "tuple" in wanted:
        inner = next((item[name] for name in item if f"tuple[{name}," in wanted), object)
        return isinstance(value, tuple) and all(isinstance(one, inner) for one in value)
    if "Mapping" in wanted:
        return isinstance(value, dict) and all(isinstance(one, int | str) for one in value.values())
    if "None" in wanted:
        return value is None or (isinstance(value, int) and not isinstance(value, bool))
    kinds: dict[str, type] = {"<class 'bool'>": bool, "<class 'int'>": int, "<class 'str'>": str}
    return isinstance(value, kinds[wanted]) and (wanted != "<class 'int'>" or not isinstance(value, bool))
