"""Fetching kernels with the real apt, from a small repository that the test makes."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import packages, releases, stock

RELEASE = "6.12.9+deb12-cloud-amd64"


class Repository:
    """A flat apt repository, and the apt configuration that makes it the only one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.folder.mkdir(parents=True)
        self.stanzas: list[str] = []
        for name in ("lists/partial", "archives/partial", "etc"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        self.sources = folder / "etc/sources.list"
        self.sources.write_text(f"deb [trusted=yes] copy:{self.folder} ./\n")
        self.lists = folder / "lists"
        self.configuration = folder / "apt.conf"
        self.configuration.write_text(
            f'Dir::Etc::sourcelist "{self.sources}";\nDir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{self.lists}";\nDir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}";\nDir::Cache::archives "{folder}/archives";\n'
            f'APT::Architecture "amd64";\nAPT::Sandbox::User "root";\nAcquire::Languages "none";\n'
        )

    def add(
        self, name: str, version: str, files: dict[str, str], depends: str = "", installed_kib: int = 10
    ) -> Path:
        """Build a real package and list it."""
        tree = self.folder / "tree"
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: nobody\n"
            f"Installed-Size: {installed_kib}\nDescription: test\n"
            + (f"Depends: {depends}\n" if depends else "")
        )
        for path, content in {"DEBIAN/control": control, **files}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
        deb = self.folder / f"{name}_{version}_amd64.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb],
            check=True,
            capture_output=True,
        )
        subprocess.run(["rm", "-r", tree], check=True)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        self.stanzas.append(
            f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        )
        (self.folder / "Packages").write_text("\n".join(self.stanzas))
        return deb

    def add_kernel(
        self,
        release: str,
        version: str,
        *,
        symbols: bool = True,
        source: bool = True,
        installed_kib: int = 10,
    ) -> None:
        """Add the packages of one kernel, each with the file that the lab looks for."""
        series = ".".join(release.split(".")[:2])
        common = release.replace("cloud-amd64", "common")
        self.add(
            f"linux-image-{release}",
            version,
            {
                f"boot/vmlinuz-{release}": f"image {version}",
                f"lib/modules/{release}/modules.builtin": "kernel/fs/fuse/fuse.ko\n",
                f"lib/modules/{release}/modules.order": "",
            },
        )
        if symbols:
            self.add(
                f"linux-image-{release}-dbg",
                version,
                {f"usr/lib/debug/boot/vmlinux-{release}": "symbols"},
                installed_kib=installed_kib,
            )
        self.add(
            f"linux-headers-{release}",
            version,
            {f"usr/src/linux-headers-{release}/Makefile": ""},
            f"linux-headers-{common} (= {version}), linux-kbuild-{series}, gcc-12",
        )
        self.add(f"linux-headers-{common}", version, {f"usr/src/linux-headers-{common}/Makefile": ""})
        self.add(f"linux-kbuild-{series}", version, {f"usr/lib/linux-kbuild-{series}/x": ""})
        if source:
            self.add(f"linux-source-{series}", version, {f"usr/src/linux-source-{series}.tar.xz": "source"})

    def update(self) -> None:
        subprocess.run(["apt-get", "-qq", "update"], check=True)

    def vanish(self) -> None:
        """Take away everything that a network would be needed for."""
        subprocess.run(["rm", "-r", self.folder, self.lists], check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "apt")
    monkeypatch.setenv("APT_CONFIG", str(made.configuration))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The system under test is one whose own sources are all there is, whatever this machine is.
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    monkeypatch.setattr(releases, "DEBIAN_CODENAME", codename)
    return made


