"""Source finding, over trees and tarballs the test makes, the stock tarballs, and a real debuginfod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from ktcpdump_tui.debuginfo.source import Missing, SourceFinder, SourceText, candidate_names
from ktcpdump_tui.debuginfo.source_package import source_package
from ktcpdump_tui.debuginfo.source_places import cache_folder, trim_cache
from ktcpdump_tui.debuginfo.tarball import Tarball
from ktcpdump_tui.errors import UserError

STOCK = sorted(Path("~/.cache/ktcpdump-tui/lab").expanduser().glob("*/root/usr/src/linux-source-*.tar.xz"))
DEBIAN = "debian/build/build_amd64_none_cloud-amd64/"
MAKEFILE = "VERSION = 6\nPATCHLEVEL = 8\nSUBLEVEL = 3\nEXTRAVERSION =\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "linux-6.8.3"
    files = {
        "Makefile": MAKEFILE,
        "net/core/dev.c": "one\n\ttwo\n\x0cthree\n",
        "net/ipv4/ip_input.c": "/* ip */\n" * 3,
        "include/linux/skbuff.h": "struct sk_buff;\n",
        "drivers/net/veth.c": "veth\n",
        "tools/perf/x.c": "x\n",
        "tools/perf-security.c": "y\n",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    # Enough that does not compress to fill several small xz blocks.
    for number in range(40):
        folder = root / "net" / f"zz{number:02}"
        folder.mkdir()
        (folder / "random.c").write_bytes(os.urandom(3000))
    return root


def pack(tree: Path, archive: Path, *options: str, sort: str = "--sort=name") -> Path:
    subprocess.run(["tar", sort, *options, "-cf", archive, "-C", tree.parent, tree.name], check=True)
    return archive


def xz_in_blocks(tree: Path, folder: Path, *options: str) -> Path:
    plain = pack(tree, folder / "linux.tar", *options)
    subprocess.run(["xz", "-T2", "--block-size=16384", plain], check=True)
    return folder / "linux.tar.xz"


def text(finder: SourceFinder, file: str) -> SourceText:
    found = finder.find(file)
    assert isinstance(found, SourceText), found
    return found


@pytest.mark.parametrize(
    "recorded",
    [
        DEBIAN + "net/core/dev.c",
        "/build/linux-vCyKs5/linux-6.8.0/net/core/dev.c",
        "/home/net/include/linux/net/core/dev.c",
        "./net/core/dev.c",
        DEBIAN + "arch/../net/core/dev.c",
        "net/core/dev.c",
    ],
)
def test_the_builders_folder_is_stripped(tree: Path, recorded: str) -> None:
    found = text(SourceFinder([tree]), recorded)
    assert (found.name, found.file, found.origin) == ("net/core/dev.c", recorded, str(tree))
    assert found.lines == ("one", "\ttwo", "\x0cthree")


def test_the_compilation_folder_is_stripped_where_it_is_known(tree: Path) -> None:
    (tree / "net/net").mkdir()
    (tree / "net/net/a.c").write_text("inner\n")
    (tree / "net/a.c").write_text("outer\n")
    assert text(SourceFinder([tree], folder="/b/net"), "/b/net/net/a.c").lines == ("outer",)


def test_substitute_path_as_in_gdb(tree: Path) -> None:
    finder = SourceFinder([f"/build/one={tree}"])
    assert text(finder, "/build/one/net/core/dev.c").lines[0] == "one"
    assert isinstance(finder.find("/build/oneself/net/core/dev.c"), Missing)


def test_substitute_path_means_the_compilation_folder_that_a_trace_names(tree: Path) -> None:
    finder = SourceFinder([f"/build/linux-6.8.3={tree}"], builds=[("ab", None), ("cd", "/build/linux-6.8.3")])
    assert text(finder, "net/core/dev.c").origin == f"{tree}/net/core/dev.c"
    missing = finder.find("net/core/none.c")
    assert isinstance(missing, Missing)
    assert missing.tried == (f"{tree}/net/core/none.c",)


def test_a_file_recorded_where_it_still_is(tree: Path) -> None:
    assert text(SourceFinder(), f"{tree}/net/core/dev.c").lines[0] == "one"
    assert text(SourceFinder(folder=str(tree)), "net/core/dev.c").lines[0] == "one", "a kernel built here"


def test_what_a_trace_carries_comes_after_what_was_named(tree: Path) -> None:
    carried = {"net/core/dev.c": b"from the trace\n"}
    assert text(SourceFinder(embedded=carried.get), "net/core/dev.c").lines == ("from the trace",)
    assert text(SourceFinder([tree], embedded=carried.get), "net/core/dev.c").lines[0] == "one"
    assert isinstance(SourceFinder(embedded=carried.get).find("net/core/sock.c"), Missing)


def test_missing_says_where_it_looked_and_which_package_has_it(tree: Path, tmp_path: Path) -> None:
    finder = SourceFinder([tree], release="6.12.117+deb12-cloud-amd64", system=tmp_path / "nothing")
    missing = finder.find(DEBIAN + "net/core/nothing.c")
    assert isinstance(missing, Missing)
    assert missing.tried == (str(tree),)
    assert missing.remedy == "apt-get install linux-source-6.12"
    assert missing.message == f"no source for {DEBIAN}net/core/nothing.c (looked in {tree})"
    assert finder.known(DEBIAN + "net/core/nothing.c") is missing
    assert finder.known("net/core/dev.c") is None


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("6.1.0-56-cloud-amd64", "apt-get install linux-source-6.1"),
        ("6.8.0-49-generic", "apt-get install linux-source-6.8.0"),
        ("6.11.4-301.fc41.x86_64", "dnf debuginfo-install kernel-6.11.4-301.fc41.x86_64"),
        ("6.12.4-arch1-1", "set DEBUGINFOD_URLS=https://debuginfod.archlinux.org"),
        ("6.4.0-150600.23-default", "zypper install kernel-source"),
        ("6.9.0", "name a source tree or tarball of this kernel with -s"),
        ("", "name a source tree or tarball of this kernel with -s"),
    ],
)
def test_package_of_each_distribution(release: str, command: str) -> None:
    assert source_package(release) == command


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        SourceFinder([tmp_path / "nowhere"])
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="no source tree and no tarball"):
        SourceFinder([tmp_path / "file.txt"])


@pytest.mark.parametrize("ending", [".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst"])
def test_tarballs_are_read_once(tree: Path, tmp_path: Path, ending: str) -> None:
    archive = pack(
        tree, tmp_path / f"linux{ending}", *(["--zstd"] if ending == ".tar.zst" else ["--auto-compress"])
    )
    reports: list[tuple[str, int, int]] = []
    finder = SourceFinder([archive], progress=lambda *report: reports.append(report))
    assert text(finder, DEBIAN + "net/core/dev.c").lines == ("one", "\ttwo", "\x0cthree")
    assert text(finder, "tools/perf/x.c").lines == ("x",)  # outside what is unpacked at once
    assert reports[-1] == (archive.name, archive.stat().st_size, archive.stat().st_size)
    reports.clear()
    again = SourceFinder([archive], progress=lambda *report: reports.append(report))
    assert text(again, "include/linux/skbuff.h").lines == ("struct sk_buff;",)
    assert isinstance(again.find("net/none.c"), Missing)
    assert reports == []


@pytest.mark.parametrize("layout", ["--format=gnu", "--format=pax", "--format=ustar"])
def test_an_xz_tarball_in_blocks_is_not_unpacked(tree: Path, tmp_path: Path, layout: str) -> None:
    long = tree / "net" / ("a" * 60) / ("b" * 60)
    long.mkdir(parents=True)
    (long / "long_name.c").write_text("long\n")
    archive = xz_in_blocks(tree, tmp_path, layout)
    tarball = Tarball(archive)
    assert tarball.indexed
    assert tarball.is_sorted()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(tree))
            assert tarball.find(name) == path.read_bytes(), name
    assert tarball.find("net/core/none.c") is None
    finder = SourceFinder([archive])
    assert text(finder, DEBIAN + "net/core/dev.c").lines[0] == "one"
    kept = [path.name for path in cache_folder().rglob("*.c")]
    assert kept == ["dev.c"]


def test_an_unsorted_tarball_in_blocks_is_read_through(tree: Path, tmp_path: Path) -> None:
    plain = tmp_path / "mixed.tar"
    names = sorted(
        (path for path in tree.rglob("*") if path.is_file()),
        key=lambda path: path.name[::-1] + str(path)[::-1],
    )
    with tarfile.open(plain, "w") as archive:
        archive.add(tree, arcname=tree.name, recursive=False)
        for path in names:
            archive.add(path, arcname=f"{tree.name}/{path.relative_to(tree)}")
    subprocess.run(["xz", "-T2", "--block-size=16384", plain], check=True)
    finder = SourceFinder([tmp_path / "mixed.tar.xz"])
    assert not Tarball(tmp_path / "mixed.tar.xz").is_sorted()
    for name in ("net/core/dev.c", "drivers/net/veth.c", "include/linux/skbuff.h"):
        assert text(finder, name).name == name


def test_git_archives_order(tree: Path, tmp_path: Path) -> None:
    subprocess.run("git init -q && git add -A", shell=True, cwd=tree, check=True)
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"], cwd=tree, check=True
    )
    subprocess.run(
        ["git", "archive", "--prefix=linux-6.8.3/", "-o", tmp_path / "g.tar", "HEAD"], cwd=tree, check=True
    )
    subprocess.run(["xz", "-T2", "--block-size=16384", tmp_path / "g.tar"], check=True)
    tarball = Tarball(tmp_path / "g.tar.xz")
    assert tarball.root == "linux-6.8.3/"
    for name in ("tools/perf/x.c", "tools/perf-security.c", "net/core/dev.c", "Makefile"):
        assert tarball.find(name) == (tree / name).read_bytes()


def test_a_damaged_tarball_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    archive = pack(tree, tmp_path / "linux.tar.xz", "--auto-compress")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged"):
        SourceFinder([archive]).find("net/core/dev.c")


def test_names_from_a_foreign_trace_stay_in_the_cache(tree: Path, tmp_path: Path) -> None:
    finder = SourceFinder([xz_in_blocks(tree, tmp_path)])
    assert isinstance(finder.find("net/../../../../../../etc/passwd"), Missing)
    assert all(not name.startswith(("/", "..")) for name in candidate_names("../../../etc/shadow"))


def test_a_version_that_differs_is_doubted(tree: Path) -> None:
    assert text(SourceFinder([tree], release="6.8.3-1-amd64"), "net/core/dev.c").doubt is None
    assert text(SourceFinder([tree], release="6.8.0-49-generic"), "net/core/dev.c").doubt is None
    doubt = text(SourceFinder([tree], release="6.12.1-amd64"), "net/core/dev.c").doubt
    assert doubt == "source is 6.8.3, the kernel 6.12.1-amd64: lines may be off"


@pytest.mark.parametrize(
    "place",
    [
        "lib/modules/6.8.0-49-generic/source",
        "usr/src/linux-source-6.8.0",
        "usr/src/linux-6.8.0",
        "usr/src/debug/kernel-6.8.fc40/linux-6.8.0-49.x86_64",
    ],
)
def test_places_of_distributions(tree: Path, tmp_path: Path, place: str) -> None:
    system = tmp_path / "system"
    (system / place).parent.mkdir(parents=True)
    (system / place).symlink_to(tree)
    finder = SourceFinder(release="6.8.0-49-generic", system=system)
    assert text(finder, DEBIAN + "net/core/dev.c").lines[0] == "one"
    assert isinstance(SourceFinder(release="6.9.0", system=system).find("net/core/dev.c"), Missing)


def test_ubuntus_and_debians_tarballs_are_found(tree: Path, tmp_path: Path) -> None:
    sources = tmp_path / "system/usr/src"
    (sources / "linux-source-6.8.0").mkdir(parents=True)
    pack(tree, sources / "linux-source-6.8.0/linux-source-6.8.0.tar.bz2", "--auto-compress")
    pack(tree, sources / "linux-source-6.1.tar.xz", "--auto-compress")
    for release in ("6.8.0-49-generic", "6.1.0-56-cloud-amd64"):
        found = text(SourceFinder(release=release, system=tmp_path / "system"), "net/core/dev.c")
        assert ".tar." in found.origin


def test_two_processes_unpack_once(tree: Path, tmp_path: Path) -> None:
    archive = pack(tree, tmp_path / "linux.tar.gz", "--auto-compress")
    program = (
        "import sys; from ktcpdump_tui.debuginfo.source import SourceFinder as F; "
        "print(len(F([sys.argv[1]]).find('net/zz39/random.c').lines) > 0)"
    )
    command = [sys.executable, "-c", program, str(archive)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
        for _ in "ab"
    ]
    assert [each.communicate()[0].strip() for each in running] == ["True", "True"]
    assert not [path for path in cache_folder().rglob(".*") if path.is_file()]


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "bounded"
    for age, name in enumerate(("new", "middle", "old")):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_bytes(bytes(1000))
        os.utime(folder / name, (time.time() - age * 100,) * 2)
    trim_cache(folder, 2500)
    assert {path.name for path in folder.iterdir()} == {"new", "middle"}


def test_stock_tarballs_give_a_file_at_once() -> None:
    assert len(STOCK) >= 2
    for archive in STOCK:
        release = archive.parents[3].name
        finder = SourceFinder([archive], release=release)
        found = text(finder, DEBIAN + "net/ipv4/ip_input.c")
        assert found.doubt is None
        assert any("ip_rcv_core(struct sk_buff *skb, struct net *net)" in line for line in found.lines)
        assert text(finder, DEBIAN + "include/linux/skbuff.h").name == "include/linux/skbuff.h"
        assert isinstance(finder.find(DEBIAN + "net/ipv4/none.c"), Missing)


@pytest.fixture
def debuginfod(tmp_path: Path) -> tuple[str, str, Path]:
    """A server on this machine that knows one program; returns (URL, build-id, source file)."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "hello.c").write_text("int main(void)\n{\n\treturn 42;\n}\n")
    subprocess.run(
        ["gcc", "-g", "-Wl,--build-id=sha1", "-o", folder / "hello", folder / "hello.c"], check=True
    )
    notes = subprocess.check_output(["readelf", "-n", folder / "hello"], text=True)
    build_id = notes.partition("Build ID: ")[2].split()[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["debuginfod", "-d", ":memory:", "-p", str(port), "-F", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        environment = {**os.environ, "DEBUGINFOD_URLS": url, "DEBUGINFOD_CACHE_PATH": str(tmp_path / "probe")}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            ready = subprocess.run(
                ["debuginfod-find", "executable", build_id], env=environment, capture_output=True, check=False
            )
            if ready.returncode == 0:
                break
            subprocess.run(["rm", "-rf", tmp_path / "probe"], check=True)
            server_up = server.poll() is None
            assert server_up
        yield url, build_id, folder / "hello.c"
    finally:
        server.terminate()
        server.wait()


def test_debuginfod_is_asked_last(
    debuginfod: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, build_id, file = debuginfod
    monkeypatch.setenv("DEBUGINFOD_URLS", url)
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "client"))
    # The server reads the file itself; this machine must not find it by its recorded name.
    finder = SourceFinder([f"{file.parent}={tmp_path}/elsewhere"], build_id=build_id, folder=str(file.parent))
    found = text(finder, str(file))
    assert found.origin == "debuginfod"
    assert found.lines[2] == "\treturn 42;"
    assert text(finder, "hello.c").origin == "debuginfod"
    of_module = SourceFinder([f"{file.parent}=/elsewhere"], builds=[(build_id, str(file.parent))])
    assert text(of_module, "hello.c").origin == "debuginfod"
    missing = finder.find("/nowhere/hello.c")
    assert isinstance(missing, Missing)
    assert missing.tried[-1] == "debuginfod"
