"""A capture whose disk is full goes on, on both kernels; what was recorded until then opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import capture

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

pytestmark = pytest.mark.long

DISK = "/tmp/small-disk"

#: Packets, then somebody else fills the disk, then more packets.
TRAFFIC = (
    f"ping -q -c 10 -i 0.1 127.0.0.1 && sleep 1 && ! dd if=/dev/zero of={DISK}/ballast bs=64k status=none"
    " && ping -q -c 50 -i 0.1 127.0.0.1"
)


def test_a_full_disk_ends_the_recording_and_not_the_capture(lab: Lab) -> None:
    lab.check_output(f"mkdir -p {DISK} && mount -t tmpfs -o size=8m tmpfs {DISK}")
    try:
        got = capture(
            lab,
            ["--no-tui", "-o", f"{DISK}/a.ktrace", "-d", str(lab.vmlinux), "-i", "ip_rcv_core+*", "icmp"],
            traffic=TRAFFIC,
            timeout=300,
            check=False,
        )
        assert got.status == 1, got.stderr
        assert got.stderr.count(f"recording into {DISK}/a.ktrace ended") == 1
        assert "120 packets" in got.stderr
        shown = len(got.text.splitlines()) - 1
        assert f"{shown} events captured" in got.stderr
        assert lab.check_output(f"ls {DISK}").split() == ["a.ktrace", "ballast"]
        again = capture(lab, ["-r", f"{DISK}/a.ktrace", "--no-tui"], timeout=120)
        held = len(again.text.splitlines()) - 1
        assert f"ends where the disk was full, after event {held:,}" in again.stderr
        assert f"it holds the first {held:,} events" in got.stderr
        assert 0 < held < shown
        # What both print is the same, to the last column.
        assert again.text.splitlines()[1:] == got.text.splitlines()[1 : held + 1]
    finally:
        lab.check_output(f"umount {DISK} && rmdir {DISK}")
