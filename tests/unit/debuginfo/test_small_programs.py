"""Lines and inline chains of small programs, in every form debug information comes in.

eu-addr2line is asked about every instruction; where it cannot read a form, the same program in a plain form
is the measure.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import capstone
import pytest

from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import build_table
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.debuginfo.conftest import Witness

HEADER = """
struct packet { int length; int mark; const unsigned char *data; };
static inline int first(const struct packet *p)
{
    return p->data[0];
}
static inline int sum(const struct packet *p, int seed)
{
    int total = seed;
    for (int i = 0; i < p->length; i++) {
        if (p->data[i] == 7)
            total += first(p);
        total += p->data[i];
    }
    return total;
}
"""
SOURCE = """
#include "packet.h"
int sink(int value);
static __attribute__((noinline, cold)) int drop(const struct packet *p)
{
    return sink(p->mark) + 1;
}
static inline __attribute__((always_inline)) int check(const struct packet *p)
{
    if (__builtin_expect(p->length < 1, 0))
        return drop(p);
    return sum(p, first(p)) + sum(p, 3);
}
int receive(const struct packet *p, int n)
{
    int total = 0;
    while (n--) {
        total += check(p);
        if (total > 100)
            total = sink(total);
    }
    return total;
}
int sink(int value) { __asm__ volatile("" : "+r"(value)); return value * 3; }
int main(int argc, char **argv)
{
    struct packet p = { argc, argc, (const unsigned char *)argv[0] };
    return receive(&p, argc);
}
"""


@pytest.fixture
def build(compile_c: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def run(*flags: str, compiler: str = "gcc", name: str = "prog") -> Path:
        (tmp_path / "include").mkdir(exist_ok=True)
        (tmp_path / "include" / "packet.h").write_text(HEADER)
        return compile_c(
            SOURCE, "-no-pie", "-Iinclude", *flags, compiler=compiler, name=name, file="net/ipv4/prog.c"
        )

    return run


def instructions(image: DebugImage) -> list[int]:
    """Return the addresses of all instructions of the program's own functions."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    section = image.elf.section(".text")
    assert section
    data, base = image.elf.data(section), image.section_addresses[".text"]
    found = []
    for symbol in image.symbols.functions():
        if symbol.name.split(".")[0] in ("receive", "sink", "main", "drop", "sum", "first") and symbol.size:
            code = bytes(data[symbol.address - base : symbol.address - base + symbol.size])
            found += [at for at, *_ in decoder.disasm_lite(code, symbol.address)]
    assert len(found) > 30
    return found


def chains(image: DebugImage) -> list[tuple[object, object, object]]:
    return [(at, image.source_line(at), image.inline_chain(at)) for at in instructions(image)]


#: clang leaves .debug_aranges out, without which eu-addr2line finds nothing.
ARANGES = {"gcc": (), "clang": ("-gdwarf-aranges",)}
FORMS = [
    (compiler, f"-gdwarf-{version}", level)
    for compiler in ("gcc", "clang")
    for version in (3, 4, 5)
    for level in ("-O0", "-O2")
]


@pytest.mark.parametrize(("compiler", "version", "level"), FORMS)
def test_compilers(
    build: Callable[..., Path], witness: Witness, compiler: str, version: str, level: str
) -> None:
    path = build(version, level, *ARANGES[compiler], compiler=compiler)
    with DebugImage.open(path) as image:
        addresses = instructions(image)
        theirs = witness.chains(image, addresses)
        deepest = 0
        for address, chain in zip(addresses, theirs, strict=True):
            deepest = max(deepest, len(chain))
            assert witness.ours(image, address) == chain or witness.explains(image, address)
        assert deepest == (2 if level == "-O0" else 4 if compiler == "clang" else 3)
        files = {image.source_line(address).file for address in addresses}  # type: ignore[union-attr]
        assert files == {"net/ipv4/prog.c", "include/packet.h"}


