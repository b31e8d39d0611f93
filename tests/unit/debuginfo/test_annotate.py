"""Plans get their lines, chains and frames; the cache gives the same, survives damage and stays bounded."""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import capstone
import pytest

from ktcpdump_tui.debuginfo.annotate import annotate
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.functions import Functions, FunctionTable
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.model import FrameRule, Instruction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktcpdump_tui.model import SourceLine
    from tests.unit.debuginfo.conftest import StockKernel

SLIDE = 0x12000000


def plan_of(
    image: DebugImage, names: Sequence[str], shift: int = 0, module: str | None = None
) -> list[Instruction]:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    section = image.elf.section(".text")
    assert section
    base, code = image.section_addresses[".text"], image.elf.data(section)
    plan: list[Instruction] = []
    for name in names:
        symbol = image.symbols.named(name)[0]
        data = bytes(code[symbol.address - base : symbol.address - base + symbol.size])
        for at, *_ in decoder.disasm_lite(data, symbol.address):
            plan.append(Instruction(len(plan), at + shift, name, at - symbol.address, module))
    return plan


def names_in(image: DebugImage, *starts: str) -> list[str]:
    """Return the functions with these names, and their parts."""
    return [
        symbol.name
        for symbol in image.symbols.functions()
        if symbol.name in starts or (symbol.name.split(".")[0] in starts and "." in symbol.name)
    ]


def same_place(planned: SourceLine | None, found: SourceLine | None) -> bool:
    """In a plan, a line begins a statement where any of the rows at its address does."""
    assert planned
    assert found
    assert planned.is_stmt >= found.is_stmt
    return replace(planned, is_stmt=found.is_stmt) == found


def test_like_single_look_ups(vmlinux: DebugImage, tmp_path: Path) -> None:
    names = names_in(vmlinux, "ip_rcv_core", "tcp_v4_rcv", "__netif_receive_skb_core")
    assert len(names) >= 3
    plan = plan_of(vmlinux, names, SLIDE)
    cache = DiskCache(tmp_path)
    cold = annotate(plan, vmlinux, SLIDE, {}, cache)
    assert len(list(tmp_path.rglob("*"))) > 2
    warm = annotate(plan, vmlinux, SLIDE, {}, DiskCache(tmp_path))
    assert warm == cold
    for instruction in cold[::7]:
        address = instruction.address - SLIDE
        assert same_place(instruction.source, vmlinux.source_line(address))
        assert instruction.inlined_by == vmlinux.inline_chain(address)
        assert vmlinux.orc
        assert instruction.frame == vmlinux.orc.rule(address)
    assert all(instruction.source for instruction in cold)
    assert {instruction.inlined_by[-1].function for instruction in cold} == {
        name.split(".")[0] for name in names
    }


def test_modules_and_the_cache_wherever_they_are_loaded(stock_kernel: StockKernel, tmp_path: Path) -> None:
    path = stock_kernel.module("drivers/net/veth")
    annotated = []
    for base in (0xFFFFFFFFC0300000, 0xFFFFFFFFC0777000):
        with DebugImage.open(path, {".text": base}) as image:
            plan = plan_of(image, ["veth_xmit"], module="veth")
            cache = DiskCache(tmp_path)
            annotated.append(annotate(plan, None, SLIDE, {"veth": image}, cache))
            for instruction in annotated[-1][::5]:
                assert same_place(instruction.source, image.source_line(instruction.address))
                assert instruction.inlined_by == image.inline_chain(instruction.address)
    first, second = annotated
    assert [one.source for one in first] == [one.source for one in second]
    assert [one.inlined_by for one in first] == [one.inlined_by for one in second]
    assert [one.frame for one in first] == [one.frame for one in second]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_without_images(vmlinux: DebugImage, tmp_path: Path) -> None:
    plan = [*plan_of(vmlinux, ["ip_rcv"], SLIDE), Instruction(0, 0xFFFFFFFFC0000000, "x", 0, "other")]
    assert annotate(plan, None, 0, {}, DiskCache(tmp_path)) == plan
    assert annotate(plan, vmlinux, SLIDE, {}, DiskCache(tmp_path))[-1] == plan[-1]


