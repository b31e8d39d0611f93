"""The initial RAM file system of the lab: busybox, the few modules needed to reach the host's files, /init.

The archive is the kernel's ``newc`` format (Documentation/driver-api/early-userspace/buffer-format.rst),
written here because neither cpio nor a temporary folder is then needed.
"""

from __future__ import annotations

import lzma
import shlex
import stat
from typing import TYPE_CHECKING

import zstandard

from ktcpdump_tui.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ktcpdump_tui.lab.stock import StockKernel

#: What the guest needs before it can read modules from the host by itself.
EARLY_MODULES = ("virtio_pci", "virtio_console", "virtio_rng", "virtiofs", "overlay")
HOST_TAG = "host"


class Archive:
    """A newc archive being built in memory."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device and rdev (major, minor), name size, checksum
        numbers = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08x" % number for number in numbers) + encoded
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)

    def folder(self, name: str) -> None:
        """Add a folder."""
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(name, stat.S_IFREG | mode, data)

    def finish(self) -> bytes:
        """Return the archive with its trailer."""
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._data)


def load_order(kernel: StockKernel, wanted: Sequence[str]) -> list[Path]:
    """Return the module files for ``wanted``, each after what it depends on; what is built in is left out.

    Read from modules.dep and modules.builtin (depmod(8)). UserError where a module is neither.
    """
    try:
        dependencies = {}
        for row in (kernel.modules / "modules.dep").read_text(encoding="utf-8").splitlines():
            path, _, needs = row.partition(":")
            dependencies[path] = needs.split()
        builtin = (kernel.modules / "modules.builtin").read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(
            f"Kernel {kernel.release} in the lab's cache is damaged: {error}.",
            f"rm -r {shlex.quote(str(kernel.root.parent))}, and start again: it is fetched anew.",
        ) from error
    by_name = {module_name(path): path for path in dependencies}
    built_in = {module_name(path) for path in builtin}
    order: list[str] = []
    for name in wanted:
        if name in by_name:
            path = by_name[name]
            # modules.dep lists a module's needs in the reverse of the loading order.
            order += [item for item in [*reversed(dependencies[path]), path] if item not in order]
        elif name not in built_in:
            raise UserError(f"Kernel {kernel.release} has no module {name}, which the lab needs to boot it.")
    return [kernel.modules / path for path in order]


def module_name(path: str) -> str:
    """Return a module's name as the kernel says it, from its file's path."""
    return path.rsplit("/", 1)[-1].split(".")[0].replace("-", "_")


def read_module(path: Path) -> bytes:
    """Return a module's ELF file, unpacked (busybox' insmod cannot unpack)."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def build(kernel: StockKernel, busybox: Path, agent: Sequence[str]) -> bytes:
    """Return the archive whose /init ends in ``agent`` (an argv whose files are the host's)."""
    archive = Archive()
    for name in ("bin", "modules", "proc", "sys", "dev", "host", "rw", "new"):
        archive.folder(name)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    names = []
    for path in load_order(kernel, EARLY_MODULES):
        names.append(module_name(path.name))
        archive.file(f"modules/{names[-1]}.ko", read_module(path))
    archive.file("init", init_script(kernel, names, agent).encode(), 0o755)
    return archive.finish()


def build_probe(busybox: Path, message: str) -> bytes:
    """Return an archive whose /init prints ``message`` on the console and resets the machine."""
    archive = Archive()
    for name in ("bin", "proc", "dev"):
        archive.folder(name)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    script = f"""#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
echo {message} >/dev/ttyS0
/bin/busybox reboot -f
"""
    archive.file("init", script.encode(), 0o755)
    return archive.finish()


def init_script(kernel: StockKernel, modules: Sequence[str], agent: Sequence[str]) -> str:
    """Return /init: the host's files below an overlay in memory, the usual mounts, ``agent`` as process 1."""
    release = kernel.release
    links = {
        f"lib/modules/{release}": kernel.modules,
        f"usr/lib/debug/boot/vmlinux-{release}": kernel.vmlinux,
    }
    links[f"usr/lib/debug/lib/modules/{release}"] = kernel.module_symbols
    links |= {f"usr/src/{tree.name}": tree for tree in kernel.header_trees}
    links |= {f"usr/lib/{tree.name}": tree for tree in kernel.kbuild_trees}
    link = "\n".join(f"ln -sfn {shlex.quote(str(path))} {name}" for name, path in links.items())
    load = "\n".join(f"insmod /modules/{name}.ko" for name in modules)
    # A mount that fails is fatal: what would follow is a guest that fails in stranger ways.
    return f"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
die() {{ echo "lab: $*" >/dev/console; reboot -f; }}
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev || die no devtmpfs
{load}
mount -t virtiofs -o ro {HOST_TAG} /host || die cannot mount the files of the host
mount -t tmpfs -o mode=755 rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /new || die no overlay
for d in proc sys dev; do mkdir -p /new/$d; mount --move /$d /new/$d; done
cd /new
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s fd/${{n%:*}} dev/${{n#*:}}; done
mkdir -p dev/pts dev/shm run
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tracefs tracefs sys/kernel/tracing || die no tracefs
mount -t debugfs debugfs sys/kernel/debug
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p lib/modules usr/src usr/lib/debug/boot usr/lib/debug/lib/modules
{link}
ip link set lo up || die no loopback
hostname lab
echo '3 4 1 3' > /new/proc/sys/kernel/printk
ulimit -n 65536
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
exec switch_root /new {shlex.join(agent)}
"""
