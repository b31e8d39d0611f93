"""Whether KVM truly works here.

/dev/kvm can exist, open, create a machine and even run real-mode code, and still fail on a real kernel
(seen on a machine whose own hypervisor emulates it: QEMU aborts on an MSR, or stops with "KVM internal
error" and hangs). So the probe is the thing itself: the stock kernel must come up and print a word.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.lab import initramfs
from ktcpdump_tui.lab.machine import WITH_PARENT, Tools, accelerator_arguments, memory_file
from ktcpdump_tui.lab.stock import StockKernel, cache_folder

if TYPE_CHECKING:
    from typing import Any

DEVICE = Path("/dev/kvm")
#: A working KVM needs about one second.
PROBE_LIMIT = 15.0
WORD = "kvm-serves"


def describe(accelerator: str) -> str:
    """Return the name of an accelerator for the eyes of a user."""
    return "KVM" if accelerator == "kvm" else "software emulation"


def choose(tools: Tools, kernel: StockKernel) -> str:
    """Return ``kvm`` if that serves, else ``tcg``; asked once per boot of this machine."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    memory = cache_folder() / "kvm.json"
    question = {
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "qemu": [tools.qemu, Path(tools.qemu).stat().st_mtime_ns],
    }
    known = read_answer(memory)
    if known and known.get("question") == question:
        return "kvm" if known.get("serves") is True else "tcg"
    serves = probe(tools, kernel)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"question": question, "serves": serves}), encoding="utf-8")
    partial.replace(memory)
    return "kvm" if serves else "tcg"


def read_answer(path: Path) -> dict[str, Any] | None:
    """Return what was found out before, None if nothing readable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def probe(tools: Tools, kernel: StockKernel, accelerator: str = "kvm", limit: float = PROBE_LIMIT) -> bool:
    """Boot ``kernel`` with busybox alone; whether it has printed a word and ended in ``limit`` seconds."""
    archive = memory_file("initrd", initramfs.build_probe(tools.busybox, WORD))
    command = [
        *(*WITH_PARENT, tools.qemu, *accelerator_arguments(tools.qemu, accelerator)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "2", "-m", "512M"),
        *("-serial", "stdio", "-kernel", str(kernel.image), "-initrd", f"/dev/fd/{archive.fileno()}"),
        *("-append", "console=ttyS0 quiet panic=-1"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[archive.fileno()],
            timeout=limit,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        archive.close()
    return WORD.encode() in done.stdout
