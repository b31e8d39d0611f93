"""The machine ends with the program, however that ends, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import Lab, LabError, kvm, machine, packages
from ktcpdump_tui.lab import lab as lab_module

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "6.12"


def processes_with(marker: str) -> list[str]:
    """Return the command lines of the processes that have ``marker`` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
        except OSError:
            continue
    return found


def wait_until_gone(marker: str, seconds: float) -> list[str]:
    """Return what is still there after at most ``seconds``."""
    end = time.monotonic() + seconds
    while (left := processes_with(marker)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


@pytest.fixture
def marker() -> Iterator[str]:
    """A word in the environment of everything that the test starts."""
    yield (word := f"lab-test-{uuid.uuid4()}")
    assert not processes_with(word)


def start(marker: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start a program with a lab that prints ``up`` and then stays."""
    return subprocess.Popen(
        [sys.executable, "-m", "ktcpdump_tui.lab", "run", VERSION, "echo up; exec sleep 1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"LAB_TEST": marker, "TMPDIR": str(tmp_path)},
    )


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2, 0.3, 0.5, 2.0])
def test_killed_while_it_starts(marker: str, tmp_path: Path, seconds: float) -> None:
    program = start(marker, tmp_path)
    # Not a wait for a condition: the moment itself is what is varied.
    time.sleep(seconds)
    program.kill()
    program.communicate()
    assert wait_until_gone(marker, 5) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_while_a_command_runs(marker: str, tmp_path: Path) -> None:
    program = start(marker, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == b"up\n"
    assert len(processes_with(marker)) >= 3  # itself, QEMU, virtiofsd
    program.kill()
    program.communicate()
    assert wait_until_gone(marker, 5) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_reaches_the_command_inside(marker: str, tmp_path: Path) -> None:
    program = start(marker, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == b"up\n"
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT & 0xFF  # that of sleep
    assert wait_until_gone(marker, 5) == []


def test_the_guest_itself_ends_when_its_control_port_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    # What remains if the program is killed before its children have asked for its death signal.
    statuses = []

    def wait_instead(vm: machine.Machine) -> None:
        statuses[:] = [child.wait(30) for child in vm._children]

    monkeypatch.setattr(machine.Machine, "kill", wait_instead)
    with Lab(VERSION) as lab:
        assert lab._machine is not None
        lab._machine.stop()
        lab.close()
        assert statuses == [
            0,
            0,
        ]  # QEMU runs with -no-reboot and the guest has reset itself; so virtiofsd ends
        with pytest.raises(LabError):
            lab.check_output("true")


def test_a_panic_is_told_with_the_last_words_of_the_guest() -> None:
    with Lab(VERSION) as lab:
        process = lab.run("echo before; echo c > /proc/sysrq-trigger; sleep 1000")
        with pytest.raises(LabError, match=r"has ended(.|\n)*Kernel panic - not syncing: sysrq"):
            process.communicate(60)
        with pytest.raises(LabError):
            process.wait()
        with pytest.raises(LabError):
            lab.run("true")


def test_a_guest_that_does_not_come_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lab_module.BOOT_LIMIT, "tcg", 12.0)
    with (
        pytest.raises(UserError, match=r"did not come up within 12 s(.|\n)*Kernel panic"),
        Lab(VERSION, append="panic=0 rdinit=/no-init", accelerator="tcg"),
    ):
        pass


def test_a_guest_that_dies_while_it_boots_is_booted_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # Software emulation kills one now and then; the first here has no /init and panics.
    boots = []

    class Dying(machine.Machine):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            boots.append(1)
            if len(boots) == 1:
                named["append"] = "rdinit=/no-init"
            super().__init__(*arguments, **named)

    monkeypatch.setattr(lab_module, "Machine", Dying)
    with Lab(VERSION, accelerator="tcg") as lab:
        assert lab.check_output("true") == ""
    assert len(boots) == 2


def test_kvm_that_does_not_serve_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    # A QEMU without that accelerator refuses, as one with a KVM that fails does.
    arguments = machine.accelerator_arguments

    def refused(qemu: str, accelerator: str) -> list[str]:
        return ["-accel", "none-such"] if accelerator == "kvm" else arguments(qemu, accelerator)

    monkeypatch.setattr(machine, "accelerator_arguments", refused)
    monkeypatch.setattr(kvm, "choose", lambda *_: "kvm")
    with Lab(VERSION) as lab:
        assert lab.accelerator == "tcg"
        assert lab.check_output("true") == ""


def test_an_interrupt_while_it_boots(marker: str, tmp_path: Path) -> None:
    for seconds in (0.0, 0.05, 2.0):
        program = start(marker, tmp_path)
        assert program.stderr is not None
        assert b"booting" in program.stderr.readline()
        time.sleep(seconds)
        program.send_signal(signal.SIGINT)
        errors = program.communicate(timeout=20)[1]
        assert program.returncode == 130, errors.decode()
        assert wait_until_gone(marker, 5) == []


def test_an_interrupt_while_its_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(threading.Thread):
        def start(self) -> None:
            if self.name == "lab-machine":
                signal.raise_signal(signal.SIGINT)
            super().start()

    monkeypatch.setattr(lab_module.threading, "Thread", Interrupted)
    lab = Lab(VERSION)
    with pytest.raises(KeyboardInterrupt), lab:
        pytest.fail("booted")
    assert lab._machine is None or not lab._machine.alive


def test_an_interrupt_just_before_its_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: threading.Thread) -> None:
        signal.raise_signal(signal.SIGINT)
        thread.start()

    monkeypatch.setattr(lab_module, "start_whole", interrupted)
    lab = Lab(VERSION)
    with pytest.raises(KeyboardInterrupt), lab:
        pytest.fail("booted")
    assert lab._machine is None


def test_the_probe_of_kvm_is_a_real_boot() -> None:
    # Software emulation must pass the test that KVM is put to, and something that cannot boot must not.
    tools = machine.find_tools()
    assert tools is not None
    kernel = packages.fetch(VERSION)
    assert kvm.probe(tools, kernel, accelerator="tcg", limit=60)
    assert not kvm.probe(tools, kernel, accelerator="tcg", limit=0.5)
