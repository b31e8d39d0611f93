"""What the lab needs of this machine, and the one command that brings what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from ktcpdump_tui.arch import MACHINE
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab.apt import Apt, Children
from ktcpdump_tui.lab.machine import QEMU, Tools, find_busybox, find_tools, find_virtiofsd, is_c_daemon

BCC = Path("/usr/lib/python3/dist-packages/bcc")


def missing_packages() -> list[str]:
    """Return the Debian packages that are not here, judged by the programs themselves."""
    missing = []
    if shutil.which(QEMU) is None:
        missing.append("qemu-system-x86")
    daemon = find_virtiofsd()
    if daemon is None:
        # Debian 13 has it as a package of its own, Debian 12 beside QEMU.
        known = Apt(Children()).show(["virtiofsd"])
        missing.append("virtiofsd" if known else "qemu-system-common")
    if find_busybox() is None:
        missing.append("busybox-static")
    if not BCC.is_dir():
        missing.append("python3-bpfcc")
    if find_depmod() is None:
        missing.append("kmod")
    return missing


def find_depmod() -> str | None:
    """Return depmod(8), which an ordinary user's PATH does not lead to."""
    return shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def install_command(packages: list[str]) -> str:
    """Return the command that installs ``packages``."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install --no-install-recommends {' '.join(packages)}"


def check_apt() -> None:
    """Raise UserError unless Debian's kernels can be fetched and used here."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UserError("The lab takes its kernels from Debian's packages, and this machine has no apt.")
    if platform.machine() != MACHINE:
        raise UserError(f"The lab runs on {MACHINE} only, and this machine is {platform.machine()}.")


def check() -> Tools:
    """Return the programs of the host that the lab uses; UserError names all that is missing."""
    check_apt()
    missing = missing_packages()
    tools = find_tools()
    if missing or tools is None:
        noun = "a package" if len(missing) == 1 else "packages"
        raise UserError(
            f"The lab needs {noun} that this machine lacks: {', '.join(missing)}.", install_command(missing)
        )
    if is_c_daemon(tools.virtiofsd) and os.geteuid() != 0:
        # overlayfs opens with O_NOATIME, which this daemon passes on: on files of others that takes root.
        raise UserError(
            "The lab needs root here: the virtiofsd of QEMU 7 shares other users' files only as root.",
            "Start it with sudo, or install the newer virtiofsd (Debian 13, or from rust-vmm).",
        )
    return tools
