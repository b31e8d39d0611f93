"""Fetching from a real debuginfod server on loopback, which serves files the test built."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.debuginfo.debuginfod import Debuginfod
from ktcpdump_tui.debuginfo.find import DebugFiles
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import build_table
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.debuginfo.conftest import StockKernel

LARGE = 48 << 20
VETH = "drivers/net/veth"


@dataclass
class Server:
    """A debuginfod process, and the build-ids of what it has."""

    url: str
    process: subprocess.Popen[bytes]
    small: str
    large: str

    def requests(self) -> int:
        """Return how many times a client asked it for a debug file."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [line for line in lines if re.match(r'http_requests_total\{.*type="debuginfo"', line)]
        return sum(int(line.split()[-1]) for line in wanted)

    def has(self, build_id: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/buildid/{build_id}/debuginfo", timeout=30) as answer:
                return bool(answer.read(4) == b"\x7fELF")
        except (urllib.error.HTTPError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def build(folder: Path, name: str, filler: int) -> str:
    source = folder / f"{name}.c"
    source.write_text(f"int main(void) {{ return {len(name)}; }}\n")
    path = folder / name
    subprocess.run(["gcc", "-g", "-Wl,--build-id", source, "-o", path], check=True)
    if filler:
        (folder / "filler").write_bytes(os.urandom(filler))
        subprocess.run(["objcopy", "--add-section", f".filler={folder / 'filler'}", path], check=True)
    with DebugImage.open(path) as image:
        assert image.build_id
        return image.build_id


def serve(folder: Path, work: Path, small: str, large: str, patience: float) -> Server:
    """Start debuginfod on what is in ``folder``, and wait until it has indexed both files (seconds)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["debuginfod", "-p", str(port), "-d", work / "index.sqlite", "-F", folder],
        stdout=subprocess.DEVNULL,
        stderr=(work / "log").open("wb"),
        env={key: value for key, value in os.environ.items() if not key.startswith("DEBUGINFOD")},
    )
    running = Server(f"http://127.0.0.1:{port}", process, small, large)
    deadline = time.monotonic() + patience
    while not (running.has(small) and running.has(large)):
        assert process.poll() is None, (work / "log").read_text()
        assert time.monotonic() < deadline, (work / "log").read_text()
        time.sleep(0.2)
    return running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    small, large = build(folder, "small", 0), build(folder, "larger", LARGE)
    running = serve(folder, tmp_path_factory.mktemp("debuginfod"), small, large, 40)
    yield running
    running.stop()


@pytest.fixture
def client_cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEBUGINFOD_URLS", server.url)
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.delenv("DEBUGINFOD_PROGRESS", raising=False)
    return tmp_path / "cache"


def test_small_file_is_fetched_once(server: Server, client_cache: Path) -> None:
    answer = Debuginfod().debug_file(server.small)
    assert answer.path
    assert client_cache in answer.path.parents
    with DebugImage.open(answer.path) as image:
        assert image.build_id == server.small
    before = server.requests()
    assert Debuginfod().debug_file(server.small) == answer
    assert server.requests() == before


def test_missing_file_is_remembered(server: Server, client_cache: Path) -> None:
    assert Debuginfod().debug_file("ab" * 20) == Debuginfod().debug_file("ab" * 20)
    before = server.requests()
    answer = Debuginfod().debug_file("ab" * 20)
    assert answer.path is None
    assert "does not have it" in answer.reason
    assert server.requests() == before


def test_large_file_is_asked_for(server: Server, client_cache: Path) -> None:
    asked: list[int | None] = []

    def decline(size: int | None) -> bool:
        asked.append(size)
        return False

    answer = Debuginfod(confirm=decline).debug_file(server.large)
    assert answer.path is None
    assert "not to be fetched" in answer.reason
    assert asked[0]
    assert asked[0] > LARGE
    assert Debuginfod().debug_file(server.large).path is None  # nobody to ask

    seen: list[tuple[int, int | None]] = []

    def agree(size: int | None) -> bool:
        asked.append(size)
        return True

    answer = Debuginfod(agree, lambda done, size: seen.append((done, size))).debug_file(server.large)
    assert answer.path
    assert answer.path.stat().st_size > LARGE
    assert len(asked) == 2
    assert max(done for done, _ in seen) > 0
    assert Debuginfod(decline).debug_file(server.large) == answer  # in the cache: no question
    assert len(asked) == 2


def test_interrupting(server: Server, client_cache: Path) -> None:
    pressed: list[int] = []

    def progress(done: int, size: int | None) -> None:
        if not pressed:
            pressed.append(done)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # the main thread must get to see it before the transfer is over

    with pytest.raises(KeyboardInterrupt):
        Debuginfod(lambda size: True, progress).debug_file(server.large)
    assert not (client_cache / server.large / "debuginfo").exists()
    assert Debuginfod(lambda size: True).debug_file(server.large).path  # not remembered as missing


def test_a_capture_that_is_stopped_ends_the_transfer(server: Server, client_cache: Path) -> None:
    stopped: list[int] = []

    def progress(done: int, size: int | None) -> None:
        stopped.append(done)
        time.sleep(0.3)  # the main thread must get to see it before the transfer is over

    client = Debuginfod(lambda size: True, progress, cancelled=lambda: bool(stopped))
    with pytest.raises(UserError, match="interrupted"):
        client.debug_file(server.large)
    assert Debuginfod(lambda size: True).debug_file(server.large).path  # not remembered as missing


def test_a_callback_that_fails(server: Server, client_cache: Path) -> None:
    def progress(done: int, size: int | None) -> None:
        raise RuntimeError("the screen is gone")

    with pytest.raises(RuntimeError, match="the screen is gone"):
        Debuginfod(lambda size: True, progress).debug_file(server.large)


def test_no_server(client_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1")
    answer = Debuginfod().debug_file("cd" * 20)
    assert answer.path is None
    assert answer.reason.startswith("debuginfod")
    monkeypatch.delenv("DEBUGINFOD_URLS")
    assert "DEBUGINFOD_URLS is not set" in Debuginfod().debug_file("cd" * 20).reason


def test_found_as_vmlinux_and_module(server: Server, client_cache: Path, tmp_path: Path) -> None:
    files = DebugFiles("6.12.1-test", server.small, Debuginfod(), root=tmp_path)
    assert client_cache in files.vmlinux().parents
    module = files.module("veth", server.large)
    assert module is None
    assert any("not to be fetched" in reason for reason in files.tried)
    absent = DebugFiles("6.12.1-test", "ee" * 20, Debuginfod(), root=tmp_path)
    with pytest.raises(UserError, match="debuginfod does not have it"):
        absent.vmlinux()


@pytest.mark.long
def test_a_stock_kernel_and_a_module_come_from_the_server(
    stock_kernel: StockKernel, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the kernel is on this machine but its build-ids: lines and variables come from elsewhere."""
    served, work = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("debuginfod")
    local = {"vmlinux": stock_kernel.vmlinux, "veth": stock_kernel.module(VETH)}
    ids, expected = {}, {}
    for name, path in local.items():
        shutil.copy(path, served / name)
        with DebugImage.open(path) as image:
            ids[name] = image.build_id or ""
            if name == "vmlinux":
                address = image.symbols.named("ip_rcv_core")[0].address
                expected = {at: image.source_line(at) for at in range(address, address + 200, 8)}
                table = build_table(image, [address]).to_bytes()
    running = serve(served, work, ids["veth"], ids["vmlinux"], 300)
    try:
        monkeypatch.setenv("DEBUGINFOD_URLS", running.url)
        monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(work / "cache"))
        asked: list[int | None] = []
        client = Debuginfod(confirm=lambda size: not asked.append(size))
        files = DebugFiles(stock_kernel.release, ids["vmlinux"], client, root=work / "empty")
        path = files.vmlinux()
        assert asked == [stock_kernel.vmlinux.stat().st_size]
        assert work / "cache" in path.parents
        with DebugImage.open(path) as image:
            assert image.build_id == ids["vmlinux"]
            assert {at: image.source_line(at) for at in expected} == expected
            assert build_table(image, [min(expected)]).to_bytes() == table
        module = files.module("veth", ids["veth"])
        assert module
        with DebugImage.open(module) as image:
            assert image.symbols.named("veth_xmit")
        before = running.requests()
        again = DebugFiles(stock_kernel.release, ids["vmlinux"], Debuginfod(), root=work / "empty")
        assert again.vmlinux() == path, "fetched once, and not asked for again"
        assert running.requests() == before
    finally:
        running.stop()
