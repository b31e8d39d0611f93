"""One virtual machine: QEMU and virtiofsd as children that cannot outlive this program, and their sockets.

Nothing is written to disk: the initial RAM file system is a memfd, the sockets are pairs handed over as open
descriptors, the console goes to another. So there is nothing to clean up, however the program ends:

- SIGKILL of this program: both children get SIGKILL (PR_SET_PDEATHSIG, set by setpriv(1));
- they are started by a thread that lives as long as the machine, as "parent" means the thread (prctl(2));
- the few instructions before that is set: the guest resets when its control port closes, and virtiofsd ends
  when its one connection closes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ktcpdump_tui.lab import initramfs
from ktcpdump_tui.lab.agent import CONTROL, port_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.lab.stock import StockKernel

QEMU = "qemu-system-x86_64"
#: Debian 12: the C daemon of qemu-system-common; Debian 13 on: the Rust one, a package of its own.
VIRTIOFSD_PATHS = (Path("/usr/libexec/virtiofsd"), Path("/usr/lib/qemu/virtiofsd"))
BUSYBOX_PATHS = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
#: The first QEMU whose emulated CPUs may each have a thread while the kernel changes its code: before, a CPU
#: that translates code just then keeps what was there, and "Oops: int3" ends the kernel some time after a
#: probe was taken away (QEMU's commit deba78709ae8; LKML, <20230808072835.GT7636@redhat.com>).
CODE_MAY_CHANGE = (8, 1)
#: How many commands can run in the guest at once.
PAIRS = 8
TAIL_LINES = 12
TAIL_BYTES = 64 * 1024
#: How the first row of a fatal exception is told (arch/x86/kernel/dumpstack.c, arch/x86/mm/fault.c).
CAUSE = re.compile(r"\bOops\b|\bBUG: |general protection|kernel BUG at|stack segment|divide error")
#: What a dying parent's children get; start_new_session keeps the terminal's Ctrl-C from them.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True, slots=True)
class Tools:
    """The host's programs that a machine is made of."""

    qemu: str
    virtiofsd: Path
    busybox: Path


def find_virtiofsd() -> Path | None:
    """Return the virtiofsd of this machine, or None."""
    return next((path for path in VIRTIOFSD_PATHS if os.access(path, os.X_OK)), None)


def find_busybox() -> Path | None:
    """Return a statically linked busybox, or None."""
    for path in BUSYBOX_PATHS:
        with contextlib.suppress(OSError), path.open("rb") as file:
            if b"/ld-linux" not in file.read(4096):
                return path
    return None


def accelerator_arguments(qemu: str, accelerator: str) -> list[str]:
    """Return QEMU's options for ``kvm`` or ``tcg``."""
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    threads = "multi" if _emulates_in_parallel(qemu) else "single"
    # QEMU's default CPU lacks SSE4.2 and POPCNT (x86-64-v2), which numpy's wheels need; "max" adds features
    # that only slow a guest down.
    return ["-accel", f"tcg,thread={threads}", "-cpu", "Nehalem"]


def useful_cpus(qemu: str, accelerator: str) -> int:
    """Return how many CPUs make a guest fastest: emulated in turn, a second one only costs, some 15 %."""
    return 2 if accelerator == "kvm" or _emulates_in_parallel(qemu) else 1


def _emulates_in_parallel(qemu: str) -> bool:
    return qemu_version(qemu) >= CODE_MAY_CHANGE


@functools.cache
def qemu_version(qemu: str) -> tuple[int, int]:
    """Return (major, minor) as QEMU itself tells, (0, 0) if it does not."""
    said = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def memory_file(name: str, data: bytes = b"") -> BinaryIO:
    """Return a file that exists in memory only; children open it as /dev/fd/N."""
    file = os.fdopen(os.memfd_create(name), "w+b")
    file.write(data)
    file.flush()
    return file


def is_c_daemon(daemon: Path) -> bool:
    """Whether ``daemon`` is the one that was part of QEMU up to version 7."""
    return daemon.parent.name == "qemu"


def virtiofsd_command(daemon: Path, listening: int) -> list[str]:
    """Return the command that shares / read-only over the listening socket ``listening``.

    The two daemons' options differ. ``cache=always``: the guest lives for minutes and must read
    a 600 MB vmlinux at memory speed. Submounts are not announced: overlayfs cannot go through them ("Object
    is remote"). An ordinary user's daemon becomes root of a user namespace, so that it may chroot.
    """
    as_root = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--"]
    options = [f"--fd={listening}"]
    if is_c_daemon(daemon):
        for setting in ("source=/", "cache=always", "sandbox=chroot", "log_level=err"):
            options += ["-o", setting]
    else:
        options += ["--shared-dir=/", "--cache=always", "--sandbox=chroot", "--log-level=error"]
        helped = subprocess.run([daemon, "--help"], capture_output=True, text=True, check=False).stdout
        options += [name for name in ("--no-announce-submounts", "--readonly") if name in helped]
    return [*as_root, *WITH_PARENT, str(daemon), *options]


