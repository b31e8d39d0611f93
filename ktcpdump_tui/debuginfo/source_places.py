"""Places source files are read from: a tree, a tarball (with its cache), debuginfod."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ktcpdump_tui.debuginfo.tarball import Tarball

    Progress = Callable[[str, int, int], None]

#: Unpacked, where a tarball has to be read as a whole: what packets walk through.
_UNPACKED: Final = (
    "net/",
    "include/",
    "kernel/",
    "lib/",
    "arch/x86/",
    "mm/",
    "security/",
    "drivers/net/",
    "Makefile",
)
#: Bytes of cached source files kept on disk; the tarball used longest ago goes first.
_CACHE_BYTES: Final = 1 << 30
_LARGEST: Final = 64 << 20


class Place(Protocol):
    """Somewhere with a kernel's source."""

    @property
    def path(self) -> Path:
        """What it is called."""

    def read(self, name: str) -> bytes | None:
        """Return a file by its path in the kernel tree; None if it is not there."""


class Tree:
    """An unpacked source tree."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """Read a regular file of the tree."""
        file = self.path / name
        try:
            if not file.is_file() or file.stat().st_size > _LARGEST:
                return None
            return file.read_bytes()
        except (NotADirectoryError, PermissionError):
            return None


class Packed:
    """A source tarball. What was read is kept under the XDG cache.

    The key is the tarball's path, size and time of change.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path = path
        self._progress = progress
        self._tarball: Tarball | None = None
        self._names: frozenset[str] | None = None
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"cannot read the source tarball {path}: {error.strerror}") from error
        key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        self._size = status.st_size
        import hashlib

        self._cache = cache_folder() / hashlib.sha256(key.encode()).hexdigest()[:16]

    def read(self, name: str) -> bytes | None:
        """Return a file from the cache or out of the tarball."""
        cached = Tree(self._cache / "files").read(name)
        if cached is not None or self._known_absent(name):
            return cached
        if self._tarball is None:
            from ktcpdump_tui.debuginfo.tarball import Tarball

            self._tarball = Tarball(self.path)
        if self._tarball.indexed:
            data = self._tarball.find(name)
            if data is not None:
                self._store(name, data)
            if data is not None or self._sorted():
                return data
        return self._unpack(name)

    def _known_absent(self, name: str) -> bool:
        """Tell whether an earlier reading of the whole tarball saw no such file."""
        if self._names is None:
            with contextlib.suppress(OSError):
                self._names = frozenset((self._cache / "names").read_text("utf-8").split("\0"))
        return self._names is not None and name not in self._names

    def _store(self, name: str, data: bytes) -> bool:
        """Put one file into the cache, atomically; a cache that cannot be written is no error."""
        file = self._cache / "files" / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(file, data)
            os.utime(self._cache)
        except OSError:
            return False
        return True

    def _sorted(self) -> bool:
        """Tell whether a file that was not found is really not there; asked once per tarball."""
        assert self._tarball is not None
        if (self._cache / "sorted").exists():
            return True
        answer = self._tarball.is_sorted()
        if answer:
            self._store("../sorted", b"")
        return answer

    def _unpack(self, name: str) -> bytes | None:
        """Read the whole tarball once, for ``name`` and all that is likely to be asked for next."""
        assert self._tarball is not None
        folder, slash, _ = name.rpartition("/")
        with _one_process(self._cache):
            again = Tree(self._cache / "files").read(name)
            if again is not None or self._known_absent(name):
                return again
            wanted = (f"{folder}/" if slash else name,)
            # The first time, what will be asked for next as well.
            prefixes = wanted if self._names is not None else (*_UNPACKED, *wanted)
            trim_cache(cache_folder(), _CACHE_BYTES)

            def progress(done: int) -> None:
                self._progress(self.path.name, done, self._size)

            found: bytes | None = None
            names: list[str] = []
            for member, data in self._tarball.extract(lambda each: each.startswith(prefixes), progress):
                names.append(member)
                if member == name:
                    found = data
                if data is not None and ".." not in member.split("/"):
                    self._store(member, data)
            self._names = frozenset(names)
            self._store("../names", "\0".join(names).encode("utf-8", "replace"))
        return found


