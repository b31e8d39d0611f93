"""Finding debug files in file trees the test lays out as distributions do."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.debuginfo.debug_packages import debug_package
from ktcpdump_tui.debuginfo.find import DebugFiles, find_module, find_vmlinux
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.sections import build_id_of_notes
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.debuginfo.conftest import StockKernel

RELEASE = "6.12.9-test-amd64"


def put(source: Path, *places: Path) -> Path:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    return places[0]


def build_id(path: Path) -> str:
    with DebugImage.open(path, partial=True) as image:
        assert image.build_id
        return image.build_id


@pytest.fixture
def ours(compile_c: Callable[..., Path]) -> Path:
    return compile_c("int main(void) { return 1; }", "-g", "-Wl,--build-id", name="ours")


@pytest.fixture
def other(compile_c: Callable[..., Path]) -> Path:
    return compile_c("int main(void) { return 2; }", "-g", "-Wl,--build-id", name="other")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


PLACES = [
    "usr/lib/debug/boot/vmlinux-{release}",
    "usr/lib/debug/lib/modules/{release}/vmlinux",
    "usr/lib/debug/.build-id/{first}/{rest}.debug",
    "boot/vmlinux-{release}",
    "lib/modules/{release}/build/vmlinux",
    "usr/lib/debug/usr/lib/modules/{release}/vmlinux.debug",
]


@pytest.mark.parametrize("place", PLACES)
def test_places(ours: Path, root: Path, place: str) -> None:
    identity = build_id(ours)
    path = put(ours, root / place.format(release=RELEASE, first=identity[:2], rest=identity[2:]))
    assert DebugFiles(RELEASE, identity, root=root).vmlinux() == path
    if ".build-id" not in place:
        assert DebugFiles(RELEASE, None, root=root).vmlinux() == path


def test_other_builds_and_stripped_files_are_passed_over(ours: Path, other: Path, root: Path) -> None:
    identity = build_id(ours)
    put(other, root / f"usr/lib/debug/boot/vmlinux-{RELEASE}")
    bare = put(ours, root / f"boot/vmlinux-{RELEASE}")
    subprocess.run(["strip", bare], check=True)
    (root / f"usr/lib/debug/lib/modules/{RELEASE}").mkdir(parents=True)
    (root / f"usr/lib/debug/lib/modules/{RELEASE}/vmlinux").write_bytes(b"\x7fELF nonsense")
    files = DebugFiles(RELEASE, identity, root=root)
    with pytest.raises(UserError) as caught:
        files.vmlinux()
    message = str(caught.value)
    assert RELEASE in message
    assert identity in message
    assert "another build" in message
    assert "stripped" in message
    assert f"linux-image-{RELEASE}-dbg" in message
    assert "--lab" in message
    good = put(ours, root / f"lib/modules/{RELEASE}/build/vmlinux")
    assert files.vmlinux() == good


def test_explicit(ours: Path, other: Path, root: Path, tmp_path: Path) -> None:
    identity = build_id(ours)
    files = DebugFiles(RELEASE, identity, root=root)
    assert files.vmlinux(ours) == ours
    with pytest.raises(UserError) as caught:
        files.vmlinux(other)
    assert identity in caught.value.message
    assert build_id(other) in caught.value.message
    assert caught.value.status == 1
    with pytest.raises(UserError, match="does not exist"):
        files.vmlinux(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a file|Is a directory"):
        files.vmlinux(tmp_path)
    text = tmp_path / "text"
    text.write_text("hello, this is no ELF file")
    with pytest.raises(UserError, match="is not an ELF file"):
        files.vmlinux(text)
    subprocess.run(["strip", ours], check=True)
    with pytest.raises(UserError, match=r"no debug symbols .*stripped") as caught:
        files.vmlinux(ours)
    assert caught.value.remedy
    assert "dbg" in caught.value.remedy
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        files.vmlinux(tmp_path / "empty")


def test_boot_image(stock_kernel: StockKernel) -> None:
    path = stock_kernel.debug.parents[2] / "boot" / f"vmlinuz-{stock_kernel.release}"
    with pytest.raises(UserError, match=r"boot image .*not a vmlinux"):
        find_vmlinux(stock_kernel.release, None, path)


def test_debuglink(ours: Path, root: Path, tmp_path: Path) -> None:
    identity = build_id(ours)
    debug = tmp_path / "ours.debug"
    subprocess.run(["objcopy", "--only-keep-debug", ours, debug], check=True)
    subprocess.run(["strip", ours], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", ours], check=True)
    files = DebugFiles(RELEASE, identity, root=root)
    assert files.vmlinux(ours) == debug
    (tmp_path / ".debug").mkdir()
    hidden = debug.rename(tmp_path / ".debug" / "ours.debug")
    assert files.vmlinux(ours) == hidden
    by_id = root / f"usr/lib/debug/.build-id/{identity[:2]}/{identity[2:]}.debug"
    by_id.parent.mkdir(parents=True)
    hidden.rename(by_id)
    assert files.vmlinux(ours) == by_id
    by_id.unlink()
    with pytest.raises(UserError, match=r"in a file called ours\.debug"):
        files.vmlinux(ours)


def test_debuglink_without_build_id(compile_c: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    path = compile_c("int main(void) { return 3; }", "-g", "-Wl,--build-id=none", name="plain")
    debug = tmp_path / "plain.debug"
    subprocess.run(["objcopy", "--only-keep-debug", path, debug], check=True)
    subprocess.run(["strip", path], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", path], check=True)
    assert DebugFiles(RELEASE, None, root=root).vmlinux(path) == debug
    with pytest.raises(UserError, match="build-id is missing"):
        DebugFiles(RELEASE, "ab" * 20, root=root).vmlinux(path)
    debug.write_bytes(debug.read_bytes() + b"\0")  # another checksum
    with pytest.raises(UserError, match="missing or of another build"):
        DebugFiles(RELEASE, None, root=root).vmlinux(path)


def modules_of(root: Path, source: Path, suffix: str) -> Path:
    return put(source, root / f"usr/lib/debug/lib/modules/{RELEASE}/kernel/net/x/nf_tables.ko{suffix}")


@pytest.mark.parametrize("suffix", ["", ".debug"])
@pytest.mark.parametrize("listed", [False, True])
def test_modules(ours: Path, root: Path, suffix: str, listed: bool) -> None:
    identity = build_id(ours)
    path = modules_of(root, ours, suffix)
    if listed:
        listing = root / f"lib/modules/{RELEASE}/modules.dep"
        listing.parent.mkdir(parents=True)
        listing.write_text(
            "kernel/net/x/nf_tables.ko.xz: kernel/lib/crc32c.ko.xz\nkernel/lib/crc32c.ko.xz:\n"
        )
    files = DebugFiles(RELEASE, "ab" * 20, root=root)
    assert files.module("nf_tables", identity) == path
    assert files.module("nf_tables", None) == path
    assert files.module("veth", identity) is None
    assert files.module("nf_tables", "cd" * 20) is None
    assert any("another build" in reason for reason in files.tried)


def test_module_names_with_dashes_and_compression(ours: Path, root: Path) -> None:
    identity = build_id(ours)
    path = root / f"lib/modules/{RELEASE}/kernel/drivers/net/virtio-net.ko.xz"
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.compress(ours.read_bytes()))
    files = DebugFiles(RELEASE, None, root=root)
    assert files.module("virtio_net", identity) == path
    with DebugImage.open(path) as image:
        assert image.source_line(image.symbols.named("main")[0].address)


def test_stock_kernel_and_its_modules_beside_it(stock_kernel: StockKernel) -> None:
    with DebugImage.open(stock_kernel.vmlinux) as image:
        files = DebugFiles(stock_kernel.release, image.build_id)
    assert files.vmlinux(stock_kernel.vmlinux) == stock_kernel.vmlinux
    path = stock_kernel.module("drivers/net/veth")
    assert files.module("veth", build_id(path)) == path
    assert files.module("nf_tables", None) == stock_kernel.module("net/netfilter/nf_tables")
    assert find_module("no_such_module", stock_kernel.release, None) is None


def test_build_id_of_notes(ours: Path) -> None:
    with DebugImage.open(ours) as image:
        section = image.elf.section(".note.gnu.build-id")
        assert section
        data = bytes(image.elf.data(section))
    assert build_id_of_notes(data) == build_id(ours)
    assert build_id_of_notes(data[:-1]) is None
    assert build_id_of_notes(b"") is None


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("6.12.117+deb12-cloud-amd64", "apt-get install linux-image-6.12.117+deb12-cloud-amd64-dbg"),
        ("6.8.0-31-generic", "linux-image-unsigned-6.8.0-31-generic-dbgsym"),
        ("6.8.5-301.fc40.x86_64", "dnf debuginfo-install kernel-6.8.5-301.fc40.x86_64"),
        ("6.9.1-arch1-1", "debuginfod.archlinux.org"),
        ("6.4.0-150600.21-default", "zypper install kernel-default-debuginfo"),
        ("6.12.0", "-d"),
    ],
)
def test_packages(release: str, command: str) -> None:
    assert command in debug_package(release)
