"""Damaged files: a sentence for the user (UserError), or an answer, and never another exception."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ktcpdump_tui.debuginfo.annotate import annotate
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.find import DebugFiles
from ktcpdump_tui.debuginfo.frames import frame_rules
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.sections import ElfFile, parse_notes
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import Instruction

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
static inline int twice(int value) { return value * 2; }
static __attribute__((noinline)) int more(int value) { return twice(value) + twice(value + 1); }
int main(int n, char **v) { int total = 0; while (n--) total += more(n) ^ v[n][0]; return total; }
"""
FORMS = {
    "dwarf 5": ["-gdwarf-5", "-O2", "-no-pie", "-Wl,--build-id"],
    "dwarf 4": ["-gdwarf-4", "-O1", "-no-pie"],
    "relocatable": ["-gdwarf-5", "-O2", "-c", "-mcmodel=kernel", "-fno-pic", "-ffunction-sections"],
    "compressed": ["-gdwarf-5", "-O2", "-no-pie", "-gz=zlib"],
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    (folder / "a.c").write_text(SOURCE)
    files = {}
    for name, flags in FORMS.items():
        extra = ["-nostartfiles", "-Wl,-emain"] if "-c" not in flags else []
        subprocess.run(
            ["gcc", "-fno-asynchronous-unwind-tables", *flags, *extra, "a.c", "-o", "a.out"],
            cwd=folder,
            check=True,
        )
        files[name] = (folder / "a.out").read_bytes()
    return files


def ask_everything(path: Path, cache: DiskCache) -> None:
    """Make every look-up there is; each may only say that the file is damaged."""
    with DebugImage.open(path) as image:
        addresses = [0, 0x1000, 0x401000, 0x401011, 0xFFFFFFFFFFFFFFFF]
        for symbol in image.symbols.functions()[:20]:
            addresses += [symbol.address, symbol.address + 5]
        plan = [Instruction(0, address & (1 << 64) - 1, "f", 0) for address in addresses]
        for ask in (
            lambda: image.build_id,
            lambda: image.warning,
            lambda: image.symbols.named("main"),
            lambda: [image.symbols.at(address) for address in addresses],
            lambda: [image.source_line(address) for address in addresses],
            lambda: [image.inline_chain(address) for address in addresses],
            lambda: [image.subprogram_at(address) for address in addresses],
            lambda: image.statement_rows(addresses[-2], addresses[-2] + 100),
            lambda: image.addresses_of("a.c", 1, 5),
            lambda: image.frame_rules(addresses),
            lambda: frame_rules(addresses, image),
            lambda: annotate(plan, image, 0, {}, cache),
        ):
            try:
                ask()
            except UserError as error:
                assert str(path) in str(error)


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[float, bytes]]:
    """Return places (as a fraction of the file) and the bytes to put there."""
    interesting = st.sampled_from(
        [b"\0", b"\xff", b"\x80" * 9, b"\xff" * 8, b"\x01", b"\0" * 16, b"\x7f\xff\xff\xff"]
    )
    return draw(
        st.lists(
            st.tuples(st.floats(0, 0.999), interesting | st.binary(min_size=1, max_size=4)),
            min_size=1,
            max_size=6,
        )
    )


@pytest.mark.parametrize("form", list(FORMS))
@settings(max_examples=int(os.environ.get("DAMAGE_EXAMPLES", "60")), deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(damage=damages(), keep=st.floats(0.02, 1) | st.just(1.0))
def test_damaged_elf(
    originals: dict[str, bytes], tmp_path: Path, form: str, damage: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(originals[form])
    for place, value in damage:
        start = int(place * len(data))
        data[start : start + len(value)] = value
    path = tmp_path / "damaged"
    path.write_bytes(data[: max(int(keep * len(data)), 1)])
    try:
        ask_everything(path, DiskCache(tmp_path / "cache"))
    except UserError as error:
        assert str(path) in str(error)
    try:
        DebugFiles("6.1", None, root=tmp_path).vmlinux(path)
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("form", list(FORMS))
def test_undamaged(originals: dict[str, bytes], tmp_path: Path, form: str) -> None:
    path = tmp_path / "whole"
    path.write_bytes(originals[form])
    ask_everything(path, DiskCache(tmp_path / "cache"))
    with DebugImage.open(path) as image:
        (main,) = image.symbols.named("main")
        assert image.inline_chain(main.address)[-1].function == "main"


@pytest.mark.parametrize("form", list(FORMS))
def test_every_section_filled_with_one_byte(originals: dict[str, bytes], tmp_path: Path, form: str) -> None:
    path = tmp_path / "whole"
    path.write_bytes(originals[form])
    elf = ElfFile.open(path)
    sections = [
        section for section in elf.sections if section.name.startswith((".debug", ".sym", ".str", ".rela"))
    ]
    elf.close()
    for section in sections:
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            data = bytearray(originals[form])
            data[section.offset : section.offset + section.size] = bytes([value]) * section.size
            path.write_bytes(data)
            try:
                ask_everything(path, DiskCache(tmp_path / "cache"))
            except UserError as error:
                assert str(path) in str(error)


@given(st.binary(max_size=200))
def test_notes(data: bytes) -> None:
    for owner, kind, description in parse_notes(data):
        assert isinstance(owner, str)
        assert 0 <= kind < 1 << 32
        assert len(description) <= len(data)
