"""Probes that come and go while a capture runs, on real kernels."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ADDED = "ip_local_deliver_finish"


def inside(lab: Lab, scene: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("probing_inside.py")), scene, str(lab.vmlinux)]
    try:
        text = lab.check_output(command, timeout=420, env={"PYTHONPATH": str(ROOT)})
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def lines(lab: Lab) -> dict[str, Any]:
    return inside(lab, "lines")


@pytest.fixture(scope="module")
def many(lab: Lab) -> dict[str, Any]:
    return inside(lab, "many")


def said(told: dict[str, Any]) -> list[str]:
    return [step["said"] for step in told["steps"]]


def paths(rows: list[list[Any]], symbol: str) -> dict[int, list[int]]:
    """Return the offsets at which each packet was seen in a function."""
    found: dict[int, list[int]] = {}
    for name, offset, packet, *_ in rows:
        if name == symbol:
            found.setdefault(packet, []).append(offset)
    return found


def test_lines_of_a_function_arrive_from_the_moment_they_are_probed(lines: dict[str, Any]) -> None:
    assert lines["before"] >= 8
    assert re.fullmatch(rf"{ADDED}:\*: \d+ probes attached(, \d+ refused)?", said(lines)[0])
    assert lines["lines"] >= 40
    seen = {row[4].rpartition(":")[0] for row in lines["rows"] if row[0] == ADDED}
    assert "net/ipv4/ip_input.c" in seen


def test_every_packet_has_the_whole_path_through_what_was_added(lines: dict[str, Any]) -> None:
    """The first packet may have been in the function already: it has no frame there, and makes no event."""
    steps = [step["events"] for step in lines["steps"]]
    by_line = list(paths(lines["rows"][steps[0] : steps[4]], ADDED).values())[:-1]
    assert len(set(map(tuple, by_line))) == 1, by_line
    both = list(paths(lines["rows"][steps[4] : steps[5]], ADDED).values())[1:-1]
    whole = max(both, key=len)
    assert len(whole) > 2 * len(by_line[0])
    assert set(by_line[0]) < set(whole)
    # from the first that came by afterwards, all have it
    by_instruction = both[both.index(whole) :]
    assert len(by_instruction) >= 3
    assert all(way == whole for way in by_instruction), both
    assert {row[3] for row in lines["rows"] if row[0] == ADDED} == {"argument", "frame"}


def test_what_is_refused_leaves_the_capture_as_it_was(lines: dict[str, Any]) -> None:
    assert "all of it is probed already" in said(lines)[1]
    assert "this kernel has no function no_such_function" in said(lines)[2]
    assert "--max-probes allows 1,000" in said(lines)[3]
    probed = [step["probed"] for step in lines["steps"]]
    assert probed[0] == probed[1] == probed[2] == probed[3]
    assert lines["after_refusals"] >= 40


def test_probes_that_the_kernel_arms_only_in_part_are_taken_back(lines: dict[str, Any]) -> None:
    failed = lines["steps"][-2]
    assert "refused: " in failed["said"] and "Too many open files" in failed["said"]
    assert ADDED not in failed["probed"]
    assert lines["after_failure"] >= 8
    assert re.match(rf"{ADDED}:\*: \d+ probes attached", said(lines)[-1])


def test_no_event_is_lost_and_none_is_double(lines: dict[str, Any]) -> None:
    assert not any(lines["lost"].values()), lines["lost"]
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", lines["ping"]).groups())
    assert sent == received
    entries = Counter(row[2] for row in lines["rows"] if row[0] == "ip_rcv")
    assert set(entries.values()) == {1}
    # those of a packet on its way when the capture began or ended may be missing
    assert 2 * sent - 2 <= len(entries) <= 2 * sent


def test_a_function_without_an_skb_has_its_callers_packet_while_that_is_probed(lines: dict[str, Any]) -> None:
    assert lines["ip_append_data"] >= 8
    assert {row[3] for row in lines["rows"] if row[0] == "ip_append_data"} == {"caller"}


def test_removed_probes_end_and_leave_nothing_in_the_kernel(lines: dict[str, Any]) -> None:
    assert lines["after_unprobe"] == 0
    assert lines["goes_on"] >= 20
    assert lines["some_left"] >= 40
    steps = [step for step in lines["steps"] if re.match(rf"{ADDED}\+\*: \d+ probes removed", step["said"])]
    assert ADDED not in steps[-1]["probed"]
    assert "nothing of it is probed" in said(lines)[-3]
    assert lines["again"] >= 40
    assert "ktcpdump_tui" not in lines["left"]
    assert ADDED not in lines["left_kprobes"]


def test_variables_of_what_was_added_are_in_the_trace(lines: dict[str, Any]) -> None:
    assert sum(name.startswith("variables:") for name in lines["blobs"]) >= 3


def test_one_of_many_entries_is_expanded_to_lines_and_folded_again(many: dict[str, Any]) -> None:
    """On a kernel that can, the function tracer hooks the entries; else they are probed behind its nop."""
    assert many["functions"] > 64
    assert many["before"] >= 8
    assert many["lines"] >= 100
    expanded = slice(many["steps"][0]["events"], many["steps"][1]["events"])
    ways = [offsets for offsets in paths(many["rows"][expanded], "ip_rcv_core").values() if len(offsets) > 1]
    assert len(ways) >= 3
    assert all(len(offsets) == len(set(offsets)) for offsets in ways)  # nothing in it is a loop
    assert {row[3] for row in many["rows"] if row[0] == "ip_rcv_core"} == {"argument", "frame"}
    assert many["still"] >= 8
    assert "ktcpdump_tui" not in many["left"]
