"""Finding the debug files of a kernel and of its modules. Build-ids are compared always."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.debug_packages import debug_package
from ktcpdump_tui.debuginfo.debuglink import has_debug_info, linked_file
from ktcpdump_tui.debuginfo.errors import reading
from ktcpdump_tui.debuginfo.image import stripped
from ktcpdump_tui.debuginfo.sections import ElfFile
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ktcpdump_tui.debuginfo.debuginfod import Debuginfod

_SUFFIXES: Final = ("", ".debug", ".xz", ".zst", ".gz")


@dataclass
class DebugFiles:
    """The debug files of one kernel, found as gdb, elfutils and the distributions lay them out.

    ``build_id`` (hexadecimal) is the running kernel's, None where it is unknown; ``root`` is the folder that
    stands for / . ``tried`` says of each file that was looked at why it does not serve.
    """

    release: str
    build_id: str | None
    debuginfod: Debuginfod | None = None
    root: Path = Path("/")
    tried: list[str] = field(default_factory=list)
    _vmlinux: Path | None = None

    def vmlinux(self, explicit: Path | None = None) -> Path:
        """Return the vmlinux with debug symbols: ``explicit`` (-d) if given, else the first that fits.

        Raises UserError where ``explicit`` is missing, no vmlinux, stripped or of another build, and where
        nothing is found: then with what was looked at and the command that installs it.
        """
        self._vmlinux = self._explicit(explicit) if explicit else self._search()
        return self._vmlinux

    def module(self, name: str, build_id: str | None, fetch: bool = True) -> Path | None:
        """Return the debug file of module ``name``, None where there is none (``tried`` says why).

        ``build_id`` is that of the loaded module (/sys/module/NAME/notes/.note.gnu.build-id). Without
        ``fetch`` only this machine is searched.
        """
        for path in self._module_places(name, build_id):
            found = self._usable(path, build_id)
            if found:
                return found
        return self._fetched(build_id) if fetch else None

    def _explicit(self, path: Path) -> Path:
        if not path.exists():
            raise UserError(
                f"the debug image {path} does not exist", "see which there are: ls /usr/lib/debug/boot /boot"
            )
        elf = ElfFile.open(path)
        try:
            with reading(path, "its section table"):
                found = elf.build_id
                if self.build_id and found != self.build_id:
                    raise UserError(
                        f"{path} is of another build than the kernel ({self.release}): its build-id is "
                        f"{found or 'missing'}, the kernel's is {self.build_id}",
                        f"give the vmlinux of this very build: {debug_package(self.release)}",
                    )
                if has_debug_info(elf):
                    return path
                linked = linked_file(elf, self._debug)
                if linked is None:
                    raise stripped(elf)
                return linked
        finally:
            elf.close()

    def _search(self) -> Path:
        self.tried.clear()
        for path in self._kernel_places():
            found = self._usable(path, self.build_id)
            if found:
                return found
        fetched = self._fetched(self.build_id)
        if fetched:
            return fetched
        reasons = "".join(f"\n    {reason}" for reason in self.tried)
        raise UserError(
            f"no debug symbols for kernel {self.release} (build-id {self.build_id or 'unknown'}) were found"
            + (f":{reasons}" if reasons else f" in {self._debug}, /boot or /lib/modules"),
            f"{debug_package(self.release)}, or use --lab",
        )

    @property
    def _debug(self) -> Path:
        return self.root / "usr/lib/debug"

    def _by_build_id(self, build_id: str | None) -> Iterator[Path]:
        if build_id and len(build_id) > 2:
            yield self._debug / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"

    def _kernel_places(self) -> Iterator[Path]:
        release = self.release
        yield from self._by_build_id(self.build_id)
        yield self._debug / "boot" / f"vmlinux-{release}"  # Debian, Ubuntu
        yield self._debug / "lib/modules" / release / "vmlinux"  # Fedora
        yield self._debug / "usr/lib/modules" / release / "vmlinux"
        yield self._debug / "boot" / f"vmlinux-{release}.debug"  # openSUSE
        yield self._debug / "usr/lib/modules" / release / "vmlinux.debug"
        yield self._debug / f"vmlinux-{release}"
        yield self.root / "boot" / f"vmlinux-{release}"
        yield self.root / "lib/modules" / release / "build/vmlinux"
        yield self.root / "lib/modules" / release / "vmlinux"
        yield self.root / "usr/src" / f"linux-{release}" / "vmlinux"

    def _module_places(self, name: str, build_id: str | None) -> Iterator[Path]:
        yield from self._by_build_id(build_id)
        names = {name, name.replace("_", "-")}
        for folder in self._module_folders():
            for relative in self._module_paths(folder, names):
                for suffix in _SUFFIXES:
                    path = folder / (str(relative) + suffix)
                    if path.is_file():
                        yield path

    def _module_folders(self) -> Iterator[Path]:
        """Yield folders laid out as /lib/modules/REL, those that belong to the vmlinux in use first."""
        if self._vmlinux:
            parent = self._vmlinux.resolve().parent
            if parent.name == "boot":
                yield parent.parent / "lib/modules" / self.release
            yield parent
        yield self._debug / "lib/modules" / self.release
        yield self._debug / "usr/lib/modules" / self.release
        yield self.root / "lib/modules" / self.release

    def _module_paths(self, folder: Path, names: set[str]) -> Iterator[Path]:
        """Yield where in ``folder`` the module may be, without a compression's suffix.

        modules.dep and modules.order list the modules of an installed kernel and of a build tree.
        """
        seen = False
        for base in (folder, self.root / "lib/modules" / self.release):
            for list_name, separator in (("modules.dep", ":"), ("modules.order", "\n")):
                for line in _lines(base / list_name):
                    path = Path(line.split(separator)[0].strip())
                    if path.name.split(".")[0] in names:
                        seen = True
                        yield path.with_name(path.name.split(".")[0] + ".ko")
        if not seen and folder.is_dir() and folder.name == self.release:
            for path in sorted(folder.rglob("*.ko*")):
                if path.name.split(".")[0] in names:
                    yield path.relative_to(folder).with_name(path.name.split(".")[0] + ".ko")

    def _usable(self, path: Path, build_id: str | None) -> Path | None:
        """Return ``path``, or the file it links to, if it is of this build and has debug information."""
        if not path.is_file():
            return None
        try:
            elf = ElfFile.open(path)
        except UserError as error:
            self.tried.append(error.message)
            return None
        try:
            with reading(path, "its section table"):
                found = elf.build_id
                if build_id and found != build_id:
                    self.tried.append(
                        f"{path}: another build (build-id {found or 'missing'}, not {build_id})"
                    )
                    return None
                if has_debug_info(elf):
                    return path
                linked = linked_file(elf, self._debug)
                if linked is None:
                    self.tried.append(f"{path}: stripped, it has no debug symbols")
                return linked
        except UserError as error:
            self.tried.append(error.message)
            return None
        finally:
            elf.close()

    def _fetched(self, build_id: str | None) -> Path | None:
        if self.debuginfod is None or not build_id:
            return None
        answer = self.debuginfod.debug_file(build_id)
        if answer.path is None:
            self.tried.append(answer.reason)
            return None
        return self._usable(answer.path, build_id)


def find_vmlinux(
    release: str, build_id: str | None, explicit: Path | None = None, debuginfod: Debuginfod | None = None
) -> Path:
    """Return the vmlinux with debug symbols of kernel ``release``. Raises UserError (see DebugFiles)."""
    return DebugFiles(release, build_id, debuginfod).vmlinux(explicit)


def find_module(
    name: str, release: str, build_id: str | None, debuginfod: Debuginfod | None = None
) -> Path | None:
    """Return the debug file of module ``name``, or None."""
    return DebugFiles(release, build_id, debuginfod).module(name, build_id)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
