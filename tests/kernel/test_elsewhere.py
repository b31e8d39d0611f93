"""Captures by a program elsewhere, which is talked to: in the lab's guest, and over ssh."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.commands.console import Console
from ktcpdump_tui.commands.lab_session import LabSession
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab.capture import program, program_environment
from ktcpdump_tui.options import parse
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ADDED = "ip_local_deliver_finish"


def until(what: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def events_of(trace: Trace, symbol: str) -> int:
    trace.refresh()
    return sum(int(hits) for hits, one in zip(trace.hits(), trace.plan, strict=False) if one.symbol == symbol)


def test_probes_are_added_to_a_capture_in_the_lab_and_taken_away(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "ping.ktrace"
    session = LabSession(parse(["--lab", "--no-tui", "-i", "ip_rcv", "-o", str(path), "icmp"]), Console())
    session.lab = lab
    session.start()
    try:
        with session.open_trace() as trace:
            until(lambda: session.can_probe and events_of(trace, "ip_rcv") >= 2)
            assert f"{ADDED}:*: " in session.probe(f"{ADDED}:*").result(240)
            until(lambda: events_of(trace, ADDED) >= 30)
            refused = session.probe("no_such_function").exception(60)
            assert isinstance(refused, UserError)
            assert "this kernel has no function no_such_function" in refused.message
            assert refused.status == 2
            assert "removed" in session.unprobe(f"{ADDED}+*").result(120)
            time.sleep(0.5)
            before, pings = events_of(trace, ADDED), events_of(trace, "ip_rcv")
            until(lambda: events_of(trace, "ip_rcv") >= pings + 4)
            assert events_of(trace, ADDED) == before
        session.stop()
        session.join()
    finally:
        session.close()
    assert session.error is None
    with Trace.open(path) as trace:
        assert trace.summary is not None
        assert not any(trace.summary.lost.values()), trace.summary
        assert {one.source.file for one in trace.plan if one.symbol == ADDED and one.source} > {
            "net/ipv4/ip_input.c"
        }
    assert "ktcpdump_tui" not in lab.check_output("cat /sys/kernel/tracing/kprobe_events")


def test_a_capture_over_ssh_is_the_other_hosts(lab: Lab) -> None:
    """The guest is both hosts; the program is in the PATH that its sshd sets."""
    environment = program_environment()
    setup = f"""
        set -e; mkdir -p /tmp/ssh/bin /run/sshd; cd /tmp/ssh; rm -f host user
        ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f user
        cp user.pub authorized
        printf '#!/bin/sh\\nexec %s -m ktcpdump_tui "$@"\\n' {shlex.quote(sys.executable)} > bin/ktcpdump-tui
        chmod 755 bin/ktcpdump-tui; ip link set lo up
        cat > sshd_config <<END
Port 2222
ListenAddress 127.0.0.1
HostKey /tmp/ssh/host
AuthorizedKeysFile /tmp/ssh/authorized
StrictModes no
UsePAM no
PidFile none
SetEnv PATH=/tmp/ssh/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={environment["PYTHONPATH"]}
END
        mkdir -p /root/.ssh; cat > /root/.ssh/config <<END
Host there
 HostName 127.0.0.1
 Port 2222
 User root
 IdentityFile /tmp/ssh/user
 StrictHostKeyChecking accept-new
 UserKnownHostsFile /tmp/ssh/known
END
        chmod 600 /root/.ssh/config; /usr/sbin/sshd -f /tmp/ssh/sshd_config
    """
    lab.check_output(setup)
    command = ["--ssh", "there", "--json", "-i", f"{ADDED}:*", "-d", str(lab.vmlinux)]
    output = lab.check_output(
        program(*command, "--cmd", "ping -c 2 127.0.0.1", "icmp"), env=environment, timeout=240, cwd=str(ROOT)
    )
    header, *events, summary = map(json.loads, output.splitlines())
    assert (header["type"], summary["type"]) == ("header", "summary")
    assert len({event["skb"] for event in events}) >= 2
    assert {event["symbol"] for event in events} == {ADDED}
    first = min(event["offset"] for event in events)
    assert sum(event["offset"] == first for event in events) == 4  # two requests, two answers
    assert "ktcpdump_tui" not in lab.check_output("cat /sys/kernel/tracing/kprobe_events")
