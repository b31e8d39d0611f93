"""The guest's agent, run on this machine with socket pairs in place of virtio-serial ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import agent
from ktcpdump_tui.lab.process import PortStream

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import sys
from ktcpdump_tui.lab.agent import Agent
names, numbers = sys.argv[1].split(","), map(int, sys.argv[2].split(","))
Agent(dict(zip(names, numbers))).serve()
"""


def gone() -> UserError:
    return UserError("gone")


class Guest:
    """An agent with one slot."""

    def __init__(self) -> None:
        names = [agent.CONTROL, agent.port_name(0, 0), agent.port_name(0, 1)]
        pairs = [socket.socketpair() for _ in names]
        self.control, self.out, self.err = (ours for ours, _ in pairs)
        for _, theirs in pairs:
            theirs.setblocking(False)
        numbers = [theirs.fileno() for _, theirs in pairs]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, ",".join(names), ",".join(map(str, numbers))], pass_fds=numbers
        )
        for _, theirs in pairs:
            theirs.close()
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for port in (self.control, self.out, self.err):
            port.close()
        assert self.process.wait(10) == 0

    def hear(self) -> list[bytes]:
        while (message := agent.unpack(self.buffer)) is None:
            data = self.control.recv(65536)
            assert data
            self.buffer += data
        return message

    def run(self, *argv: str, stdin: bytes = b"", cwd: str = "/", env: tuple[str, ...] = ()) -> None:
        path = f"PATH={os.environ['PATH']}"
        self.control.sendall(agent.pack("run", 7, 0, cwd, stdin, len(argv), *argv, path, *env))

    def finish(self) -> tuple[bytes, bytes, int]:
        """Read what a command wrote, and its status."""
        output, errors = PortStream(self.out, gone).readall(), PortStream(self.err, gone).readall()
        verb, ident, status = self.hear()
        assert (verb, ident) == (b"exit", b"7")
        assert output is not None and errors is not None
        return output, errors, int(status)


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as made:
        assert made.hear() == [b"ready"]
        yield made


def test_commands_one_after_the_other_on_the_same_ports(guest: Guest) -> None:
    for number in range(3):
        guest.run("sh", "-c", f"echo out {number}; echo err >&2; exit {number}")
        assert guest.finish() == (b"out %d\n" % number, b"err\n", number)


def test_a_large_stdin_comes_back_unchanged(guest: Guest) -> None:
    data = bytes(range(256)) * 20_000
    guest.run("cat", stdin=data)
    assert guest.finish() == (data, b"", 0)


def test_environment_and_folder(guest: Guest) -> None:
    guest.run("sh", "-c", "pwd; echo $A", cwd="/usr", env=("A=b=c",))
    assert guest.finish() == (b"/usr\nb=c\n", b"", 0)


def test_what_cannot_be_started(guest: Guest) -> None:
    guest.run("no-such-program")
    assert guest.finish() == (b"", b"lab: cannot run no-such-program: No such file or directory\n", 127)
    guest.run("true", cwd="/no/such/folder")
    assert guest.finish() == (b"", b"lab: cannot run /no/such/folder: No such file or directory\n", 127)
    guest.run("true")
    assert guest.finish() == (b"", b"", 0)


def test_signals_reach_the_whole_group(guest: Guest) -> None:
    guest.run("sh", "-c", "sleep 1000 & echo up; wait")
    stream = PortStream(guest.out, gone)
    assert stream.read(100) == b"up\n"
    guest.control.sendall(agent.pack("signal", 7, int(signal.SIGTERM)))
    # The end of the stream says that sleep, which had it open too, is gone.
    assert stream.readall() == b""
    assert PortStream(guest.err, gone).readall() == b""
    assert guest.hear() == [b"exit", b"7", str(-signal.SIGTERM).encode()]


def test_children_get_the_signals_that_python_ignores(guest: Guest) -> None:
    guest.run("sh", "-c", "yes | head -n 1; cat /proc/self/status | grep SigIgn")
    output, _, _ = guest.finish()
    ignored = int(output.split()[-1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_it_ends_when_the_control_port_closes() -> None:
    with Guest() as guest:
        assert guest.hear() == [b"ready"]
        guest.control.close()
        assert guest.process.wait(10) == 0


def test_an_idle_agent_uses_no_cpu(guest: Guest) -> None:
    guest.run("cat", "/dev/zero")  # nobody reads it: this must not make the agent spin
    time.sleep(0.2)
    first = cpu_ticks(guest.process.pid)
    time.sleep(0.5)
    assert cpu_ticks(guest.process.pid) - first <= 2
    guest.control.sendall(agent.pack("signal", 7, int(signal.SIGKILL)))
    guest.out.settimeout(10)
    assert guest.hear()[0] == b"exit"


def cpu_ticks(pid: int) -> int:
    """User and system time in clock ticks (proc(5), fields 14 and 15)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@given(st.lists(st.lists(st.one_of(st.binary(max_size=50), st.integers(), st.text("aü /=\n")), min_size=1)))
def test_messages_survive_any_division(messages: list[list[bytes | int | str]]) -> None:
    sent = b"".join(agent.pack(*message) for message in messages)
    buffer, heard = bytearray(), []
    for byte in sent:
        buffer.append(byte)
        while (message := agent.unpack(buffer)) is not None:
            heard.append(message)
    assert heard == [
        [item if isinstance(item, bytes) else os.fsencode(str(item)) for item in message]
        for message in messages
    ]


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(1, 500))
def test_streams_survive_any_division(frames: list[bytes], step: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for frame in [*frames, b"", b"next command"]:
            theirs.sendall(len(frame).to_bytes(4, "little") + frame)
        stream = PortStream(ours, gone)
        received = b""
        while data := stream.read(step):
            received += data
        assert received == b"".join(frames)
        assert stream.ended
        assert PortStream(ours, gone).read(100) == b"next command"


def test_a_stream_that_breaks_off_is_an_error_not_an_end() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall((100).to_bytes(4, "little") + b"only this")
        theirs.close()
        stream = PortStream(ours, gone)
        assert stream.read(100) == b"only this"
        with pytest.raises(UserError, match="gone"):
            stream.read(100)


def test_a_command_that_is_talked_to_answers_while_it_runs(guest: Guest) -> None:
    argv = ("sh", "-c", "while read line; do echo got $line; [ $line != last ] || break; done")
    guest.control.sendall(agent.pack("talk", 7, 0, "/", b"", len(argv), *argv, f"PATH={os.environ['PATH']}"))
    stream = PortStream(guest.out, gone)
    guest.control.sendall(agent.pack("tell", 7, b"one\n"))
    assert stream.read(100) == b"got one\n"
    guest.control.sendall(agent.pack("tell", 7, b"last\n"))
    assert stream.readall() == b"got last\n"
    assert guest.hear() == [b"exit", b"7", b"0"]
    # it has ended: what is said to it is lost, and the next command finds nothing changed
    guest.control.sendall(agent.pack("tell", 7, b"too late\n"))
    assert PortStream(guest.err, gone).readall() == b""
    guest.run("true")
    assert guest.finish() == (b"", b"", 0)
