"""Which package of which distribution has a kernel's source."""

from __future__ import annotations

import re
from typing import Final

_VERSION: Final = re.compile(r"^(\d+\.\d+)(\.\d+)?")

#: What a release's name looks like, and the command; {xy} is 6.12, {xyz} 6.12.5, {release} all of it.
_COMMANDS: Final = (
    (
        r"-(generic|lowlatency|aws|azure|gcp|oracle|kvm|raspi|ibm)(-\w+)?$",
        "apt-get install linux-source-{xyz}",
    ),
    (r"-arch\d|-zen\d|-lts$|-hardened\d", "set DEBUGINFOD_URLS=https://debuginfod.archlinux.org"),
    (r"\.(fc|el|amzn)\d+", "dnf debuginfo-install kernel-{release}"),
    (r"-(default|vanilla|azure)$", "zypper install kernel-source"),
    (r"deb\d|-(cloud-|rt-)?(amd64|arm64|686|armmp)", "apt-get install linux-source-{xy}"),
)


def source_package(release: str) -> str:
    """Return the command that brings the source of kernel ``release``, or what to do where none is known."""
    version = _VERSION.match(release)
    if version:
        for pattern, command in _COMMANDS:
            if re.search(pattern, release):
                xyz = version[1] + (version[2] or "")
                return command.format(xy=version[1], xyz=xyz, release=release)
    return "name a source tree or tarball of this kernel with -s"
