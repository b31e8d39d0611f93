"""The lab itself: what the other kernel tests stand on."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab


def test_boots_the_stock_kernel_with_everything_bcc_needs(lab: Lab) -> None:
    said = lab.check_output(
        "uname -r; ls -d /lib/modules/$(uname -r)/build/include;"
        " test -e /sys/kernel/tracing/kprobe_events && test -e /sys/kernel/btf/vmlinux && echo tracing;"
        " stat -f -c %T /sys/fs/bpf /sys/fs/cgroup; cat /sys/class/net/lo/flags; nproc;"
        " modprobe veth && echo modules"
    ).splitlines()
    build = f"/lib/modules/{lab.release}/build/include"
    assert said == [lab.release, build, "tracing", "bpf_fs", "cgroup2fs", "0x9", "2", "modules"]


def test_the_debug_image_is_that_of_the_running_kernel(lab: Lab) -> None:
    said = lab.check_output(f"cat /sys/kernel/notes | sha256sum; readelf -n {lab.vmlinux} | grep 'Build ID'")
    build_id = said.split()[-1]
    notes = lab.check_output("od -An -tx1 -v /sys/kernel/notes").replace(" ", "").replace("\n", "")
    assert build_id in notes


def test_output_is_binary_and_both_streams_are_apart(lab: Lab) -> None:
    process = lab.run("head -c 3000000 /dev/urandom | tee /tmp/sent; sha256sum </tmp/sent >&2; exit 7")
    output, errors = process.communicate(60)
    assert (len(output), process.wait()) == (3_000_000, 7)
    assert hashlib.sha256(output).hexdigest() == errors.split()[0].decode()


def test_output_arrives_while_the_command_runs(lab: Lab) -> None:
    process = lab.run("echo first; sleep 1000; echo never")
    assert process.stdout.readline() == b"first\n"
    assert process.poll() is None
    process.kill()
    assert process.communicate(30) == (b"", b"")
    assert process.wait() == -9


def test_a_slow_reader_holds_up_only_its_own_command(lab: Lab) -> None:
    flood = lab.run(["cat", "/dev/zero"])
    assert len(flood.stdout.read(1000)) == 1000
    for number in range(3):
        assert lab.check_output(f"echo {number}") == f"{number}\n"
    assert flood.poll() is None
    flood.kill()
    flood.close()
    assert flood.wait(30) == -9
    # Its slot, with what nobody read, can be used again.
    for _ in range(10):
        assert lab.check_output(["echo", "again"]) == "again\n"


def test_interrupt_is_the_ctrl_c_of_the_command_and_its_children(lab: Lab) -> None:
    process = lab.run("trap 'echo counts; exit 0' INT; echo up; while :; do sleep 0.2; done")
    assert process.stdout.readline() == b"up\n"
    process.interrupt()
    assert process.communicate(30) == (b"counts\n", b"")
    assert process.wait() == 0


def test_commands_run_at_the_same_time(lab: Lab) -> None:
    reader = lab.run("rm -f /tmp/pipe; mkfifo /tmp/pipe; echo made; cat /tmp/pipe")
    assert reader.stdout.readline() == b"made\n"
    lab.check_output("echo through the guest > /tmp/pipe")
    assert reader.communicate(30)[0] == b"through the guest\n"


def test_failures_are_told(lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lab.check_output("echo out; echo reason >&2; exit 3")
    assert (caught.value.returncode, caught.value.output, caught.value.stderr) == (3, "out\n", "reason\n")
    missing = lab.run(["no-such-program"])
    assert missing.communicate(30) == (b"", b"lab: cannot run no-such-program: No such file or directory\n")
    assert missing.wait() == 127
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        lab.check_output(["sleep", "1000"], timeout=1)
    assert time.monotonic() - started < 30


def test_stdin_environment_and_folder(lab: Lab) -> None:
    assert lab.check_output(["cat"], stdin="ü\0".encode()) == "ü\0"
    assert lab.check_output('echo "$A b"', env={"A": "a"}) == "a b\n"
    assert lab.check_output(["pwd"], cwd="/usr/lib") == "/usr/lib\n"


def test_what_the_guest_writes_stays_in_the_guest(lab: Lab) -> None:
    marker = Path("/etc/written-by-a-lab")
    lab.check_output(f"echo new > {marker}; test -e {marker}")
    assert not marker.exists()
