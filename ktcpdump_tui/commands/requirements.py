"""What a live capture needs of this machine, each found by trying it rather than by the kernel's version."""

from __future__ import annotations

import gzip
import os
import platform
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import arch
from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: include/uapi/linux/capability.h: CAP_SYS_ADMIN, which perf_event_open asks for.
_CAP_SYS_ADMIN: Final = 21
_LAB: Final = "capture in a throw-away machine instead: ktcpdump-tui --lab"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing a capture needs: ``problem`` is None where it is there, ``remedy`` mends it."""

    name: str
    found: str
    problem: str | None = None
    remedy: str | None = None
    optional: bool = False


@dataclass
class Machine:
    """The machine as seen through the files of the running kernel, below ``root``."""

    release: str = field(default_factory=platform.release)
    architecture: str = field(default_factory=platform.machine)
    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """Return a file below ``root``."""
        return self.root / name.lstrip("/")

    def config(self, option: str) -> bool | None:
        """Return whether the kernel was built with ``CONFIG_...``; None where that is not readable."""
        if self._config is None:
            return None
        return re.search(rf"^{re.escape(option)}=[ym]$", self._config, re.MULTILINE) is not None

    @cached_property
    def _config(self) -> str | None:
        for place in (f"boot/config-{self.release}", f"lib/modules/{self.release}/config", "proc/config.gz"):
            try:
                data = self.path(place).read_bytes()
                return (gzip.decompress(data) if place.endswith(".gz") else data).decode("utf-8", "replace")
            except OSError:
                continue
        return None


def requirements(machine: Machine | None = None) -> Iterator[Requirement]:
    """Yield what a capture needs, in the order in which it should be mended; what is optional comes last."""
    here = machine or Machine()
    needed = (
        _architecture,
        _kprobes,
        _bpf,
        _types,
        _lockdown,
        _root,
        _tracefs,
        _code,
        _bcc,
        _headers,
        _symbols,
    )
    for examine in needed:
        yield examine(here)


def check_live() -> None:
    """Raise UserError with the first thing that keeps this machine from capturing."""
    for each in requirements():
        if each.optional:
            return
        if each.problem:
            raise UserError(each.problem, each.remedy)


def _architecture(machine: Machine) -> Requirement:
    if machine.architecture == arch.MACHINE:
        return Requirement("machine", machine.architecture)
    problem = f"this machine is {machine.architecture}, and only {arch.MACHINE} is supported"
    return Requirement("machine", "", problem, "capture on an x86-64 machine, and replay the trace here")


def _built_in(machine: Machine, name: str, option: str, there: bool, what: str) -> Requirement:
    """Return a requirement that a kernel is built with or without."""
    if there:
        return Requirement(name, option)
    return Requirement(name, "", f"this kernel ({machine.release}) has no {what}: {option} is not set", _LAB)


def _kprobes(machine: Machine) -> Requirement:
    # The PMU is there if and only if CONFIG_KPROBE_EVENTS is (kernel/events/core.c), for every user to see.
    if machine.path("/sys/bus/event_source/devices/kprobe").exists():
        if _text(machine.path("/sys/kernel/debug/kprobes/enabled")) == "0":
            problem = "kprobes are switched off in this kernel"
            return Requirement("kprobes", "", problem, "echo 1 > /sys/kernel/debug/kprobes/enabled")
        return Requirement("kprobes", "CONFIG_KPROBE_EVENTS")
    option = "CONFIG_KPROBE_EVENTS" if machine.config("CONFIG_KPROBES") else "CONFIG_KPROBES"
    return _built_in(machine, "kprobes", option, False, "kprobes")


def _bpf(machine: Machine) -> Requirement:
    there = machine.path("/proc/sys/kernel/unprivileged_bpf_disabled").exists()
    return _built_in(machine, "BPF", "CONFIG_BPF_SYSCALL", there, "BPF")


def _types(machine: Machine) -> Requirement:
    there = machine.path("/sys/kernel/btf/vmlinux").exists()
    return _built_in(machine, "types (BTF)", "CONFIG_DEBUG_INFO_BTF", there, "type information")


def _lockdown(machine: Machine) -> Requirement:
    mode = re.search(r"\[(\w+)\]", _text(machine.path("/sys/kernel/security/lockdown")) or "[none]")
    if mode and mode[1] == "confidentiality":
        problem = "the kernel is locked down (confidentiality): nobody may read its memory"
        return Requirement("lockdown", "", problem, f"boot with lockdown=integrity, or {_LAB}")
    return Requirement("lockdown", mode[1] if mode else "none")


def _root(machine: Machine) -> Requirement:
    capabilities = re.search(
        r"^CapEff:\s*([0-9a-f]+)", _text(machine.path("/proc/self/status")) or "", re.MULTILINE
    )
    if capabilities and int(capabilities[1], 16) >> _CAP_SYS_ADMIN & 1:
        return Requirement("root", f"user {os.geteuid()}")
    return Requirement("root", "", "probing the kernel needs root", "run it as root: sudo ktcpdump-tui ...")


def _tracefs(machine: Machine) -> Requirement:
    for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        try:
            if machine.path(f"{place}/kprobe_events").exists():
                return Requirement("tracefs", place)
        except PermissionError:
            return Requirement("tracefs", "", "tracefs is readable by root only", "run it as root")
    problem = "tracefs is not mounted on /sys/kernel/tracing"
    return Requirement("tracefs", "", problem, "mount -t tracefs tracefs /sys/kernel/tracing")


def _code(machine: Machine) -> Requirement:
    if machine.path("/proc/kcore").exists():
        return Requirement("code", "/proc/kcore")
    return _built_in(machine, "code", "CONFIG_PROC_KCORE", False, "/proc/kcore to read its code from")


def _bcc(_machine: Machine) -> Requirement:
    from ktcpdump_tui.capture.program import import_bcc

    try:
        module = import_bcc()
    except UserError as error:
        return Requirement("BCC", "", error.message, error.remedy)
    return Requirement("BCC", str(Path(module.__file__ or "").parent))


def _headers(machine: Machine) -> Requirement:
    place = f"/lib/modules/{machine.release}/build"
    if machine.path(place).is_dir():
        return Requirement("kernel headers", place)
    if machine.path("/sys/kernel/kheaders.tar.xz").exists() or machine.config("CONFIG_IKHEADERS"):
        return Requirement("kernel headers", "/sys/kernel/kheaders.tar.xz")
    problem = f"the headers of kernel {machine.release} are missing (/lib/modules/{machine.release}/build)"
    return Requirement("kernel headers", "", problem, header_package(machine.release))


def header_package(release: str) -> str:
    """Return the command that installs the headers of ``release``."""
    if re.search(r"\.(fc|el|amzn)\d+", release):
        return f"dnf install kernel-devel-{release}"
    if "-arch" in release:
        return "pacman -S linux-headers"
    return f"apt-get install linux-headers-{release}"


def _symbols(machine: Machine) -> Requirement:
    from ktcpdump_tui.debuginfo.find import DebugFiles
    from ktcpdump_tui.kernel.notes import kernel_build_id

    try:
        path = DebugFiles(machine.release, kernel_build_id(), root=machine.root).vmlinux()
    except UserError as error:
        problem = "no debug symbols: there will be no source lines and no variables"
        return Requirement("debug symbols", "", problem, error.remedy, optional=True)
    return Requirement("debug symbols", str(path))


def _text(path: Path) -> str | None:
    """Return a small file's content without its last newline; None where it cannot be read."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return None