def test_a_frame_that_is_known_stays(vmlinux: DebugImage, tmp_path: Path) -> None:
    (instruction, *_) = plan_of(vmlinux, ["ip_rcv"])
    known = Instruction(0, instruction.address, "ip_rcv", 0, frame=FrameRule(3, 99))
    assert annotate([known], vmlinux, 0, {}, DiskCache(tmp_path))[0].frame == FrameRule(3, 99)


def test_assembler_code(vmlinux: DebugImage, tmp_path: Path) -> None:
    plan = plan_of(vmlinux, ["memcpy_orig"])
    for instruction in annotate(plan, vmlinux, 0, {}, DiskCache(tmp_path)):
        assert instruction.source
        assert instruction.source.file == "arch/x86/lib/memcpy_64.S"
        assert [frame.function for frame in instruction.inlined_by] == ["memcpy_orig"]


def test_table_round_trip(vmlinux: DebugImage) -> None:
    (symbol,) = vmlinux.symbols.named("ip_rcv_core")
    table = Functions(vmlinux, None).starting_at(symbol.address)
    assert table
    again = FunctionTable.load(table.dump())
    for offset in range(-1, table.size):
        assert again.line(offset) == table.line(offset)
        assert again.chain(offset) == table.chain(offset)
        assert again.frame(offset) == table.frame(offset)
    rows = vmlinux.statement_rows(symbol.address, symbol.address + table.size)
    assert [at - symbol.address for at, line in rows if line.line] == [at for at, _ in table.statements()]


def test_damaged_entries_are_made_anew(vmlinux: DebugImage, tmp_path: Path) -> None:
    plan = plan_of(vmlinux, ["ip_rcv"])
    expected = annotate(plan, vmlinux, 0, {}, DiskCache(tmp_path))
    (entry,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    whole = entry.read_bytes()
    for damaged in (b"", b"abc", whole[:-5], whole[:20] + b"?" + whole[21:], bytes(len(whole))):
        entry.write_bytes(damaged)
        assert annotate(plan, vmlinux, 0, {}, DiskCache(tmp_path)) == expected
        assert entry.read_bytes() == whole
    assert vmlinux.build_id
    for foreign in (b"{}", b"[]", b"null", b'{"lines": 3}', b"\xff\xfe"):  # whole, but not ours
        DiskCache(tmp_path).put(vmlinux.build_id, entry.name, foreign)
        assert annotate(plan, vmlinux, 0, {}, DiskCache(tmp_path)) == expected


def test_cache_is_bounded_and_forgets_the_oldest(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, limit=200_000)
    for number in range(50):
        cache.put("aa", f"{number}", os.urandom(10_000))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 260_000
    assert cache.get("aa", "0") is None
    assert cache.get("aa", "49")
    # what was read lately stays
    old = time.time() - 1000
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.utime(path, (old, old))
    kept = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())[0]
    assert cache.get("aa", kept)
    cache.limit = 30_000
    cache.trim()
    assert cache.get("aa", kept)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = DiskCache(tmp_path / "file" / "cache")
    cache.put("aa", "b", b"data")
    assert cache.get("aa", "b") is None
    assert cache.get("../..", "../../etc/passwd") is None


def _many_times(folder: Path, start: float) -> None:
    cache = DiskCache(folder, limit=300_000)
    while time.time() < start + 1.5:
        for number in range(20):
            data = cache.get("aa", str(number))
            if data is not None and data != bytes([number]) * 30_000 + data[30_000:]:
                os._exit(3)
            cache.put("aa", str(number), bytes([number]) * 30_000 + os.urandom(5_000))


def test_two_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_many_times, args=(tmp_path, time.time())) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert not list(tmp_path.rglob(".new-*"))


@pytest.mark.parametrize("name", ["../x", "a/b", ".text+0", "ffffffff81000000"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    cache = DiskCache(tmp_path / "cache")
    cache.put("aa", name, b"1")
    assert cache.get("aa", name) == b"1"
    assert all((tmp_path / "cache") in path.parents for path in tmp_path.rglob("*") if path.is_file())
