"""The program's counters, read from memory of the maps' layout."""

from __future__ import annotations

import os
import re
import struct
from importlib import resources

from ktcpdump_tui.capture.counters import PER_CPU, PER_CPU_BYTES, Counters


def shared(data: bytes) -> int:
    descriptor = os.memfd_create("map")
    os.write(descriptor, data.ljust(4096, b"\0"))
    return descriptor


def cpu(**counts: int) -> bytes:
    return struct.pack(f"<{len(PER_CPU)}Q", *(counts.get(name, 0) for name in PER_CPU)).ljust(
        PER_CPU_BYTES, b"\0"
    )


def test_the_layout_is_the_programs() -> None:
    text = resources.files("ktcpdump_tui.capture").joinpath("bpf/trace.c").read_text()
    body = text.partition("struct per_cpu {")[2].partition("};")[0]
    members = re.findall(r"u64 (\w+)(?:\[(\d+)\])?;", body)
    assert tuple(name for name, _ in members[:-1]) == PER_CPU
    assert len(PER_CPU) + int(members[-1][1]) == PER_CPU_BYTES // 8


def test_counts_are_of_all_cpus() -> None:
    first = cpu(seq=10, lost_events=1, lost_notes=2, cut_packets=3)
    second = cpu(seq=5, lost_events=4, deep=6, cut_stacks=7)
    counters = Counters(shared(first + second), shared(struct.pack("<QQ", 9, 4)), 2)
    assert counters.losses() == {"ring buffer full": 5, "notes lost": 2, "frames too deep": 6}
    assert counters.truncated() == {"packet": 3, "stack": 7}
    assert counters.sent() == 15
    assert counters.packets(0) == (4, 5)
    counters.close()


def test_packets_tried_beyond_the_limit_do_not_count() -> None:
    """Two CPUs may both have seen room for one more."""
    counters = Counters(shared(cpu()), shared(struct.pack("<QQ", 5, 4)), 1)
    assert counters.packets(3) == (3, 2)
    counters.close()


def test_counts_are_seen_as_they_grow() -> None:
    descriptor = shared(cpu(seq=1))
    counters = Counters(descriptor, shared(b""), 1)
    assert counters.sent() == 1
    os.pwrite(descriptor, struct.pack("<Q", 2), 0)
    assert counters.sent() == 2
    counters.close()