def open_place(path: Path, progress: Progress) -> Place:
    """Return the place a ``-s`` option names; raises UserError if it is neither tree nor tarball."""
    if path.is_dir():
        return Tree(path)
    if path.is_file() and is_tarball(path):
        return Packed(path, progress)
    what = "is no source tree and no tarball (.tar, .tar.xz, .tar.gz, .tar.bz2, .tar.zst)"
    if not path.exists():
        what = "does not exist"
    raise UserError(f"the source {path} {what}", "give -s a kernel source tree or its tarball")


def is_tarball(path: Path) -> bool:
    """Tell by the name whether a path is a tarball that tarball.py reads."""
    return any(
        path.name.endswith(ending)
        for ending in (".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2", ".tar.zst")
    )


def usual_places(release: str, system: Path, progress: Progress) -> list[Place]:
    """Return the places where distributions put the source of kernel ``release``, below ``system``."""
    version = re.match(r"\d+\.\d+", release)
    if version is None:
        return []
    modules, sources = system / "lib/modules" / release, system / "usr/src"
    found = [modules / "source", sources / f"linux-source-{release}", sources / f"linux-{release}"]
    numbers = re.escape(version[0]) + r"(?:[.\-]\S*)?"
    pattern = re.compile(rf"linux(?:-source)?-{numbers}")
    with contextlib.suppress(OSError):
        found += sorted(path for path in sources.iterdir() if pattern.fullmatch(path.name))
    for folder in [path for path in found if path.is_dir()]:
        # Ubuntu: the tarball lies in a folder of its own name.
        found += sorted(path for path in folder.glob("linux-source-*") if is_tarball(path))
    found += sorted(sources.glob(f"debug/kernel-*{version[0]}*/linux-*"))  # Fedora, RHEL
    found += [modules / "build"]  # headers, and those the build made
    found += sorted(sources.glob(f"linux-headers-{release.rsplit('-', 2)[0]}*"))
    places: list[Place] = []
    seen: set[Path] = set()
    for path in found:
        with contextlib.suppress(OSError, UserError):
            real = path.resolve()
            if real not in seen and (real.is_dir() or is_tarball(real)):
                seen.add(real)
                places.append(open_place(path, progress))
    return places


def debuginfod_source(build_id: str, file: str) -> bytes | None:
    """Ask debuginfod for a source file (debuginfod-find(1)); it caches, and is given half a minute."""
    if not file.startswith("/"):
        return None
    try:
        answer = subprocess.run(
            ["debuginfod-find", "source", build_id, file],
            capture_output=True,
            timeout=30,
            check=False,
            text=True,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    found = Path(answer.stdout.strip())
    return found.read_bytes() if answer.returncode == 0 and found.is_file() else None


def cache_folder() -> Path:
    """Return the folder for source files under the XDG cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ktcpdump-tui" / "source"


def trim_cache(folder: Path, budget: int) -> None:
    """Delete the entries used longest ago until ``folder`` holds at most ``budget`` bytes."""
    with contextlib.suppress(OSError):
        entries = sorted(
            (path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
        )
        sizes = {
            entry: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
            for entry in entries
        }
        for entry in entries[:-1]:
            if sum(sizes.values()) <= budget:
                return
            del sizes[entry]
            shutil.rmtree(entry, ignore_errors=True)


def _write_atomically(file: Path, data: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as temporary:
        try:
            temporary.write(data)
            temporary.flush()
            Path(temporary.name).replace(file)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _one_process(folder: Path) -> Iterator[None]:
    """Let one process at a time unpack; where nothing can be written, each does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