def decoded_statements(path: Path) -> set[tuple[int, int]]:
    """Return (address, line) of the statement rows of the C file that readelf shows."""
    text = subprocess.check_output(["readelf", "--debug-dump=decodedline", "-W", path], text=True)
    rows = [line.split() for line in text.splitlines()]
    return {
        (int(row[2], 16), int(row[1]))
        for row in rows
        if len(row) >= 4 and row[0] == "prog.c" and row[1] != "-" and row[-1] == "x"
    }


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_statement_rows(build: Callable[..., Path], compiler: str, version: str) -> None:
    """Against readelf's decoded line table: the last row at an address is the one in force."""
    path = build(version, "-O2", compiler=compiler)
    text = subprocess.check_output(["readelf", "--debug-dump=decodedline", "-W", path], text=True)
    last: dict[int, tuple[int, bool]] = {}
    statements: set[int] = set()
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[2].startswith("0x") and fields[1] != "-":
            at, is_stmt = int(fields[2], 16), fields[-1] == "x"
            last[at] = int(fields[1]), is_stmt
            if is_stmt:
                statements.add(at)
    with DebugImage.open(path) as image:
        (symbol,) = image.symbols.named("receive")
        low, high = symbol.address, symbol.address + symbol.size
        rows = image.statement_rows(low, high)
        expected = [(at, last[at][0]) for at in sorted(statements) if low <= at < high and last[at][0]]
        assert [(at, line.line) for at, line in rows] == expected
        assert [image.source_line(at) for at, _ in rows] == [line for _, line in rows]
        assert len(rows) > 8


def test_addresses_of_lines(build: Callable[..., Path]) -> None:
    with DebugImage.open(build("-gdwarf-5", "-O2")) as image:
        call = SOURCE.splitlines().index("        total += check(p);") + 1
        found = image.addresses_of("prog.c", call, call + 2)
        assert found
        for address, line in found:
            assert (address, line.line) in decoded_statements(image.path)
            assert line.file == "net/ipv4/prog.c"
            assert line.is_stmt
        wanted = {row for row in decoded_statements(image.path) if call <= row[1] <= call + 2}
        assert {at for at, _ in found} == {at for at, _ in wanted}
        # In the header: wherever it was inlined.
        inlined = image.addresses_of("include/packet.h", 5, 5)
        assert {line.line for _, line in inlined} == {5}
        assert {image.inline_chain(address)[-1].function for address, _ in inlined} == {"receive"}
        assert image.addresses_of("include/packet.h", 5, 5) == image.addresses_of("packet.h", 5, 5)
        assert image.addresses_of("cket.h", 5, 5) == []
        assert image.addresses_of("prog.c", 9000, 9001) == []
        assert image.lines.files_matching("packet.h") == ["include/packet.h"]
        assert image.lines.files_matching("nosuch.c") == []


@pytest.mark.parametrize("packing", ["zlib", "zlib-gnu", "zstd"])
def test_compressed_sections(build: Callable[..., Path], packing: str) -> None:
    plain = build("-gdwarf-5", "-O2")
    packed = plain.with_name("packed")
    subprocess.run(["objcopy", f"--compress-debug-sections={packing}", plain, packed], check=True)
    with DebugImage.open(plain) as one, DebugImage.open(packed) as other:
        assert any(other.elf.is_packed(section) for section in other.elf.sections)
        assert chains(other) == chains(one)
        (symbol,) = other.symbols.named("receive")
        die = other.subprogram_at(symbol.address)
        assert die
        assert die.attributes["DW_AT_name"].value == b"receive"


