"""The user's settings: ``$XDG_CONFIG_HOME/ktcpdump-tui/config.toml``. A wrong entry is named and passed over.

style = "gdb"         # or "vim": ? searches backwards, n and N repeat a search, e and E are next and back
theme = "dark"        # a name that :theme takes
mouse = true          # false leaves the mouse to the terminal (selecting text)
ask-on-quit = true    # whether a capture that was not kept is asked for
profile = "default"   # breakpoints, watches and layout are kept under this name

[keys]                # names of the help screen; a key as Textual writes it, or several
step = "f7"
reverse-step = ["shift+f7", "S"]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from ktcpdump_tui.config.files import config_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Style = Literal["gdb", "vim"]
STYLES: Final[tuple[Style, ...]] = ("gdb", "vim")

#: What a profile may be called: its name is a file's.
PROFILE_NAME: Final = re.compile(r"\w[\w.-]{0,63}")

_NAME: Final = "config.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, with what is true where nothing is set.

    ``keys``: {what a key does, by its name on the help screen: keys}. ``problems``: a sentence for each entry
    that is wrong, naming file and line; such an entry has no effect. ``path`` and ``lines`` tell where the
    entries are, for those who can judge them better than this module.
    """

    style: Style = "gdb"
    theme: str | None = None
    mouse: bool = True
    ask_on_quit: bool = True
    profile: str = "default"
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    path: Path = field(default_factory=lambda: config_folder() / _NAME)
    lines: Mapping[str, int] = field(default_factory=dict)

    def wrong(self, entry: str, what: str) -> str:
        """Return the sentence that says what is wrong with ``entry`` (a key of [keys] as ``keys.NAME``)."""
        line = self.lines.get(entry, 0)
        return f"{self.path}:{line}: {what}" if line else f"{self.path}: {what}"


def load_settings(path: Path | None = None) -> Settings:
    """Return the settings in ``path`` (the user's own by default); never fails: see ``Settings.problems``."""
    path = path or config_folder() / _NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings(path=path)
    except OSError as error:
        return Settings(path=path, problems=(f"{path} cannot be read: {error.strerror}",))
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return Settings(path=path, problems=(f"{path}:{line}: this is not UTF-8",))
    import tomllib  # most have no such file

    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Settings(path=path, problems=(_syntax(path, text, str(error)),))
    return _Reader(path, text).settings(content)


def _syntax(path: Path, text: str, message: str) -> str:
    """Return tomllib's message with the line in front: it has "(at line 3, column 7)" behind."""
    found = re.search(r"\s*\(at (?:line (\d+), column \d+|end of document)\)", message)
    line = int(found[1]) if found and found[1] else text.count("\n") + 1
    return f"{path}:{line}: {message[: found.start()] if found else message}"


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = dict(_entries(text))
        self._problems: list[str] = []
        self._found: dict[str, Any] = {}

    def settings(self, content: Mapping[str, object]) -> Settings:
        known: dict[str, tuple[str, Callable[[object], bool]]] = {
            "style": ('"gdb" or "vim"', lambda value: value in STYLES),
            "theme": ("the name of a theme in quotes", lambda value: isinstance(value, str)),
            "mouse": ("true or false", lambda value: isinstance(value, bool)),
            "ask-on-quit": ("true or false", lambda value: isinstance(value, bool)),
            "profile": (
                "a name of letters, digits, '-', '_' and '.'",
                lambda value: isinstance(value, str) and PROFILE_NAME.fullmatch(value) is not None,
            ),
        }
        for name, value in content.items():
            if name == "keys":
                self._keys(value)
            elif name not in known:
                self._wrong(name, f"there is no setting '{name}'; there are {', '.join([*known, '[keys]'])}")
            elif not known[name][1](value):
                self._wrong(name, f"{name} must be {known[name][0]}")
            else:
                self._found[name.replace("-", "_")] = value
        names = {one.name for one in fields(Settings)}
        assert set(self._found) <= names
        return Settings(
            **self._found, problems=tuple(self._problems), path=self._path, lines=dict(self._lines)
        )

    def _keys(self, table: object) -> None:
        if not isinstance(table, dict):
            self._wrong("keys", "keys must be a table: [keys] on a line of its own")
            return
        keys: dict[str, tuple[str, ...]] = {}
        for name, value in table.items():
            wanted = value if isinstance(value, list) else [value]
            if all(isinstance(key, str) and key for key in wanted):
                keys[name] = tuple(cast("list[str]", wanted))
            else:
                self._wrong(f"keys.{name}", f'keys of {name} must be like "f7" or ["f7", "S"]')
        self._found["keys"] = keys

    def _wrong(self, entry: str, what: str) -> None:
        line = self._lines.get(entry, 0)
        self._problems.append(f"{self._path}:{line}: {what}" if line else f"{self._path}: {what}")


def _entries(text: str) -> list[tuple[str, int]]:
    """Return (``name`` or ``table.name``, line) of each entry; tomllib does not tell where they were."""
    table, found = "", []
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            table = match[1] + "."
            found.append((match[1], number))
        elif match := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
            found.append((table + match[1], number))
    return found
