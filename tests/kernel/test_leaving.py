"""The whole program, interrupted and killed at any moment, leaves the kernel as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ktcpdump_tui.lab.capture import compile_package, program_environment

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

#: Minutes under emulation: see CONTRIBUTING.
pytestmark = pytest.mark.long

INSIDE = Path(__file__).with_name("leaving_inside.py")

#: kill -9 at this many random moments, per kernel.
KILLS = 25


def inside(lab: Lab, *words: str, timeout: float) -> dict[str, Any]:
    compile_package()
    try:
        text = lab.check_output(
            [sys.executable, str(INSIDE), *words], timeout=timeout, env=program_environment()
        )
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def killed(lab: Lab) -> dict[str, Any]:
    return inside(lab, "kills", str(KILLS), "3", timeout=2400)


@pytest.fixture(scope="module")
def interrupted(lab: Lab) -> dict[str, Any]:
    return inside(lab, "interrupts", timeout=1800)


def test_kills_hit_every_phase(killed: dict[str, Any]) -> None:
    """Attaching, capturing, detaching: it was alive then; and it did leave probes at some."""
    assert {name: any(alive) for name, alive in killed["phases"].items()} == dict.fromkeys(
        ("any", "attach", "capture", "detach"), True
    )
    assert sum(map(len, killed["phases"].values())) == KILLS
    assert killed["left"] >= KILLS // 3


def test_a_killed_program_leaves_no_probe_armed(killed: dict[str, Any]) -> None:
    assert killed["armed"] == 0


def test_the_next_start_removes_what_a_killed_one_left(killed: dict[str, Any]) -> None:
    assert killed["starts"] >= KILLS // 2
    assert killed["after start"] == 0
    assert killed["different"] == {}


def test_another_tools_probe_counts_on(killed: dict[str, Any]) -> None:
    """It sits on an instruction of ours, and sees each packet once; up to 2 are on their way at the ends."""
    assert killed["touched"] == 0
    assert killed["packets"] > 500
    assert abs(killed["other hits"] - killed["packets"]) <= 4


def test_ctrl_c_at_any_stage_leaves_nothing(interrupted: dict[str, Any]) -> None:
    different = {name: run["different"] for name, run in interrupted["runs"].items() if run["different"]}
    assert len(interrupted["runs"]) == 6
    assert different == {}


def test_ctrl_c_ends_a_capture_with_0_and_its_beginning_with_130(interrupted: dict[str, Any]) -> None:
    for name, run in interrupted["runs"].items():
        got, wanted = run["status"]
        assert got == wanted, (name, run["said"])
        assert not run["traceback"]


def test_a_progress_bar_shows_how_many_probes_are_defined(interrupted: dict[str, Any]) -> None:
    """At the moment of the Ctrl-C some were, and not all."""
    bar = interrupted["runs"]["many defining"]["bars"][-1]
    done, total = map(int, bar.rpartition(" ")[2].split("/"))
    assert bar.startswith("defining probes [#")
    assert 300 <= done < total
