"""A stock Debian kernel as it lies in the cache folder: where its parts are, and whether it is whole."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ktcpdump_tui.errors import UserError

#: The versions the lab is made and tested for; the first is the default.
VERSIONS = ("6.12", "6.1")
MANIFEST = "manifest.json"
#: Raised when what is unpacked, or how, changes: an older folder is then made anew.
LAYOUT = 1


def cache_folder() -> Path:
    """Return the lab's folder under the XDG cache (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ktcpdump-tui" / "lab"


def natural_key(text: str) -> tuple[int, ...]:
    """Order releases by their numbers: 6.1.0-9 before 6.1.0-56."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def version_of(release: str) -> str:
    """Return major and minor version of a release: ``6.12`` of ``6.12.117+deb12-cloud-amd64``."""
    return ".".join(release.split(".")[:2])


@dataclass(frozen=True, slots=True)
class StockKernel:
    """One release (``uname -r``) unpacked under ``root``, laid out as on a Debian machine."""

    release: str
    root: Path

    @property
    def version(self) -> str:
        """Major and minor version, ``6.12``."""
        return version_of(self.release)

    @property
    def image(self) -> Path:
        """The bootable bzImage."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def vmlinux(self) -> Path:
        """The ELF file with debug symbols."""
        return self.root / "usr/lib/debug/boot" / f"vmlinux-{self.release}"

    @property
    def modules(self) -> Path:
        """The folder of loadable modules."""
        return self.root / "lib/modules" / self.release

    @property
    def module_symbols(self) -> Path:
        """The folder of the modules' debug files."""
        return self.root / "usr/lib/debug/lib/modules" / self.release

    @property
    def source_tarball(self) -> Path:
        """Debian's linux-source: the patched tree this kernel was built from, as .tar.xz."""
        return self.root / "usr/src" / f"linux-source-{self.version}.tar.xz"

    @property
    def header_trees(self) -> list[Path]:
        """The linux-headers trees; BCC's build link leads to the one named after the release."""
        return sorted((self.root / "usr/src").glob("linux-headers-*"))

    @property
    def kbuild_trees(self) -> list[Path]:
        """The linux-kbuild trees that the headers link to."""
        return sorted((self.root / "usr/lib").glob("linux-kbuild-*"))


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` (of one release) was unpacked to the end."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("layout") == LAYOUT


def write_manifest(folder: Path, release: str, packages: dict[str, str]) -> None:
    """Mark ``folder`` complete; ``packages`` maps each unpacked package to its version. Atomic."""
    partial = folder / f"{MANIFEST}.{os.getpid()}"
    content = {"layout": LAYOUT, "release": release, "packages": packages}
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)


def cached_kernels() -> list[StockKernel]:
    """Return the complete kernels of the cache folder, newest first."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if is_complete(entry)]
    found.sort(key=lambda entry: natural_key(entry.name), reverse=True)
    return [StockKernel(entry.name, entry / "root") for entry in found]


def cached_kernel(version: str) -> StockKernel | None:
    """Return the newest complete kernel of ``version`` (``6.1`` does not mean ``6.12``), or None."""
    return next((kernel for kernel in cached_kernels() if kernel.version == version), None)


def check_version(version: str) -> str:
    """Return ``version`` if it looks like ``6.12``; UserError else."""
    if not re.fullmatch(r"\d+\.\d+", version):
        raise UserError(
            f"{version!r} is not a kernel version for the lab.",
            f"Give a major and minor version, such as --lab={VERSIONS[0]} or --lab={VERSIONS[-1]}.",
            status=2,
        )
    return version
