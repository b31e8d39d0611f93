"""A trace is whole: it shows the same without kernel, debug symbols, BCC, privileges or a cache."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ktcpdump_tui.trace.trace import Trace

DATA = Path(__file__).parents[2] / "data"
TOP = DATA.parents[1]

#: What a capture needs and a replay must not: hidden below empty folders.
HIDDEN = (
    "/usr/lib/debug",
    "/usr/src",
    "/boot",
    "/lib/modules",
    "/sys",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/python3",
    "/root/.cache",
    "/tmp",
)


def replay(*words: str) -> list[str]:
    """Return the words that replay, with an empty cache."""
    return ["env", "XDG_CACHE_HOME=/nowhere", sys.executable, "-m", "ktcpdump_tui", *words]


def elsewhere(words: list[str]) -> list[str]:
    """Return the words that run ``words`` powerless in a mount namespace (unshare(1))."""
    needed = [TOP, Path(sys.prefix), Path(sys.base_prefix)]
    away = [
        path for path in HIDDEN if Path(path).is_dir() and not any(one.is_relative_to(path) for one in needed)
    ]
    hide = [f"mount -t tmpfs none {shlex.quote(path)}" for path in away]
    hide.append("mount --bind /dev/null /proc/kallsyms")
    # The user stays: the interpreter may lie where no other user may read.
    powerless = (
        "setpriv --no-new-privs --securebits +noroot,+noroot_locked --inh-caps -all --bounding-set -all"
    )
    script = "; ".join([*hide, f"exec {powerless} {shlex.join(words)}"])
    kind = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *kind, "--mount", "bash", "-e", "-c", script]


@pytest.mark.parametrize("name", ["four-ways-6.12", "ping-6.1", "version-1"])
def test_a_replay_shows_the_same_without_what_a_capture_needs(name):
    trace = DATA / f"{name}.ktrace"
    for words in (
        ["--json", "--locals", "--watch", "skb->len", "--watch", "iph->ttl - 1"],
        ["--no-tui"],
        ["--compare", "1", "2"],
    ):
        command = replay("-r", str(trace), *words)
        here = subprocess.run(command, cwd=TOP, capture_output=True, check=True)
        there = subprocess.run(elsewhere(command), cwd=TOP, capture_output=True, check=False)
        assert there.returncode == 0, there.stderr.decode()
        assert there.stdout == here.stdout
        assert there.stderr == here.stderr


def test_what_is_shown_is_worth_showing():
    command = replay("-r", str(DATA / "four-ways-6.12.ktrace"), "--json", "--locals", "--watch", "iph->ttl")
    lines = subprocess.run(command, cwd=TOP, capture_output=True, check=True).stdout.splitlines()
    events = [one for one in map(json.loads, lines) if "no" in one]
    assert len({one["file"] for one in events}) > 5
    assert {one["watch"]["iph->ttl"] for one in events} >= {64, 1}
    assert sum(value is not None for one in events for value in one["locals"].values()) > len(events)


def test_a_trace_of_the_first_version_still_opens():
    """Recorded by the first program that wrote version 1."""
    with Trace.open(DATA / "version-1.ktrace") as trace:
        assert trace.finished
        assert trace.header.release.startswith("6.12")
        assert trace.event(1).instruction.addr2line == "net/ipv4/ip_input.c:457"
        assert {packet.fate for packet in trace.packets()} >= {"consumed"}
