"""The few questions the lab has for apt, and its downloads; apt itself checks every signature and hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

#: Children must not outlive this program, and must not speak another language than the one parsed here.
PREFIX = ("setpriv", "--pdeathsig", "KILL", "--", "env", "LC_ALL=C.UTF-8")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package as apt's lists describe it; sizes in bytes."""

    name: str
    version: str
    architecture: str
    size: int
    installed_size: int
    sha256: str
    depends: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """What ``apt-get download`` calls the file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class Children:
    """The programs started for one fetch, so that all can be ended when one fails or the user stops it."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(
        self, command: Iterable[str | Path], cwd: Path, on_status: Callable[[str], None] | None = None
    ) -> tuple[int, str]:
        """Run ``command``; return its exit status and stderr. Lines of stdout go to ``on_status``."""
        with self._lock:
            if self._stopped:
                return -1, "stopped"
            child = subprocess.Popen(
                [*PREFIX, *command],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._running.add(child)
        errors: list[str] = []
        output, messages = child.stdout, child.stderr
        assert output and messages
        reader = threading.Thread(target=lambda: errors.append(messages.read()), name="lab-apt-stderr")
        reader.start()
        for line in output:
            if on_status:
                on_status(line.rstrip("\n"))
        status = child.wait()
        reader.join()
        with self._lock:
            self._running.discard(child)
        return status, "".join(errors)

    def stop(self) -> None:
        """End what runs and start nothing more."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.kill()


def is_intact(package: Package, file: Path) -> bool:
    """Whether ``file`` is there and has the hash that apt's signed lists give."""
    try:
        if file.stat().st_size != package.size:
            return False
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


class Apt:
    """apt with this machine's package sources, or with others (``options``: see apt.conf(5))."""

    def __init__(self, children: Children, options: Iterable[str] = ()) -> None:
        self.children = children
        self._options = [word for option in options for word in ("-o", option)]

    def _query(self, *arguments: str) -> str:
        """Return what apt-cache prints; it exits with 100 where it knows nothing, which is an answer too."""
        command = [*PREFIX, "apt-cache", *self._options, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def names(self, prefix: str) -> list[str]:
        """Return the names of all packages that apt can install and that begin with ``prefix``."""
        return self._query("pkgnames", prefix).split()

    def show(self, specifications: Iterable[str]) -> dict[str, Package]:
        """Return the packages for each ``NAME`` (candidate version) or ``NAME=VERSION``, by name.

        Those that apt cannot fetch are absent.
        """
        found: dict[str, Package] = {}
        for stanza in self._query("show", "--no-all-versions", *specifications).split("\n\n"):
            fields: dict[str, str] = {}
            for line in stanza.splitlines():
                key, separator, value = line.partition(":")
                if separator and not line.startswith(" "):
                    fields[key] = value.strip()
            # A package installed by hand and gone from the lists has no hash: it cannot be fetched.
            if "SHA256" in fields and fields["Package"] not in found:
                found[fields["Package"]] = Package(
                    fields["Package"],
                    fields["Version"],
                    fields["Architecture"],
                    int(fields["Size"]),
                    int(fields.get("Installed-Size", "0")) * 1024,
                    fields["SHA256"],
                    tuple(item.split()[0] for item in fields.get("Depends", "").split(",") if item.strip()),
                )
        return found

    def download(self, package: Package, folder: Path, on_percent: Callable[[float], None]) -> Path:
        """Fetch ``package`` into ``folder`` unless it is there intact, and return the file.

        ``on_percent`` hears how far it is. UserError if apt cannot fetch it.
        """
        file = folder / package.file_name
        if is_intact(package, file):
            on_percent(100.0)
            return file
        file.unlink(missing_ok=True)

        def read_status(line: str) -> None:
            # "dlstatus:1:14.3219:Retrieving file 1 of 1" (apt's README.progress-reporting)
            if line.startswith("dlstatus:"):
                on_percent(float(line.split(":")[2]))

        command = ["apt-get", *self._options, "-qq", "-o", "APT::Status-Fd=1", "download"]
        command.append(f"{package.name}={package.version}")
        status, errors = self.children.run(command, folder, read_status)
        if status or not is_intact(package, file):
            detail = first_error(errors) or f"apt-get exited with {status}"
            message = f"apt could not download {package.name} {package.version}: {detail.rstrip(' .')}."
            raise UserError(message, update_command())
        return file

    def update(self, folder: Path) -> None:
        """Renew the lists. UserError with apt's reason if that fails."""
        status, errors = self.children.run(["apt-get", *self._options, "-qq", "update"], folder)
        if status:
            detail = first_error(errors) or f"it exited with {status}"
            raise UserError(f"apt-get update failed: {detail.rstrip(' .')}.", update_command())


def first_error(errors: str) -> str:
    """Return the first error of what apt said on stderr, else its first line."""
    lines = errors.splitlines()
    return next((line for line in lines if line.startswith("E:")), lines[0] if lines else "").removeprefix(
        "E: "
    )


def update_command() -> str:
    """Return the command that renews apt's lists."""
    return "apt-get update" if os.geteuid() == 0 else "sudo apt-get update"


def unpack(file: Path, target: Path, children: Children) -> None:
    """Unpack the files of a .deb below ``target``, without its scripts. UserError if that fails."""
    status, errors = children.run(["dpkg-deb", "--extract", file, target], target)
    if status:
        detail = next(iter(errors.splitlines()), f"dpkg-deb exited with {status}")
        free = shutil.disk_usage(target).free
        raise UserError(f"Unpacking {file.name} failed: {detail} ({free >> 20} MB are free there).")
