"""Where settings and profiles are, and how a file is changed: wholly or not at all, by one process at a time.

The folders are those of the XDG Base Directory Specification 0.8: ``$XDG_CONFIG_HOME`` (``~/.config``) and
``$XDG_STATE_HOME`` (``~/.local/state``); a relative path in a variable is not valid there and is passed over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = "ktcpdump-tui"


def config_folder() -> Path:
    """Return the folder of the settings and profiles; it may not exist."""
    return _base("XDG_CONFIG_HOME", ".config") / FOLDER


def state_folder() -> Path:
    """Return the folder of what is remembered by itself; it may not exist."""
    return _base("XDG_STATE_HOME", ".local/state") / FOLDER


def _base(variable: str, below_home: str) -> Path:
    given = Path(os.environ.get(variable, ""))
    return given if given.is_absolute() else Path.home() / below_home


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing ``path`` meanwhile. UserError where its folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The lock is a file of its own: the file itself is replaced, and a lock on it would be left behind.
        descriptor = os.open(
            path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise not_written(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one. UserError where that fails."""
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            temporary = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise not_written(path, error) from error


def not_written(path: Path, error: OSError) -> UserError:
    """Return the error that says why a file cannot be written."""
    return UserError(f"{path} cannot be written: {error.strerror}", f"make {path.parent} writable")
