"""Supplementary debug files, as dwz writes them (.gnu_debugaltlink; DWARF 5 calls its own .debug_sup)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.debuginfo.sections import ElfFile
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from ktcpdump_tui.debuginfo.sections import Section

#: gdb's and elfutils' global directory of separate debug files.
DEBUG_DIRECTORY: Final = Path("/usr/lib/debug")


def supplementary_path(elf: ElfFile) -> Path | None:
    """Return the supplementary file that ``elf`` needs, None where it needs none.

    Looked for beside the file and by build-id under /usr/lib/debug. Raises UserError naming the file where
    it is missing or another build.
    """
    section = elf.section(".gnu_debugaltlink")
    if section is None or not section.size:
        return None
    name, build_id = _alternative(elf, section)
    tried = [elf.path.resolve().parent / name]
    if build_id:
        tried.append(DEBUG_DIRECTORY / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug")
    for path in tried:
        if path.is_file():
            found = build_id_of(path)
            if found != build_id:
                raise UserError(
                    f"{elf.path} needs the supplementary debug file with build-id {build_id}, but {path} "
                    f"has {found}",
                    "install the debug package that both files came with",
                )
            return path
    raise UserError(
        f"{elf.path} was compressed with dwz and needs the supplementary debug file {name}, which is missing "
        f"(build-id {build_id or 'unknown'}; looked for: {', '.join(str(path) for path in tried)})",
        "install the debug package that holds it",
    )


def build_id_of(path: Path) -> str | None:
    """Return the build-id of a file. Raises UserError as ElfFile.open does."""
    elf = ElfFile.open(path)
    try:
        return elf.build_id
    finally:
        elf.close()


def _alternative(elf: ElfFile, section: Section) -> tuple[str, str]:
    name, _, build_id = bytes(elf.data(section)).partition(b"\0")
    return name.decode("utf-8", "replace"), build_id.hex()
