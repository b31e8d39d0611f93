"""The initial RAM file system: read back by another program, and checked against Debian's kernels."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import initramfs, machine, stock

BUSYBOX = machine.find_busybox()


def unpack(archive: bytes, folder: Path) -> None:
    assert BUSYBOX is not None
    subprocess.run([BUSYBOX, "cpio", "-id"], input=archive, cwd=folder, check=True, capture_output=True)


def test_another_cpio_reads_the_archive(tmp_path: Path) -> None:
    archive = initramfs.Archive()
    archive.folder("some")
    for size in range(9):  # every remainder of the padding
        archive.file(f"some/{'n' * (size + 1)}", b"x" * size)
    archive.file("program", b"#!/bin/sh\necho runs\n", 0o755)
    unpack(archive.finish(), tmp_path)
    assert [len((tmp_path / "some" / ("n" * (size + 1))).read_bytes()) for size in range(9)] == list(range(9))
    assert subprocess.run([tmp_path / "program"], capture_output=True, check=True).stdout == b"runs\n"


@pytest.fixture(params=stock.VERSIONS)
def kernel(request: pytest.FixtureRequest) -> stock.StockKernel:
    found = stock.cached_kernel(request.param)
    assert found is not None, f"python -m ktcpdump_tui.lab fetch {request.param}"
    return found


def test_each_module_comes_after_what_it_needs(kernel: stock.StockKernel) -> None:
    order = initramfs.load_order(kernel, initramfs.EARLY_MODULES)
    names = [initramfs.module_name(path.name) for path in order]
    assert len(set(names)) == len(names)
    for number, path in enumerate(order):
        said = subprocess.run(["modinfo", "-F", "depends", path], capture_output=True, text=True, check=True)
        for needed in filter(None, said.stdout.strip().split(",")):
            assert needed in names[:number]
    assert "overlay" in names


def test_the_archive_of_a_stock_kernel(kernel: stock.StockKernel, tmp_path: Path) -> None:
    assert BUSYBOX is not None
    unpack(initramfs.build(kernel, BUSYBOX, ["/usr/bin/python 3", "agent's.py"]), tmp_path)
    for module in (tmp_path / "modules").iterdir():
        assert module.read_bytes().startswith(b"\x7fELF")
    script = (tmp_path / "init").read_text()
    subprocess.run([BUSYBOX, "sh", "-n", tmp_path / "init"], check=True)
    assert script.endswith("""exec switch_root /new '/usr/bin/python 3' 'agent'"'"'s.py'\n""")


def test_a_module_that_does_not_exist(kernel: stock.StockKernel) -> None:
    with pytest.raises(UserError, match="has no module no_such_module"):
        initramfs.load_order(kernel, ["no_such_module"])


def test_a_cache_without_an_index_of_modules(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is damaged") as caught:
        initramfs.load_order(stock.StockKernel("6.12.1", tmp_path / "6.12.1/root"), ["overlay"])
    assert caught.value.remedy == f"rm -r {tmp_path / '6.12.1'}, and start again: it is fetched anew."


def test_packed_modules(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"module"))
    (tmp_path / "a.ko").write_bytes(b"module")
    assert (
        initramfs.read_module(tmp_path / "a.ko.xz") == initramfs.read_module(tmp_path / "a.ko") == b"module"
    )


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-56-cloud-amd64", "6.1"),
        ("6.12.117+deb12-cloud-amd64", "6.12"),
        ("6.16.3+deb13-cloud-amd64", "6.16"),
        ("6.12.12+bpo-cloud-amd64", "6.12"),
    ],
)
def test_versions_of_releases(release: str, version: str) -> None:
    assert stock.StockKernel(release, Path()).version == version


def test_the_lines_of_a_console_that_tell() -> None:
    rows = [f"row {number}" for number in range(100)]
    assert machine.telling_lines(rows) == rows[-machine.TAIL_LINES :]
    rows[50] = "[ 1.0] Kernel panic - not syncing"
    assert machine.telling_lines(rows)[3] == rows[50]
    rows[20] = "[ 0.9] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI"
    told = machine.telling_lines(rows)
    assert told[0] == rows[20]
    assert rows[50] in told
    assert len(told) == machine.TAIL_LINES


@pytest.mark.parametrize(
    ("said", "threads"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "single"),
        ("QEMU emulator version 8.0.5", "single"),
        ("QEMU emulator version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1.10)", "multi"),
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1)", "multi"),
        ("", "single"),
    ],
)
def test_an_old_qemu_emulates_all_cpus_in_one_thread(tmp_path: Path, said: str, threads: str) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text(f"#!/bin/sh\necho '{said}'\n")
    qemu.chmod(0o755)
    assert f"tcg,thread={threads}" in machine.accelerator_arguments(str(qemu), "tcg")
    assert machine.useful_cpus(str(qemu), "tcg") == (2 if threads == "multi" else 1)
    assert machine.useful_cpus(str(qemu), "kvm") == 2