def test_a_kernel_is_unpacked_whole_and_then_needs_nothing(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    kernel = packages.fetch("6.12")
    assert kernel.release == RELEASE
    assert kernel.image.read_text() == "image 6.12.9-1"
    assert kernel.vmlinux.read_text() == "symbols"
    assert kernel.source_tarball.read_text() == "source"
    assert [tree.name for tree in kernel.header_trees] == [
        f"linux-headers-{RELEASE}",
        "linux-headers-6.12.9+deb12-common",
    ]
    assert [tree.name for tree in kernel.kbuild_trees] == ["linux-kbuild-6.12"]
    assert (kernel.modules / "modules.dep").exists()
    assert not list((stock.cache_folder() / "debs").iterdir())
    repository.vanish()
    assert packages.fetch("6.12") == kernel
    assert packages.fetch() == kernel


def test_the_newest_release_is_taken_by_number(repository: Repository) -> None:
    repository.add_kernel("6.12.9+deb12-cloud-amd64", "6.12.9-1", source=False)
    repository.add_kernel("6.12.10+deb12-cloud-amd64", "6.12.10-1")
    repository.add_kernel("6.1.0-9-cloud-amd64", "6.1.9-1")
    repository.update()
    assert packages.fetch("6.12").release == "6.12.10+deb12-cloud-amd64"
    assert packages.fetch("6.1").release == "6.1.0-9-cloud-amd64"


def test_a_release_without_all_its_parts_is_passed_over(repository: Repository) -> None:
    repository.add_kernel("6.12.9+deb12-cloud-amd64", "6.12.9-1")
    repository.add_kernel("6.12.10+deb12-cloud-amd64", "6.12.10-1", symbols=False)
    repository.update()
    assert packages.fetch("6.12").release == "6.12.9+deb12-cloud-amd64"


def test_newest_fetches_beside_what_is_here(repository: Repository) -> None:
    repository.add_kernel("6.12.9+deb12-cloud-amd64", "6.12.9-1")
    repository.update()
    packages.fetch("6.12")
    repository.add_kernel("6.12.10+deb12-cloud-amd64", "6.12.10-1")
    repository.update()
    assert packages.fetch("6.12").release == "6.12.9+deb12-cloud-amd64"
    assert packages.fetch("6.12", newest=True).release == "6.12.10+deb12-cloud-amd64"
    assert packages.fetch("6.12").release == "6.12.10+deb12-cloud-amd64"


def test_what_is_not_available_is_said_with_what_is(repository: Repository) -> None:
    repository.add_kernel("6.12.9+deb12-cloud-amd64", "6.12.9-1")
    repository.add_kernel("6.16.3+deb13-cloud-amd64", "6.16.3-1")
    repository.update()
    with pytest.raises(UserError, match=r"have no kernel 6\.1\.\n.*--lab=6\.12, --lab=6\.16\.") as caught:
        packages.fetch("6.1")
    assert caught.value.status == 1
    with pytest.raises(UserError, match="not a kernel version") as caught:
        packages.fetch("newest")
    assert caught.value.status == 2


def test_another_system_asks_debian_12(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add("linux-image-6.11.0-generic", "6.11", {"boot/x": ""})  # as on Ubuntu
    repository.update()
    debian = Repository(tmp_path / "debian")
    debian.add_kernel(RELEASE, "6.12.9-1")
    monkeypatch.setattr(releases, "DEBIAN_CODENAME", "another")
    monkeypatch.setattr(releases, "DEBIAN_SOURCES", debian.sources.read_text())
    monkeypatch.setattr(releases, "KEYRING", tmp_path / "no-keyring.gpg")
    with pytest.raises(
        UserError, match=r"(?s)have no Debian kernel 6\.12 .*apt-get install debian-archive-keyring"
    ):
        packages.fetch("6.12")
    (tmp_path / "no-keyring.gpg").touch()
    kernel = packages.fetch("6.12")
    assert kernel.vmlinux.read_text() == "symbols"
    assert not list(repository.lists.glob("*debian*"))  # the system's lists are as they were
    assert not (stock.cache_folder() / releases.LISTS).exists()
    with pytest.raises(UserError, match=r"have no kernel 6\.1\.\n.*--lab=6\.12\."):
        packages.fetch("6.1")


def test_a_machine_that_has_never_updated_its_lists(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    if os.geteuid() == 0:
        assert packages.fetch("6.12").release == RELEASE
    else:
        with pytest.raises(UserError, match=r"(?s)no cloud kernels.*sudo apt-get update"):
            packages.fetch("6.12")


def test_a_missing_part_is_said(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1", symbols=False)
    repository.update()
    with pytest.raises(UserError, match="but not its debug symbols, headers or source"):
        packages.fetch("6.12")


def test_a_half_unpacked_release_is_made_anew(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    half = stock.cache_folder() / RELEASE / "root"
    (half / "boot").mkdir(parents=True)
    (half / "boot/half").touch()
    (half.parent / "root.partial").mkdir()
    assert stock.cached_kernel("6.12") is None
    kernel = packages.fetch("6.12")
    assert not (kernel.root / "boot/half").exists()
    assert kernel.vmlinux.exists()
    assert {path.name for path in half.parent.iterdir()} == {"root", "manifest.json"}


def test_a_damaged_download_is_fetched_again(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    debs = stock.cache_folder() / "debs"
    debs.mkdir(parents=True)
    good = repository.folder / f"linux-image-{RELEASE}_6.12.9-1_amd64.deb"
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    (debs / good.name).write_bytes(data)
    assert packages.fetch("6.12").image.read_text() == "image 6.12.9-1"


def test_an_intact_download_is_used(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    debs = stock.cache_folder() / "debs"
    debs.mkdir(parents=True)
    for deb in repository.folder.glob("*.deb"):
        deb.rename(debs / deb.name)
    assert packages.fetch("6.12").release == RELEASE


def test_a_package_that_is_not_what_was_signed_is_refused(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    deb = repository.folder / f"linux-image-{RELEASE}_6.12.9-1_amd64.deb"
    data = deb.read_bytes()
    deb.write_bytes(data.replace(b"image 6.12.9-1", b"image 6.66.6-1"))
    with pytest.raises(UserError, match=r"could not download linux-image-6\.12\.9.* Hash Sum mismatch\."):
        packages.fetch("6.12")
    assert stock.cached_kernel("6.12") is None
    deb.write_bytes(data)
    assert packages.fetch("6.12").release == RELEASE


def test_lists_that_name_files_gone_from_the_server(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    (repository.folder / "linux-kbuild-6.12_6.12.9-1_amd64.deb").unlink()
    with pytest.raises(UserError, match=r"could not download linux-kbuild-6\.12 .*\n.*apt-get update"):
        packages.fetch("6.12")


def test_a_disk_that_is_too_small_is_said_before_the_download(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1", installed_kib=1 << 40)
    repository.update()
    with pytest.raises(UserError, match=r"need \d+\.\d GB in .* where \d+\.\d GB are free") as caught:
        packages.fetch("6.12")
    assert "XDG_CACHE_HOME" in str(caught.value.remedy)
    assert not list((stock.cache_folder() / "debs").iterdir())


def test_a_cache_that_cannot_be_written(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot keep its kernels in"):
        packages.fetch("6.12")


def test_two_programs_fetch_once(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    program = "from ktcpdump_tui.lab import packages; print(packages.fetch('6.12').root.stat().st_ino)"

    def run(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path.cwd()
        ).stdout

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(4)))) == 1


def test_a_damaged_manifest_does_not_count(repository: Repository) -> None:
    repository.add_kernel(RELEASE, "6.12.9-1")
    repository.update()
    kernel = packages.fetch("6.12")
    manifest = kernel.root.parent / stock.MANIFEST
    for text in ("", "[]", '{"layout": 0}', "{"):
        manifest.write_text(text)
        assert stock.cached_kernel("6.12") is None
    assert packages.fetch("6.12") == kernel
