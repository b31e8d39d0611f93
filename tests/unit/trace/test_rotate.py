"""A recording in several files: each is a trace of its own, and together they are the whole."""

from __future__ import annotations

import numpy as np
import synthetic_trace as made

from ktcpdump_tui.model import Summary
from ktcpdump_tui.trace.rotate import RotatingWriter
from ktcpdump_tui.trace.trace import Trace

SIZE = 1 << 20


def record(folder, keep=None) -> np.ndarray:
    """Write until the fourth file; return the rows."""
    rng = np.random.default_rng(7)
    writer = RotatingWriter(folder / "a.ktrace", SIZE, keep)
    writer.write_header(made.header())
    writer.write_plan(made.plan())
    writer.put_blob("drop_reasons", b"{}")
    written = []
    total = 0
    more = 1
    while more:
        more -= (folder / "a-3.ktrace").exists()
        rows = made.rows(1000, first=total, packets=10**6)
        rows["stack"] = rng.integers(0, 256, rows["stack"].shape)
        packets = np.unique(rows["packet"]).tolist()
        births = [packet for packet in packets if not written or packet > written[-1]["packet"].max()]
        writer.write_notes(b"".join(made.birth(n, n) + made.state(n, n) for n in births))
        writer.write_progress({"packets": packets[-1], "lost: ring": 3})
        writer.write_events(rows)
        writer.write_notes(b"".join(made.free(n, n) for n in packets[:-1]))
        written.append(rows)
        total += len(rows)
    writer.close(Summary(total, 1, 2, 3, 4))
    return np.concatenate(written)


def test_each_file_is_whole_and_none_is_missing(tmp_path):
    rows = record(tmp_path)
    names = ["a.ktrace", "a-1.ktrace", "a-2.ktrace", "a-3.ktrace"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    parts = []
    for name in names:
        with Trace.open(tmp_path / name) as trace:
            assert trace.finished
            assert trace.plan == made.plan()
            assert trace.blob("drop_reasons") == b"{}"
            parts.append(trace.rows(1, len(trace)))
            for no in (1, len(trace)):
                event = trace.event(no)
                assert event.len == 84, "a packet under way keeps its state"
                assert trace.packet(event.packet_id).skb
            ended_by = trace.summary.ended_by
            assert ended_by == ("rotation" if name != names[-1] else "")
            if name != names[-1]:
                assert trace.summary.events == len(trace)
                assert trace.summary.lost == {"ring": 3}
                assert SIZE * 0.5 < (tmp_path / name).stat().st_size < SIZE * 2
    assert np.concatenate(parts).tobytes() == rows.tobytes()


def test_only_the_newest_files_stay(tmp_path):
    record(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.ktrace", "a-3.ktrace"]
