"""Fetching debug files from debuginfod servers through its client library (debuginfod_find_debuginfo(3)).

The library keeps what it fetched ($DEBUGINFOD_CACHE_PATH, else $XDG_CACHE_HOME/debuginfod_client), remembers
for ten minutes what no server had, and reads DEBUGINFOD_URLS, DEBUGINFOD_TIMEOUT and so on itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBRARY: Final = "libdebuginfod.so.1"
_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_long, ctypes.c_long)

#: Files up to this many bytes are fetched without asking.
SMALL_FILE: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: the file, or else why there is none, as the end of a sentence."""

    path: Path | None
    reason: str = ""


class Debuginfod:
    """A client of the servers in DEBUGINFOD_URLS.

    ``progress`` is told (bytes so far, bytes in all or None where the server does not say) some ten times a
    second, in the transfer's own thread. ``confirm`` is asked, in the caller's thread, before a file of
    more than ``ask_above`` bytes is fetched, with its size in bytes or None; without it such files are not
    fetched. ``cancelled`` is asked ten times a second whether the transfer is to end: then it raises
    UserError.
    """

    def __init__(
        self,
        confirm: Callable[[int | None], bool] | None = None,
        progress: Callable[[int, int | None], None] | None = None,
        ask_above: int = SMALL_FILE,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._confirm = confirm
        self._progress = progress
        self._ask_above = ask_above
        self._cancelled = cancelled or (lambda: False)

    @staticmethod
    def servers() -> list[str]:
        """Return the servers that would be asked."""
        return os.environ.get("DEBUGINFOD_URLS", "").split()

    def debug_file(self, build_id: str) -> Answer:
        """Return the debug file with ``build_id`` (hexadecimal), from the client's cache or from a server.

        Ctrl-C (KeyboardInterrupt) ends the transfer and goes on to the caller.
        """
        if not self.servers():
            return Answer(None, "debuginfod was not asked (DEBUGINFOD_URLS is not set)")
        try:
            library = _load()
        except OSError:
            return Answer(
                None, f"debuginfod was not asked ({_LIBRARY} is missing: apt-get install libdebuginfod1)"
            )
        transfer = self._transfer(library, build_id, self._ask_above)
        answer = transfer.run()
        if not transfer.too_large:
            return answer
        if self._confirm is None or not self._confirm(transfer.size):
            return Answer(
                None,
                f"debuginfod has it ({_megabytes(transfer.size)}), but it was not to be fetched; "
                f"debuginfod-find debuginfo {build_id} fetches it",
            )
        return self._transfer(library, build_id, None).run()

    def _transfer(self, library: ctypes.CDLL, build_id: str, allowed: int | None) -> _Transfer:
        return _Transfer(library, build_id, self._progress, allowed, self._cancelled)


class _Transfer:
    """One call of the library, in a thread, so that the caller's own stays interruptible."""

    def __init__(
        self,
        library: ctypes.CDLL,
        build_id: str,
        progress: Callable[[int, int | None], None] | None,
        allowed: int | None,
        cancelled: Callable[[], bool],
    ) -> None:
        self._cancelled = cancelled
        self._library = library
        self._build_id = bytes.fromhex(build_id)
        self._progress = progress
        self._allowed = allowed
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._result = -errno.EIO
        self._path: Path | None = None
        self.too_large = False
        self.size: int | None = None

    def run(self) -> Answer:
        thread = threading.Thread(target=self._call, name="debuginfod", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.1)
                if self._cancelled():
                    raise UserError("fetching debug symbols was interrupted")
        except BaseException:
            self._stop.set()
            thread.join(5)
            self._forget_miss()
            raise
        if self.too_large or self._error:
            self._forget_miss()
        if self._error:
            raise self._error
        if self._path:
            return Answer(self._path)
        return Answer(None, _reason(-self._result))

    def _forget_miss(self) -> None:
        """Undo that the library takes a transfer we ended for "no server has it", and remembers it so.

        It does so by an empty file where the debug file would be (seen with elfutils 0.188).
        """
        file = client_cache() / self._build_id.hex() / "debuginfo"
        with contextlib.suppress(OSError):
            if file.stat().st_size == 0:
                file.unlink()

    def _call(self) -> None:
        library = self._library
        client = library.debuginfod_begin()
        if not client:
            self._result = -errno.ENOMEM
            return
        callback = _PROGRESS(self._on_progress)  # kept alive until the call returns
        library.debuginfod_set_progressfn(client, callback)
        path = ctypes.c_char_p()
        try:
            self._result = library.debuginfod_find_debuginfo(
                client, self._build_id, len(self._build_id), ctypes.byref(path)
            )
            if self._result >= 0:
                os.close(self._result)
                if path.value:
                    self._path = Path(os.fsdecode(path.value))
        finally:
            library.debuginfod_end(client)

    def _on_progress(self, _client: int, done: int, size: int) -> int:
        # An exception would be lost in the library: it is kept for the caller. Non-zero ends the transfer.
        try:
            if size > 0:
                self.size = size
            if self._allowed is not None and max(done, size) > self._allowed:
                self.too_large = True
                return 1
            if self._progress and (size > 0 or done > 0):
                self._progress(done, size if size > 0 else None)
        except BaseException as error:
            self._error = error
            return 1
        return int(self._stop.is_set())


def client_cache() -> Path:
    """Return the folder where the library keeps what it fetched (debuginfod_find_debuginfo(3), CACHE)."""
    folder = os.environ.get("DEBUGINFOD_CACHE_PATH")
    if folder:
        return Path(folder)
    old = Path.home() / ".debuginfod_client_cache"
    if old.exists():
        return old
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "debuginfod_client"


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    library.debuginfod_begin.restype = ctypes.c_void_p
    library.debuginfod_end.argtypes = [ctypes.c_void_p]
    library.debuginfod_set_progressfn.argtypes = [ctypes.c_void_p, _PROGRESS]
    library.debuginfod_find_debuginfo.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_char_p),
    ]
    return library


def _reason(error: int) -> str:
    if error == errno.ENOENT:
        return "debuginfod does not have it"
    return f"debuginfod: {os.strerror(error)}"


def _megabytes(size: int | None) -> str:
    return f"{size / 1e6:.0f} MB" if size else "of unknown size"
