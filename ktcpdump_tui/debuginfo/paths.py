"""From the paths a compiler wrote down to paths in the source tree."""

from __future__ import annotations

import posixpath
from typing import Final

#: The top of the kernel's source tree, as far as code comes from there.
_TOP: Final = frozenset({
    "arch", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel",
    "lib", "mm", "net", "rust", "samples", "security", "sound", "tools", "virt",
})  # fmt: skip
_SYSTEM: Final = ("/usr/include/", "/usr/lib/", "/usr/lib64/", "/usr/local/")


def source_path(compilation_directory: str, directory: str, name: str) -> str:
    """Return the path of a file of a line table in the source tree: ``net/ipv4/ip_input.c``.

    Without ``./`` and ``..``; the compilation directory is stripped. Where the kernel was built outside of
    its source tree (``O=``), paths are absolute or begin with ``..``: then everything before the first
    directory that is at the top of a kernel tree goes, counted from where the path and the compilation
    directory part. Paths that lead elsewhere stay as they are.
    """
    path = posixpath.normpath(posixpath.join(directory, name))
    root = posixpath.normpath(compilation_directory) if compilation_directory else ""
    if path.startswith("../") and root:
        path = posixpath.normpath(posixpath.join(root, path))
    if root and path.startswith(root + "/"):
        return path[len(root) + 1 :]
    if not path.startswith("/") or not root.startswith("/") or path.startswith(_SYSTEM):
        return path
    parts, base = path.split("/")[1:], root.split("/")[1:]
    shared = 0
    while shared < min(len(parts), len(base)) and parts[shared] == base[shared]:
        shared += 1
    for index in range(max(shared, 1), len(parts) - 1):
        if parts[index] in _TOP:
            return "/".join(parts[index:])
    return path
