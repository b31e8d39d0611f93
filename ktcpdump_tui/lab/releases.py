"""Which release of a kernel version to take: the newest of which apt has the image and all that goes with it.

The machine's own package sources are asked first. Where they lack the version (Debian 13 has no 6.1, Ubuntu
no Debian kernels), Debian 12's are, by apt too but with sources and lists of the lab's own, below its cache
folder: nothing of the system changes, no root is needed, and apt checks Debian's signatures as always.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab.apt import Apt, Children, Package, update_command
from ktcpdump_tui.lab.stock import natural_key, version_of

if TYPE_CHECKING:
    from ktcpdump_tui.lab.progress import Progress

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Below the cache folder: apt's lists of those sources, 120 MB, removed after use.
LISTS = "apt"
#: Debian 12 has both versions that the lab is made for: 6.1 is its kernel, 6.12 is in its security updates.
DEBIAN_CODENAME = "bookworm"
DEBIAN_SOURCES = f"""\
deb [signed-by={KEYRING} arch=amd64] http://deb.debian.org/debian bookworm main
deb [signed-by={KEYRING} arch=amd64] http://deb.debian.org/debian-security bookworm-security main
"""


@dataclass(frozen=True, slots=True)
class Release:
    """A release (``uname -r``), the packages that make it up, largest first, and the apt that has them."""

    name: str
    packages: list[Package]
    source: Apt


def find(version: str, children: Children, folder: Path, progress: Progress | None = None) -> Release:
    """Return the newest release of ``version``. UserError says what there is instead, or what that takes.

    ``folder`` is the lab's cache, for the lists of Debian's own sources.
    """
    own = Apt(children)
    if not own.names("linux-image-") and os.geteuid() == 0:
        if progress:
            progress.say("apt has no package lists yet: apt-get update")
        own.update(folder)
    if found := newest(version, own):
        return found
    known = set(known_versions(own))
    system = platform.freedesktop_os_release()
    name = system.get("PRETTY_NAME", "this system")
    if system.get("VERSION_CODENAME") != DEBIAN_CODENAME:
        if not KEYRING.exists():
            sudo = "" if os.geteuid() == 0 else "sudo "
            raise UserError(
                f"The package sources of {name} have no Debian kernel {version} with its symbols, and without"
                " debian-archive-keyring Debian's signatures cannot be checked.",
                f"{sudo}apt-get install debian-archive-keyring",
            )
        if progress:
            progress.say(f"the package sources of {name} have no kernel {version}: asking Debian 12's")
        debian = debian_apt(children, folder)
        debian.update(folder)
        if found := newest(version, debian):
            return found
        known |= set(known_versions(debian))
    if not known:
        raise UserError(
            f"The package lists of {name} have no cloud kernels, which the lab boots.", update_command()
        )
    if version in known:
        raise UserError(
            f"apt has kernel {version} but not its debug symbols, headers or source of the same version.",
            update_command(),
        )
    offers = ", ".join(f"--lab={item}" for item in sorted(known, key=natural_key))
    raise UserError(
        f"The package sources of {name} have no kernel {version}.", f"Take one they have: {offers}."
    )


def debian_apt(children: Children, folder: Path) -> Apt:
    """Return an apt that knows DEBIAN_SOURCES only, its lists below ``folder``."""
    base = folder / LISTS
    (base / "lists/partial").mkdir(parents=True, exist_ok=True)
    (base / "archives/partial").mkdir(parents=True, exist_ok=True)
    (base / "sources.list").write_text(DEBIAN_SOURCES, encoding="ascii")
    return Apt(
        children,
        [
            f"Dir::Etc::sourcelist={base}/sources.list",
            "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State::lists={base}/lists",
            f"Dir::Cache={base}",
            "Acquire::Languages=none",
        ],
    )


def newest(version: str, source: Apt) -> Release | None:
    """Return the newest release of ``version`` that ``source`` has whole, or None."""
    matching = [release for release in known_releases(source) if version_of(release) == version]
    for release in matching:
        if packages := release_packages(release, source):
            return Release(release, packages, source)
    return None


def known_releases(source: Apt) -> list[str]:
    """Return the releases of the cloud kernels that ``source`` knows, newest first."""
    pattern = re.compile(r"linux-image-(\d+\.\d+\..*cloud-amd64)")
    matches = (pattern.fullmatch(name) for name in source.names("linux-image-"))
    return sorted((match[1] for match in matches if match), key=natural_key, reverse=True)


def known_versions(source: Apt) -> list[str]:
    """Return the versions (``6.12``) of those releases."""
    return [version_of(release) for release in known_releases(source)]


def release_packages(release: str, source: Apt) -> list[Package] | None:
    """Return image, symbols, headers (with what they link to) and source of ``release``, largest first.

    All are of one version, or lines and symbols would not be those of the image; None if one is missing.
    """
    image = source.show([f"linux-image-{release}"])
    if not image:
        return None
    exact = next(iter(image.values())).version
    headers = f"linux-headers-{release}"
    asked = [f"linux-image-{release}-dbg", headers, f"linux-source-{version_of(release)}"]
    found = source.show(f"{name}={exact}" for name in asked)
    if len(found) < len(asked):
        return None
    pattern = re.compile(r"linux-(headers-.*-common|kbuild-.*)")
    links = [name for name in found[headers].depends if pattern.fullmatch(name)]
    linked = source.show(links)
    if len(linked) < len(links):
        return None
    packages = [*image.values(), *found.values(), *linked.values()]
    return sorted(packages, key=lambda package: package.installed_size, reverse=True)
