"""``--lab`` as a newcomer types it: the machine boots, pings itself, and goes away with the program."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from ktcpdump_tui.trace.trace import Trace

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "ktcpdump_tui"]


def test_a_capture_in_the_lab_streams_live_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    recorded = tmp_path / "lab.ktrace"
    words = ["--lab=6.12", "--json", "-o", str(recorded), "-i", "ip_rcv_core+*", "icmp"]
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    header = json.loads(process.stdout.readline())
    assert header["command_line"] == ["ktcpdump-tui", *words]
    first = json.loads(process.stdout.readline())
    # It is still going on: the default ping answers itself over lo.
    assert process.poll() is None
    assert (first["no"], first["symbol"], first["dev"]) == (1, "ip_rcv_core", "lo")
    assert first["file"] == "net/ipv4/ip_input.c"
    for _ in range(200):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "summary"
    assert summary["ended_by"] == "user"
    assert f"{summary['events']} events captured" in err
    assert "Traceback" not in err
    with Trace.open(recorded) as trace:
        assert trace.finished
        assert len(trace) == summary["events"] >= 202


def test_a_mistake_inside_the_lab_is_told_outside() -> None:
    result = subprocess.run(
        [*PROGRAM, "--lab=6.12", "--no-tui", "-i", "ip_rcv_coree+*", "icmp"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    told = result.stderr[result.stderr.index("ktcpdump-tui: ") :]
    assert "ip_rcv_coree" in told
    assert "ip_rcv_core" in told.replace("ip_rcv_coree", "")
    assert told.count("ktcpdump-tui: ") == 1
