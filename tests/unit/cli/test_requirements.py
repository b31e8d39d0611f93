"""What a machine lacks, judged by the files a kernel shows."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.commands.requirements import Machine, Requirement, header_package, requirements

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "6.12.1-amd64"
#: A machine that has everything: {path: content}; None is a folder.
COMPLETE: dict[str, str | None] = {
    "sys/bus/event_source/devices/kprobe": None,
    "sys/kernel/debug/kprobes/enabled": "1\n",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "sys/kernel/btf/vmlinux": "",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "proc/self/status": "Name:\tx\nCapEff:\t000001ffffffffff\n",
    "sys/kernel/tracing/kprobe_events": "",
    "proc/kcore": "",
    f"lib/modules/{RELEASE}/build": None,
}


def machine(
    root: Path, changes: dict[str, str | None] | None = None, without: tuple[str, ...] = ()
) -> Machine:
    files = {name: text for name, text in (COMPLETE | (changes or {})).items() if name not in without}
    for name, text in files.items():
        path = root / name
        if text is None:
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return Machine(release=RELEASE, architecture="x86_64", root=root)


def problems(there: Machine) -> list[Requirement]:
    return [each for each in requirements(there) if each.problem and not each.optional and each.name != "BCC"]


def test_a_complete_machine_lacks_nothing_but_symbols(tmp_path: Path) -> None:
    there = machine(tmp_path)
    assert problems(there) == []
    last = list(requirements(there))[-1]
    assert (last.name, last.optional) == ("debug symbols", True)
    assert last.problem


@pytest.mark.parametrize(
    ("changes", "without", "message", "remedy"),
    [
        ({}, ("sys/bus/event_source/devices/kprobe",), "has no kprobes: CONFIG_KPROBES is not set", "--lab"),
        (
            {f"boot/config-{RELEASE}": "CONFIG_KPROBES=y\n# CONFIG_KPROBE_EVENTS is not set\n"},
            ("sys/bus/event_source/devices/kprobe",),
            "CONFIG_KPROBE_EVENTS is not set",
            "--lab",
        ),
        (
            {"sys/kernel/debug/kprobes/enabled": "0\n"},
            (),
            "kprobes are switched off",
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        ),
        ({}, ("proc/sys/kernel/unprivileged_bpf_disabled",), "CONFIG_BPF_SYSCALL is not set", "--lab"),
        ({}, ("sys/kernel/btf/vmlinux",), "CONFIG_DEBUG_INFO_BTF is not set", "--lab"),
        (
            {"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"},
            (),
            "locked down",
            "lockdown=integrity",
        ),
        ({"proc/self/status": "CapEff:\t0000000000000000\n"}, (), "needs root", "sudo"),
        ({}, ("sys/kernel/tracing/kprobe_events",), "tracefs is not mounted", "mount -t tracefs"),
        ({}, ("proc/kcore",), "CONFIG_PROC_KCORE is not set", "--lab"),
        (
            {},
            (f"lib/modules/{RELEASE}/build",),
            f"the headers of kernel {RELEASE} are missing",
            f"apt-get install linux-headers-{RELEASE}",
        ),
    ],
)
def test_each_lack_names_what_mends_it(
    tmp_path: Path, changes: dict[str, str | None], without: tuple[str, ...], message: str, remedy: str
) -> None:
    (found,) = problems(machine(tmp_path, changes, without))
    assert message in (found.problem or "")
    assert remedy in (found.remedy or "")


def test_another_architecture_is_said_first(tmp_path: Path) -> None:
    there = machine(tmp_path)
    there.architecture = "aarch64"
    assert "aarch64" in (problems(there)[0].problem or "")


def test_sources_alone_are_no_headers(tmp_path: Path) -> None:
    there = machine(tmp_path, {f"lib/modules/{RELEASE}/source": None}, (f"lib/modules/{RELEASE}/build",))
    assert [each.name for each in problems(there)] == ["kernel headers"]


def test_headers_inside_the_kernel_will_do(tmp_path: Path) -> None:
    there = machine(tmp_path, {"sys/kernel/kheaders.tar.xz": ""}, (f"lib/modules/{RELEASE}/build",))
    assert problems(there) == []


def test_configuration_from_proc(tmp_path: Path) -> None:
    there = machine(tmp_path)
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_KPROBES=y\nCONFIG_X=m\n"))
    assert there.config("CONFIG_KPROBES") is True
    assert there.config("CONFIG_X") is True
    assert there.config("CONFIG_KPROBE") is False
    assert Machine(release="none", root=tmp_path / "nowhere").config("CONFIG_X") is None


def test_header_packages() -> None:
    assert header_package("6.1.0-56-cloud-amd64") == "apt-get install linux-headers-6.1.0-56-cloud-amd64"
    assert header_package("6.11.4-301.fc41.x86_64") == "dnf install kernel-devel-6.11.4-301.fc41.x86_64"
    assert header_package("6.12.4-arch1-1") == "pacman -S linux-headers"
