"""Paths in the source tree, from those that compilers wrote down."""

from __future__ import annotations

import pytest

from ktcpdump_tui.debuginfo.paths import source_path


@pytest.mark.parametrize(
    ("compilation", "directory", "name", "expected"),
    [
        # Debian: mapped, relative
        ("debian/build/build_amd64_none_cloud-amd64", "net/ipv4", "ip_input.c", "net/ipv4/ip_input.c"),
        ("debian/build/x", "./arch/x86/include/asm", "page.h", "arch/x86/include/asm/page.h"),
        ("debian/build/x", "kernel/bpf/../../tools/lib/bpf", "relo_core.c", "tools/lib/bpf/relo_core.c"),
        # Fedora: built in the tree
        ("/usr/src/debug/linux-6.8.x86_64", "/usr/src/debug/linux-6.8.x86_64/net", "a.c", "net/a.c"),
        ("/usr/src/debug/linux-6.8.x86_64", "", "init/main.c", "init/main.c"),
        # Ubuntu and O= builds: absolute paths outside the build folder, or ..
        ("/build/linux-abc/debian/build/generic", "/build/linux-abc/net/core", "dev.c", "net/core/dev.c"),
        ("/home/u/build", "/home/u/linux/net/core", "dev.c", "net/core/dev.c"),
        ("/home/u/net/build", "/home/u/net/linux/include/net", "ip.h", "include/net/ip.h"),
        ("/home/u/linux/build", "../net/core", "dev.c", "net/core/dev.c"),
        # not the kernel's
        ("/home/u/linux", "/usr/include/net/bits", "types.h", "/usr/include/net/bits/types.h"),
        ("/home/u/linux", "/usr/lib/gcc/12/include", "stddef.h", "/usr/lib/gcc/12/include/stddef.h"),
        ("/home/u/linux", "/opt/driver", "main.c", "/opt/driver/main.c"),
        ("", "", "a.c", "a.c"),
        ("", "/abs", "a.c", "/abs/a.c"),
    ],
)  # fmt: skip
def test_source_path(compilation: str, directory: str, name: str, expected: str) -> None:
    assert source_path(compilation, directory, name) == expected
