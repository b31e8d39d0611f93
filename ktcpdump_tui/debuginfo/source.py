"""The kernel's source text: where it may be on this machine, and which file a line table means.

A line table names files as the build saw them: ``debian/build/build_amd64_none_cloud-amd64/net/core/dev.c``,
``/build/linux-vCyKs5/linux-6.8.0/net/core/dev.c``. The compilation directory is different everywhere, so
the longest tail of the name that exists in a source tree is taken.
"""

from __future__ import annotations

import os
import posixpath
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.source_package import source_package
from ktcpdump_tui.debuginfo.source_places import Place, Tree, debuginfod_source, open_place, usual_places
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Told (what is being read, bytes done, bytes in all) while a large file is unpacked.
    Progress = Callable[[str, int, int], None]

_VERSION: Final = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d+)", re.MULTILINE)
_RELEASE: Final = re.compile(r"^(\d+)\.(\d+)(?:\.(\d+))?")
#: Nothing in a kernel's source is larger; a name in a foreign trace may be of anything.
_LARGEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class SourceText:
    """A source file's text.

    ``file`` is the name as asked for, ``name`` its path in the source tree, ``origin`` where the text comes
    from, ``lines`` have no line ends (line N is ``lines[N - 1]``). ``doubt`` says why lines may be off: the
    source is of another version than the kernel; None where nothing speaks against it.
    """

    file: str
    name: str
    origin: str
    lines: tuple[str, ...]
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A source file that is nowhere: ``tried`` says where it was looked for, ``remedy`` how to get it."""

    file: str
    tried: tuple[str, ...]
    remedy: str

    @property
    def message(self) -> str:
        """One sentence."""
        return f"no source for {self.file} (looked in {', '.join(self.tried) or 'no place at all'})"


class SourceFinder:
    """Finds source files; remembers what it found. Safe to use from several threads.

    ``places`` are what ``-s`` names: source trees, tarballs, or ``FROM=TO`` (gdb's ``set substitute-path``).
    They are searched first; then ``embedded``, what a trace carries; then the places where distributions put
    the source of kernel ``release``; then
    debuginfod's source service for ``build_id`` where DEBUGINFOD_URLS is set. ``folder`` is the compilation
    directory, where it is known; ``builds`` are (build-id, folder) of further debug files, the modules'.
    Raises UserError for a place that does not exist.
    """

    def __init__(
        self,
        places: Sequence[str | Path] = (),
        *,
        release: str = "",
        build_id: str | None = None,
        folder: str | None = None,
        builds: Sequence[tuple[str | None, str | None]] = (),
        progress: Progress | None = None,
        embedded: Callable[[str], bytes | None] | None = None,
        system: Path = Path("/"),
    ) -> None:
        self._release = release
        self._builds = list(dict.fromkeys(((build_id, folder), *builds)))
        self._folders = list(dict.fromkeys(name for _, name in self._builds if name))
        self._substitutions: list[tuple[str, str]] = []
        self._places: list[Place] = []
        self._lock = threading.Lock()
        self._found: dict[str, SourceText | Missing] = {}
        self._doubts: dict[str, str | None] = {}
        self._embedded = embedded
        report = progress or _unreported
        for place in places:
            text = str(place)
            before, equals, after = text.partition("=")
            if equals and not Path(text).expanduser().exists():
                self._substitutions.append((before.rstrip("/"), after.rstrip("/")))
            else:
                self._places.append(open_place(Path(text).expanduser(), report))
        self._own = len(self._places)
        self._places += usual_places(release, system, report)

    def known(self, file: str) -> SourceText | Missing | None:
        """Return what an earlier ``find`` found, without waiting; None if nobody asked yet."""
        return self._found.get(file)

    def find(self, file: str) -> SourceText | Missing:
        """Return the text of ``file``, a name as in a line table.

        Takes milliseconds from a tree, up to half a second from a tarball with an index, and as long as
        unpacking takes (many seconds, once per machine) from one without: call it in a thread.
        """
        if (found := self._found.get(file)) is not None:
            return found
        with self._lock:
            if file not in self._found:
                self._found[file] = self._search(file)
            return self._found[file]

    def _search(self, file: str) -> SourceText | Missing:
        tried: list[str] = []
        if text := self._as_recorded(file, tried):
            return text
        folders: list[str | None] = [*self._folders] or [None]
        names = list(dict.fromkeys(name for folder in folders for name in candidate_names(file, folder)))
        for number, place in enumerate([*self._places, None]):
            if number == self._own and self._embedded and (data := self._embedded(file)) is not None:
                return SourceText(file, names[0] if names else file, "the trace", _lines(data))
            if place is None:
                break
            for name in names:
                if (data := place.read(name)) is not None:
                    return self._text(file, name, place, data)
            tried.append(str(place.path))
        if os.environ.get("DEBUGINFOD_URLS"):
            asked = {(one, posixpath.join(folder or "", file)): None for one, folder in self._builds if one}
            for build_id, recorded in asked:
                data = debuginfod_source(build_id, recorded)
                if data is not None:
                    return SourceText(file, names[-1] if names else file, "debuginfod", _lines(data))
            tried += ["debuginfod"] if asked else []
        return Missing(file, tuple(tried), source_package(self._release))

    def _as_recorded(self, file: str, tried: list[str]) -> SourceText | None:
        """Read the file at the very path recorded, after substitution.

        Names are recorded relative to the compilation directory; a FROM may be meant for either.
        """
        for recorded in dict.fromkeys((file, *(posixpath.join(folder, file) for folder in self._folders))):
            name = self._substituted(recorded)
            path = Path(name)
            if not path.is_absolute() and name == recorded:
                continue
            tried.append(name)
            try:
                if path.is_file() and path.stat().st_size <= _LARGEST:
                    return SourceText(file, name, name, _lines(path.read_bytes()))
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror}") from error
        return None

    def _substituted(self, name: str) -> str:
        for before, after in self._substitutions:
            if name == before or name.startswith(before + "/"):
                return after + name[len(before) :]
        return name

    def _text(self, file: str, name: str, place: Place, data: bytes) -> SourceText:
        origin = str(place.path)
        if origin not in self._doubts:
            self._doubts[origin] = self._doubt(place)
        return SourceText(file, name, origin, _lines(data), self._doubts[origin])

    def _doubt(self, place: Place) -> str | None:
        """Compare the version in a tree's Makefile with the release the kernel calls itself."""
        release = _RELEASE.match(self._release)
        makefile = place.read("Makefile") if release else None
        if release is None or makefile is None:
            return None
        numbers = dict(_VERSION.findall(makefile[:4096].decode("utf-8", "replace")))
        if not {"VERSION", "PATCHLEVEL", "SUBLEVEL"} <= numbers.keys():
            return None
        theirs = [numbers["VERSION"], numbers["PATCHLEVEL"], numbers["SUBLEVEL"]]
        ours = [release[1], release[2], release[3] or "0"]
        # Debian's and Red Hat's releases say .0 whatever stable update they contain.
        compared = 2 if ours[2] == "0" else 3
        if ours[:compared] == theirs[:compared]:
            return None
        return f"source is {'.'.join(theirs)}, the kernel {self._release}: lines may be off"


#: Folders at the top of a kernel tree that hold C, assembler or headers.
KERNEL_FOLDERS: Final = (
    "arch", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel",
    "lib", "mm", "net", "rust", "samples", "scripts", "security", "sound", "tools", "usr", "virt",
)  # fmt: skip


def candidate_names(file: str, folder: str | None = None) -> list[str]:
    """Return the paths in a source tree that ``file`` may mean, the likeliest first.

    >>> candidate_names("/build/linux-6.8.0/net/core/dev.c")[:2]
    ['net/core/dev.c', 'build/linux-6.8.0/net/core/dev.c']
    """
    normal = posixpath.normpath(file)
    names: list[str] = []
    if folder:
        root = posixpath.normpath(folder) + "/"
        if normal.startswith(root):
            names.append(normal[len(root) :])
    parts = [part for part in normal.split("/") if part not in ("", ".", "..")]
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    # A kernel file's name begins with one of the kernel's own folders; what goes before is the builder's.
    names += [tail for tail in tails if tail.split("/", 1)[0] in KERNEL_FOLDERS and "/" in tail]
    names += tails
    return list(dict.fromkeys(name for name in names if not name.startswith("..")))


def _unreported(_what: str, _done: int, _total: int) -> None:
    """Report to nobody."""


def _lines(data: bytes) -> tuple[str, ...]:
    """Split as an editor counts lines: at newlines only (form feeds occur in kernel files)."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


__all__ = ["Missing", "SourceFinder", "SourceText", "Tree", "candidate_names"]
