"""What the tests of ELF and DWARF share: stock kernels, small programs, eu-addr2line as a witness."""

from __future__ import annotations

import itertools
import os
import posixpath
import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import capstone
import pytest

from ktcpdump_tui.debuginfo.image import DebugImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Modules the witness is asked about, as far as a kernel has them.
MODULES = (
    "drivers/net/veth", "drivers/net/vxlan/vxlan", "drivers/net/macvlan", "drivers/net/tun",
    "drivers/net/virtio_net", "net/bridge/bridge", "net/netfilter/nf_tables", "net/netfilter/nf_conntrack",
    "net/netfilter/nf_nat", "net/ipv4/ipip", "net/ipv4/ip_gre", "net/sched/sch_netem",
)  # fmt: skip


@dataclass(frozen=True)
class StockKernel:
    """One of Debian's kernels as the lab unpacks it."""

    release: str
    debug: Path

    @property
    def vmlinux(self) -> Path:
        return self.debug / "boot" / f"vmlinux-{self.release}"

    def module(self, name: str) -> Path:
        return self.debug / "lib/modules" / self.release / "kernel" / f"{name}.ko"


def stock_kernels() -> list[StockKernel]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
    found = sorted(cache.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
    return [StockKernel(path.name.removeprefix("vmlinux-"), path.parents[1]) for path in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stock_kernel" in metafunc.fixturenames:
        kernels = stock_kernels()
        names = [".".join(kernel.release.split(".")[:2]) for kernel in kernels]
        # Without kernels the tests fail rather than vanish.
        metafunc.parametrize("stock_kernel", kernels or [None], ids=names or ["missing"], indirect=True)


@pytest.fixture(scope="session")
def stock_kernel(request: pytest.FixtureRequest) -> StockKernel:
    if request.param is None:
        pytest.fail("no stock kernel in the cache folder: fetch them with `ktcpdump-tui --lab` once")
    return request.param


@pytest.fixture(scope="session")
def vmlinux(stock_kernel: StockKernel) -> Iterator[DebugImage]:
    with DebugImage.open(stock_kernel.vmlinux) as image:
        yield image


@dataclass(frozen=True)
class Level:
    """One level of an inline chain as both sides say it."""

    function: str
    file: str
    line: int
    column: int
    is_stmt: bool | None  # of the innermost level only


def in_tree(image: DebugImage, file: str) -> str:
    """Return a path that a witness printed, without the compilation directory."""
    file = posixpath.normpath(file).removeprefix(f"{image.path.parent}/")
    return re.sub(r"^debian/build/[^/]+/", "", file)


class Witness:
    """Lines and inline chains from eu-addr2line, and the code under test asked the same."""

    def chains(
        self, image: DebugImage, addresses: Sequence[int], section: str | None = None
    ) -> list[tuple[Level, ...]]:
        """Return the chain of each address, innermost first; () where eu-addr2line knows no line."""
        command = ["eu-addr2line", "-e", str(image.path), "-i", "-f", "-a", "-F"]
        base = 0
        if section:
            command += ["-j", section]
            base = image.section_addresses[section]
        text = "".join(f"{address - base:#x}\n" for address in addresses)
        output = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        chains: list[list[Level]] = []
        function = None
        for line in output.splitlines():
            if re.fullmatch(r"0x[0-9a-f]+", line):
                chains.append([])
                function = None
            elif function is None:
                function = line.split(" inlined at ")[0]
            else:
                position = re.fullmatch(r"(.*?):(\d+)(?::(\d+))?((?: \([^)]*\))*)", line)
                assert position, line
                if position[1] != "??":
                    file = in_tree(image, position[1])
                    is_stmt = "(is_stmt)" in position[4] if not chains[-1] else None
                    column = int(position[3] or 0)
                    chains[-1].append(Level(function, file, int(position[2]), column, is_stmt))
                function = None
        assert len(chains) == len(addresses)
        return [tuple(chain) for chain in chains]

    def second_opinion(
        self, image: DebugImage, address: int, section: str | None
    ) -> list[tuple[str, str, int]]:
        """Return (function, file, line) of each level as GNU addr2line has it.

        LLVM's symboliser is asked about clang's DWARF 5, whose DW_FORM_rnglistx GNU's cannot read.
        """
        command = ["addr2line", "-e", str(image.path), "-i", "-f"]
        if len(image.section_bytes(".debug_addr")):
            command[0] = "llvm-addr2line"
        if section and command[0] == "addr2line":
            command += ["-j", section]
        if section:
            address -= image.section_addresses[section]
        lines = subprocess.check_output([*command, f"{address:#x}"], text=True).splitlines()
        levels = []
        for function, place in zip(lines[::2], lines[1::2], strict=True):
            position = re.fullmatch(r"(.*?):(\d+|\?)(?: \(discriminator \d+\))?", place)
            assert position, place
            file = in_tree(image, position[1])
            levels.append((function, file, int(position[2].replace("?", "0"))))
        return levels

    def ours(self, image: DebugImage, address: int) -> tuple[Level, ...]:
        """Return the same from the code under test."""
        line = image.source_line(address)
        if line is None:
            return ()
        scopes = image.inlines.scopes_at(address)
        if scopes is None:
            found = image.symbols.at(address)
            name = found[0].name if found else "??"
            return (Level(name, line.file, line.line, line.column, line.is_stmt),)
        frames = scopes.chain(address, line)
        assert frames == image.inline_chain(address)
        columns = [line.column, *(call.column for call in scopes.calls_at(address))]
        return tuple(
            Level(frame.function, frame.file, frame.line, column, None if level else line.is_stmt)
            for level, (frame, column) in enumerate(zip(frames, columns, strict=True))
        )

    def explains(self, image: DebugImage, address: int, section: str | None = None) -> bool:
        """Whether the difference at ``address`` is eu-addr2line's own, by the rows in question.

        - It looks up the callers not at the address but where the row in force begins. Where an inlined
          call ends in the middle of a row (rows without a statement of their own) the two differ: then its
          callers must be those of the row's beginning, its function and line ours, and a second witness must
          agree with us.
        - It gives the padding before the first function of a section (``__pfx_``) the last line of the
          section before, although that sequence has ended: then the second witness must know no line either.
        """
        ours = self.ours(image, address)
        if not ours:
            name = image.symbols.at(address)
            return (
                bool(name)
                and name[0].name.startswith("__pfx_")
                and self.second_opinion(image, address, section)[0][2] == 0
            )
        unit = image.units.at(address)
        table = image.lines.table(unit) if unit else None
        assert table
        row = int(table.rows.addresses.searchsorted(address, side="right")) - 1
        begin = int(table.rows.addresses[row])
        (theirs,) = self.chains(image, [address], section)
        (there,) = self.chains(image, [begin], section)
        other = self.second_opinion(image, address, section)
        return (
            begin < address
            and theirs[1:] == there[1:] == self.ours(image, begin)[1:]
            and theirs[0] == ours[0]
            and [level[1:] for level in other] == [(level.file, level.line) for level in ours]
            and all(
                # LLVM may give the outermost function a local label's name.
                mine.function == level[0] or (mine is ours[-1] and level[0].startswith(".L"))
                for mine, level in zip(ours, other, strict=True)
            )
        )

    def instructions(self, image: DebugImage, count: int, seed: int) -> dict[str, list[int]]:
        """Return ``count`` addresses of instructions by section, chosen by size among all functions."""
        chooser = random.Random(seed)
        functions = [symbol for symbol in image.symbols.functions() if symbol.size]
        code = [section for section in image.elf.sections if section.executable and section.type != 8]
        decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        weights = list(itertools.accumulate(symbol.size for symbol in functions))
        available = weights[-1] // 8
        found: dict[int, str] = {}
        while len(found) < min(count, available):
            (symbol,) = chooser.choices(functions, cum_weights=weights)
            for section in code:
                start = symbol.address - image.section_addresses[section.name]
                if 0 <= start < section.size:
                    data = bytes(image.elf.data(section)[start : start + symbol.size])
                    starts = [address for address, *_ in decoder.disasm_lite(data, symbol.address)]
                    chosen = chooser.sample(starts, min(len(starts), 4, count - len(found)))
                    found.update(dict.fromkeys(chosen, section.name))
                    break
        by_section: dict[str, list[int]] = {}
        for address in sorted(found):
            by_section.setdefault(found[address], []).append(address)
        return by_section


@pytest.fixture(scope="session")
def witness() -> Witness:
    return Witness()


@pytest.fixture
def compile_c(tmp_path: Path) -> Callable[..., Path]:
    """Compile C source in tmp_path and return the output; ``flags`` go to the compiler."""

    def run(
        source: str, *flags: str, compiler: str = "gcc", name: str = "prog", file: str = "prog.c"
    ) -> Path:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        output = tmp_path / name
        subprocess.run([compiler, *flags, "-o", output, path], check=True, cwd=tmp_path)
        return output

    return run
