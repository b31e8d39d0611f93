"""Programs compiled by the tests, and what gdb says of their variables at every instruction."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.image import DebugImage

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stop:
    """An instruction about to be executed; gdb's variables are [name, function, argument?, value]."""

    event: model.Event
    function: str
    variables: list[list[Any]]


@dataclass(frozen=True)
class Run:
    path: Path
    slide: int
    stops: list[Stop]


@pytest.fixture(scope="session")
def gdb_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function (compiler, *options) -> Run of programs/shapes.c; each is run once per session."""
    runs: dict[tuple[str, ...], Run] = {}

    def run(compiler: str, *options: str) -> Run:
        key = (compiler, *options)
        if key not in runs:
            folder = tmp_path_factory.mktemp("shapes")
            program = compile_program(HERE / "programs" / "shapes.c", folder / "shapes", compiler, *options)
            runs[key] = run_in_gdb(program, folder / "stops.json")
        return runs[key]

    return run


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function (source text, *options) that compiles C with gcc and returns the file."""

    def run(source: str, *options: str, compiler: str = "gcc") -> Path:
        folder = tmp_path_factory.mktemp("compiled")
        (folder / "program.c").write_text(source)
        return compile_program(folder / "program.c", folder / "program", compiler, *options)

    return run


@pytest.fixture(scope="session")
def event_of() -> Callable[..., model.Event]:
    """Return a function (pc, registers, cfa, memory) -> Event."""
    return make_event


def compile_program(source: Path, target: Path, compiler: str, *options: str) -> Path:
    subprocess.run([compiler, "-w", *options, "-o", target, source, "-lm"], check=True)
    return target


def make_event(pc: int, regs: list[int], cfa: int | None, memory: model.Memory, no: int = 1) -> model.Event:
    return model.Event(
        no=no, ts=no, cpu=0, pid=1, comm="test", packet_id=1, skb=0, len=None, dev=None, netns=None,
        instruction=model.Instruction(index=no, address=pc, symbol="?", offset=0),
        found_by=model.FoundBy.FRAME, cfa=cfa, regs=tuple(regs), memory=memory,
    )  # fmt: skip


def run_in_gdb(program: Path, output: Path) -> Run:
    """Step through ``program``; what is not wanted of libc is never entered, as it calls nothing there."""
    with DebugImage.open(program) as image:
        main = image.symbols.named("main")[0].address
        ranges = [
            f"{section.address}:{section.size}"
            for section in image.elf.sections
            if section.name in (".data", ".bss", ".rodata", ".data.rel.ro", ".data.rel.local")
            and section.size
        ]
    environment = dict(os.environ) | {
        "ORACLE_OUT": str(output),
        "ORACLE_MAIN": str(main),
        "ORACLE_MEMORY": ",".join(ranges),
        "LC_ALL": "C",
    }
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-x", HERE / "gdb_oracle.py", program],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = output.read_text().splitlines() if output.exists() else []
    assert len(lines) > 10, done.stdout + done.stderr
    stops = []
    for no, line in enumerate(lines[1:], 1):
        stop = json.loads(line)
        regions = [model.Region(start, bytes.fromhex(data)) for start, data in stop["memory"]]
        event = make_event(stop["pc"], stop["regs"], stop["cfa"], model.Memory(tuple(regions)), no)
        stops.append(Stop(event, stop["function"], stop["variables"]))
    return Run(program, json.loads(lines[0])["slide"], stops)


@dataclass
class StockKernel:
    """One of Debian's kernels as the lab unpacks it, its images opened once."""

    release: str
    debug: Path

    def image(self, function: str) -> DebugImage:
        """Return the file that has ``function``: the kernel or nf_tables."""
        if function.startswith("nft_"):
            folder = self.debug / "lib/modules" / self.release / "kernel/net/netfilter"
            return self._open(folder / "nf_tables.ko")
        return self._open(self.debug / "boot" / f"vmlinux-{self.release}")

    @staticmethod
    @cache
    def _open(path: Path) -> DebugImage:
        return DebugImage.open(path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stock" in metafunc.fixturenames:
        lab = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
        files = sorted(lab.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
        kernels = [StockKernel(path.name.removeprefix("vmlinux-"), path.parents[1]) for path in files]
        names = [".".join(kernel.release.split(".")[:2]) for kernel in kernels]
        # Without kernels the tests fail rather than vanish.
        metafunc.parametrize("stock", kernels or [None], ids=names or ["missing"], indirect=True)


@pytest.fixture(scope="session")
def stock(request: pytest.FixtureRequest) -> StockKernel:
    if request.param is None:
        pytest.fail("no stock kernel in the cache folder: fetch them with `ktcpdump-tui --lab` once")
    return request.param