def test_dwz(build: Callable[..., Path], tmp_path: Path) -> None:
    first, second = build("-gdwarf-5", "-O2", name="first"), build("-gdwarf-5", "-O2", "-DX", name="second")
    with DebugImage.open(first) as image:
        expected = chains(image)
    subprocess.run(["dwz", "-m", tmp_path / "common.debug", first, second], check=True)
    with DebugImage.open(first) as image:
        assert image.supplementary
        assert chains(image) == expected
        (symbol,) = image.symbols.named("receive")
        die = image.subprogram_at(symbol.address)
        assert die
        assert [child.tag for child in die.iter_children()]
    (tmp_path / "common.debug").rename(tmp_path / "elsewhere.debug")
    with pytest.raises(UserError, match=r"dwz.*common\.debug.*missing"):
        DebugImage.open(first)
    shutil.copy(second, tmp_path / "common.debug")
    with pytest.raises(UserError, match="needs the supplementary debug file with build-id"):
        DebugImage.open(first)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_split_dwarf_says_so(build: Callable[..., Path], tmp_path: Path, compiler: str, version: str) -> None:
    (tmp_path / "start.S").write_text(
        ".text\n.globl start\n.type start, @function\nstart: ret\n.size start, 1\n"
    )
    flags = (version, "-O2", *ARANGES[compiler], str(tmp_path / "start.S"))
    with DebugImage.open(build(*flags, "-gsplit-dwarf", compiler=compiler)) as image:
        assert image.warning
        assert "CONFIG_DEBUG_INFO_SPLIT" in image.warning
        (symbol,) = image.symbols.named("receive")
        line = image.source_line(symbol.address)
        assert line
        assert line.file == "net/ipv4/prog.c"
        assert all(line for _, line, _ in chains(image))
        assert build_table(image, [symbol.address]).functions == []
    with DebugImage.open(build(*flags, compiler=compiler)) as image:
        assert image.warning is None
        assert build_table(image, [image.symbols.named("receive")[0].address]).functions


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_without_aranges(build: Callable[..., Path], compiler: str) -> None:
    plain = build("-gdwarf-5", "-O2", *ARANGES[compiler], compiler=compiler)
    bare = plain.with_name("bare")
    subprocess.run(["objcopy", "-R", ".debug_aranges", plain, bare], check=True)
    with DebugImage.open(plain) as one, DebugImage.open(bare) as other:
        assert chains(other) == chains(one)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_relocatable_file(
    compile_c: Callable[..., Path], witness: Witness, tmp_path: Path, compiler: str, version: str
) -> None:
    """A module's debug file is relocatable: its addresses are where its sections were put."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "packet.h").write_text(HEADER)
    flags = ["-c", version, "-O2", "-Iinclude", "-mcmodel=kernel", "-fno-pic", *ARANGES[compiler]]
    flags.append("-fno-asynchronous-unwind-tables")
    if compiler == "gcc":  # several code sections, as a module's .init.text
        flags.append("-ffunction-sections")
    path = compile_c(SOURCE, *flags, compiler=compiler, name="mod.o", file="net/ipv4/prog.c")
    names = (
        [".text"] if compiler == "clang" else [".text.receive", ".text.sink", ".text.unlikely.drop.isra.0"]
    )
    places = {name: 0xFFFFFFFFC0100000 + 0x10000 * index for index, name in enumerate(names)}
    with DebugImage.open(path, places) as image, DebugImage.open(path) as unloaded:
        assert image.relocatable
        for name, base in places.items():
            section = image.elf.section(name)
            assert section
            addresses = list(range(base, base + section.size, 3))
            theirs = witness.chains(image, addresses, name)
            ours = [witness.ours(image, address) for address in addresses]
            for address, mine, chain in zip(addresses, ours, theirs, strict=True):
                assert mine == chain or witness.explains(image, address, name)
            moved = unloaded.section_addresses[name]
            assert [witness.ours(unloaded, at - base + moved) for at in addresses] == ours
        (symbol,) = image.symbols.named("receive")
        die = image.subprogram_at(symbol.address + 1)
        assert die
        assert image.pc_ranges(die)[0][0] == symbol.address
        assert image.frame_rules([symbol.address])[0]


def test_prefix_maps(compile_c: Callable[..., Path], tmp_path: Path) -> None:
    """Distributions map the build folder away: the compilation directory is no absolute path any more."""
    source = "int main(void)\n{\n    return 0;\n}\n"
    flag = f"-ffile-prefix-map={tmp_path}/=linux-6.12/"
    path = compile_c(source, "-g", flag, f"-ffile-prefix-map={tmp_path}=linux-6.12", file="net/core/dev.c")
    with DebugImage.open(path) as image:
        line = image.source_line(image.symbols.named("main")[0].address)
        assert line
        assert line.file == "net/core/dev.c"


def test_unit_without_code(compile_c: Callable[..., Path]) -> None:
    path = compile_c("int value = 3;", "-g", "-c", name="data.o")
    with DebugImage.open(path) as image:
        assert image.addresses_of("prog.c", 1, 9) == []
        assert image.source_line(0x1000) is None
        assert image.statement_rows(0x1000, 0x2000) == []
        assert image.inline_chain(0x1000) == ()
        assert image.frame_rules([0x1000]) == [None]


def test_the_unit_of_an_entry_is_found_from_any_place(vmlinux: DebugImage) -> None:
    offsets = list(vmlinux.reader.offsets())[:400]
    with_code = set(vmlinux.units.offsets())
    assert not with_code.issuperset(offsets), "some units are without code, and must be walked to"
    asked = random.Random(4).sample(range(len(offsets) - 1), 200)
    for number in asked:
        for target in (offsets[number], offsets[number + 1] - 1):
            assert vmlinux.reader.unit_holding(target) == offsets[number]
    with pytest.raises(ValueError, match="in no unit"):
        vmlinux.reader.unit_holding(len(vmlinux.reader.section(".debug_info")))
