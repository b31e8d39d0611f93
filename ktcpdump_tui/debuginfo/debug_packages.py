"""Which package of which distribution has a kernel's debug symbols."""

from __future__ import annotations

import re
from typing import Final

#: What a release's name looks like, and the command.
_COMMANDS: Final = (
    (
        r"-(generic|lowlatency|aws|azure|gcp|oracle|kvm|raspi|ibm)(-\w+)?$",
        "apt-get install linux-image-unsigned-{release}-dbgsym (from Ubuntu's ddebs archive)",
    ),
    (r"-arch\d|-zen\d|-lts$|-hardened\d", "set DEBUGINFOD_URLS=https://debuginfod.archlinux.org"),
    (r"\.(fc|el|amzn)\d+", "dnf debuginfo-install kernel-{release}"),
    (r"-(default|vanilla|azure)$", "zypper install kernel-default-debuginfo"),
    (r"deb\d|-(cloud-|rt-)?(amd64|arm64|686|armmp)", "apt-get install linux-image-{release}-dbg"),
)


def debug_package(release: str) -> str:
    """Return the command that brings the debug symbols of kernel ``release``."""
    for pattern, command in _COMMANDS:
        if re.search(pattern, release):
            return command.format(release=release)
    return "name the vmlinux of this kernel with -d (one built with CONFIG_DEBUG_INFO)"
