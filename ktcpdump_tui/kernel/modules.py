"""The loaded modules, where their sections are, and the kernel's own place (KASLR)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.kernel.notes import module_build_id

if TYPE_CHECKING:
    from ktcpdump_tui.kernel.symbols import Kallsyms

PROC_MODULES: Final = Path("/proc/modules")
SYS_MODULE: Final = Path("/sys/module")


@dataclass(frozen=True, slots=True)
class Module:
    """A loaded module. ``size`` is in bytes, ``address`` its first (0 where the kernel hides it)."""

    name: str
    size: int
    address: int


def loaded_modules(path: Path = PROC_MODULES) -> dict[str, Module]:
    """Return the loaded modules by name (kernel/module/procfs.c: name size refs users state address)."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[4] == "Live":
            found[fields[0]] = Module(fields[0], int(fields[1]), int(fields[5], 16))
    return found


def section_addresses(module: str, root: Path = SYS_MODULE) -> dict[str, int]:
    """Return {section: run-time address} of a loaded module; empty for one that is built in or not loaded."""
    found = {}
    try:
        files = list((root / module / "sections").iterdir())
    except OSError:
        return {}
    for file in files:
        try:
            found[file.name] = int(file.read_text(), 16)
        except (OSError, ValueError):
            continue  # .init sections are gone, and their files with them
    return found


def build_id(module: str) -> str | None:
    """Return a loaded module's build-id as hex digits, or None."""
    return module_build_id(module)


def slide(kallsyms: Kallsyms, link_time_text: int, symbol: str = "_text") -> int:
    """Return run-time minus link-time address of the kernel in bytes (KASLR).

    ``link_time_text`` is the address of ``symbol`` in vmlinux. Raises LookupError where kallsyms lacks it.
    """
    address = kallsyms.address_of(symbol)
    if address is None:
        raise LookupError(symbol)
    return address - link_time_text