class Machine:
    """A started QEMU with its file server. ``control`` and ``outputs`` are the host's ends of the ports.

    Must be made by the thread that stays for as long as the machine is wanted.
    """

    def __init__(
        self,
        tools: Tools,
        kernel: StockKernel,
        agent: Sequence[str],
        *,
        accelerator: str,
        memory_mib: int,
        cpus: int,
        append: str = "",
        log: Path | None = None,
    ) -> None:
        self.accelerator = accelerator
        self._files = contextlib.ExitStack()
        keep_open = self._files.enter_context
        self._console = keep_open(log.open("w+b") if log else memory_file("console"))
        self._messages = keep_open(memory_file("messages"))
        self._children: list[subprocess.Popen[bytes]] = []
        self.control, control_end = socket.socketpair()
        self.outputs: list[tuple[socket.socket, socket.socket]] = []
        ports = [(CONTROL, control_end)]
        for pair in range(PAIRS):
            (out, out_end), (err, err_end) = socket.socketpair(), socket.socketpair()
            self.outputs.append((out, err))
            ports += [(port_name(pair, 0), out_end), (port_name(pair, 1), err_end)]
        archive = keep_open(
            memory_file("initrd", initramfs.build(kernel, tools.busybox, [*agent, str(len(ports))]))
        )
        try:
            files_socket = self._start_virtiofsd(tools.virtiofsd)
            command = [
                *(*WITH_PARENT, tools.qemu, *accelerator_arguments(tools.qemu, accelerator)),
                *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
                *("-smp", str(cpus), "-m", f"{memory_mib}M"),
                # vhost-user needs memory that the daemon can map.
                *("-object", f"memory-backend-memfd,id=ram,size={memory_mib}M,share=on"),
                *("-numa", "node,memdev=ram"),
                *("-chardev", f"file,id=console,path=/dev/fd/{self._console.fileno()},append=on"),
                *("-serial", "chardev:console"),
                *("-chardev", f"socket,id=files,fd={files_socket.fileno()}"),
                *("-device", f"vhost-user-fs-pci,chardev=files,tag={initramfs.HOST_TAG}"),
                *("-device", "virtio-rng-pci"),
                *("-device", f"virtio-serial-pci,max_ports={len(ports) + 1}"),
            ]
            for number, (name, end) in enumerate(ports, 1):
                command += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
                command += ["-device", f"virtserialport,nr={number},chardev={name},name={name}"]
            command += ["-kernel", str(kernel.image), "-initrd", f"/dev/fd/{archive.fileno()}", "-append"]
            # panic=-1: a panic resets at once, which ends QEMU. mitigations=off: emulation is slow enough.
            command += [f"console=ttyS0 quiet panic=-1 mitigations=off {append}".strip()]
            ends = [files_socket, *(end for _, end in ports)]
            self._start(command, [archive.fileno(), self._console.fileno(), *(end.fileno() for end in ends)])
            for end in ends:
                end.close()
        except BaseException:
            self.close()
            raise

    def _start(self, command: list[str], descriptors: Sequence[int]) -> None:
        self._children.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._messages,
                stderr=self._messages,
                pass_fds=descriptors,
                start_new_session=True,
            )
        )

    def _start_virtiofsd(self, daemon: Path) -> socket.socket:
        """Start the file server; return the connection to it that QEMU is to use."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("")  # an abstract name that the kernel picks (unix(7), autobind)
            listening.listen(1)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(listening.getsockname())
            self._start(virtiofsd_command(daemon, listening.fileno()), [listening.fileno()])
        return connection

    @property
    def alive(self) -> bool:
        """Whether both processes run."""
        return all(child.poll() is None for child in self._children)

    def tail(self) -> str:
        """Return the last lines that tell: of the guest's console, then of what the two programs said."""
        texts = []
        for file in (self._console, self._messages):
            size = os.fstat(file.fileno()).st_size
            text = os.pread(file.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace")
            texts += telling_lines([row.rstrip() for row in text.splitlines() if row.strip()])
        return "\n".join(texts)

    def stop(self) -> None:
        """Tell the thread that owns the machine to end it: its read of the control port returns."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def receive(self) -> bytes:
        """Return what the agent sent, nothing once the machine has ended."""
        try:
            return self.control.recv(65536)
        except OSError:
            return b""

    def kill(self) -> None:
        """End both processes at once; nothing in the machine is to be kept."""
        for child in reversed(self._children):
            child.kill()
        for child in self._children:
            child.wait()

    def close(self) -> None:
        """End the processes and close the sockets and the console."""
        self.kill()
        self.control.close()
        for pair in self.outputs:
            for end in pair:
                end.close()
        self._files.close()


def telling_lines(rows: list[str]) -> list[str]:
    """Return how a kernel panic began (the stack traces are left out) and ended, else the last rows."""
    panic = next((number for number, row in enumerate(rows) if "Kernel panic" in row), None)
    if panic is None:
        return rows[-TAIL_LINES:]
    began = next((number for number, row in enumerate(rows[:panic]) if CAUSE.search(row)), panic - 3)
    first = rows[max(0, began) : min(began + TAIL_LINES // 2, panic)]
    return [*first, *rows[panic : panic + TAIL_LINES - len(first)]]


def find_tools() -> Tools | None:
    """Return the host's programs, or None where one is missing (``requirements`` names which)."""
    qemu, daemon, busybox = shutil.which(QEMU), find_virtiofsd(), find_busybox()
    if qemu and daemon and busybox:
        return Tools(qemu, daemon, busybox)
    return None
