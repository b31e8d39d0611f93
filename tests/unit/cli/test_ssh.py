"""--ssh against a real sshd on this machine, with keys, configuration and port of its own."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui.cli import main
from ktcpdump_tui.commands.console import Console
from ktcpdump_tui.commands.ssh_session import SshSession
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import parse
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).with_name("remote_program.py")
ROOT = Path(__file__).parents[3]
RECORDED = ROOT / "tests" / "data" / "ping-6.12.ktrace"


class Host:
    """This machine as another one: ``bin`` is in its PATH before everything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for key in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True, timeout=60
            )
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        host_key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            f"SetEnv PATH={self.bin}:/usr/bin:/bin PYTHONPATH={ROOT} ARGUMENTS_FILE={folder}/arguments\n"
        )
        (folder / "config").write_text(
            f"Host there\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" IdentityFile {folder}/user\n IdentitiesOnly yes\n UserKnownHostsFile {folder}/known\n"
            f"Host stranger\n HostName 127.0.0.1\n Port {self.port}\n User {getpass.getuser()}\n"
            f" UserKnownHostsFile {folder}/nobody\n BatchMode yes\n"
            f"Host nowhere\n HostName 127.0.0.1\n Port 1\n BatchMode yes\n"
        )
        # the system's ssh, with this configuration in place of the user's
        ssh = folder / "client" / "ssh"
        ssh.parent.mkdir()
        self.script(ssh, f'exec /usr/bin/ssh -F {folder}/config "$@"')

    def script(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def install(self) -> None:
        """Have the program there, and root."""
        self.script(self.bin / "ktcpdump-tui", f'exec {shlex.quote(sys.executable)} {PROGRAM} "$@"')
        self.script(self.bin / "id", "echo 0")
        (self.bin / "sudo").unlink(missing_ok=True)

    @property
    def arguments(self) -> list[str]:
        """The arguments the program there was started with."""
        return [str(word) for word in json.loads((self.folder / "arguments").read_text())]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("ssh"))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd has its children live without rights
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", host.folder / "sshd_config"], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", host.port), 1).close()
            break
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                pytest.fail(f"sshd does not listen: {server.communicate()[1].decode()}")
            time.sleep(0.05)
    yield host
    server.terminate()
    server.communicate()


@pytest.fixture
def host(sshd: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{sshd.folder}/client:{os.environ['PATH']}")
    sshd.install()
    for left in ("arguments", "ended"):
        (sshd.folder / left).unlink(missing_ok=True)
    return sshd


@pytest.fixture
def session(host: Host) -> Iterator[Callable[..., SshSession]]:
    made: list[SshSession] = []

    def begin(*words: str) -> SshSession:
        made.append(SshSession(parse(["--ssh", "there", "--no-tui", *words]), Console()))
        made[-1].prepare()
        made[-1].start()
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_events_of_another_host_are_printed_here_as_if_captured_here(host: Host, capfd: Any) -> None:
    assert main(["--ssh", "there", "--json", "--duration", "1", "-i", "ip_rcv+*,b", "icmp or arp"]) == 0
    output, errors = capfd.readouterr()
    lines = [json.loads(line) for line in output.splitlines()]
    with Trace.open(RECORDED) as trace:
        assert len(lines) == len(trace) + 2
        assert trace.header.release in lines[0].values()
    assert "listening: 5 probes attached" in errors
    assert "compiling" not in errors  # progress is for terminals
    there = parse(host.arguments)
    assert (there.record, there.control, there.duration) == ("-", True, 1.0)
    assert (there.specs, there.expression) == (("ip_rcv+*,b",), "icmp or arp")


def test_probes_are_added_and_removed_over_the_connection(
    session: Callable[..., SshSession], host: Host
) -> None:
    capture = session()
    with capture.open_trace() as trace:
        while not capture.can_probe:
            time.sleep(0.01)
        assert capture.probe("ip_rcv_core:*").result(20) == "ip_rcv_core:*: 5 probes attached"
        assert capture.unprobe("ip_rcv_core:*").result(20) == "ip_rcv_core:*: 5 probes removed"
        refused = capture.probe("no_such").exception(20)
        assert isinstance(refused, UserError)
        assert (refused.message, refused.status) == ("-i no_such: this kernel has no function", 2)
        assert refused.remedy == "did you mean?"
        capture.stop()
        capture.join()
        trace.refresh()
        assert trace.summary is not None
        assert trace.header.command_line == capture.options.command_line
    assert capture.error is None
    assert capture.probe("too_late").exception(1) is not None
    assert (host.folder / "ended").exists()


def test_the_capture_ends_with_the_one_who_looks_at_it(
    session: Callable[..., SshSession], host: Host
) -> None:
    """As when this machine loses its power: nothing is said, the connection is gone."""
    capture = session()
    capture.open_trace().close()
    assert capture._process is not None
    capture._process.kill()
    capture.join()
    assert isinstance(capture.error, UserError)
    assert "cut off" in str(capture.error)
    deadline = time.monotonic() + 20
    while not (host.folder / "ended").exists():
        assert time.monotonic() < deadline, "the program there goes on"
        time.sleep(0.05)


def _missing(host: Host) -> None:
    (host.bin / "ktcpdump-tui").unlink()


def _no_root(host: Host) -> None:
    host.script(host.bin / "id", "echo 1000")
    host.script(host.bin / "sudo", "echo 'sudo: a password is required' >&2; exit 1")


def _nothing(_: Host) -> None:
    pass


@pytest.mark.parametrize(
    ("destination", "words", "prepare", "said"),
    [
        ("there", "", _missing, "there has no ktcpdump-tui in its PATH\n  install it there: "),
        ("there", "", _no_root, "capturing on there needs root there, and its sudo asks for a password\n"),
        ("nowhere", "", _nothing, "--ssh nowhere: connect to host 127.0.0.1 port 1: Connection refused\n"),
        ("stranger", "", _nothing, "--ssh stranger: Host key verification failed.\n"),
        ("there", "-i refused", _nothing, "there: this kernel has no kprobes: CONFIG_KPROBES is not set\n"),
        (
            "there",
            "-i killed --duration 1",
            _nothing,
            "there ended without a summary: the other side was cut",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    host: Host, capfd: Any, destination: str, words: str, prepare: Callable[[Host], None], said: str
) -> None:
    prepare(host)
    assert main(["--ssh", destination, "--no-tui", *words.split()]) == 1
    errors = capfd.readouterr().err
    assert f"ktcpdump-tui: {said}" in errors
    assert "Traceback" not in errors


def test_sudo_that_does_not_ask_is_used(host: Host, capfd: Any) -> None:
    host.script(host.bin / "id", "echo 1000")
    host.script(host.bin / "sudo", f'echo "$@" >> {host.folder}/sudo; shift; exec "$@"')
    assert main(["--ssh", "there", "--no-tui", "--duration", "1"]) == 0
    assert "ktcpdump-tui --no-tui --record - --control" in (host.folder / "sudo").read_text()


def test_without_ssh_the_package_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["--ssh", "there", "--no-tui"]) == 1
    assert "--ssh there needs ssh, which is not installed\n  apt-get install" in capfd.readouterr().err
