"""Probes in real kernels: attached, counted, refused, taken away, and never anybody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from elftools.elf.elffile import ELFFile

from ktcpdump_tui.kernel.notes import build_id

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab

INSIDE = Path(__file__).with_name("attach_inside.py")
ROOT = Path(__file__).parents[2]

#: kill -9 at this many random moments, per kernel.
KILLS = 25


def inside(lab: Lab, *words: str, timeout: float = 240) -> dict[str, Any]:
    command = [sys.executable, str(INSIDE), *words]
    try:
        text = lab.check_output(command, timeout=timeout, env={"PYTHONPATH": str(ROOT)})
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}")
    return dict(json.loads(text))


@pytest.fixture(scope="module")
def told(lab: Lab) -> dict[str, Any]:
    return inside(lab, "report")


def test_other_tools_probes_do_not_change_what_is_decoded(told: dict[str, Any]) -> None:
    other = told["other tool"]
    assert other["optimised"]
    assert other["changed"] == other["probes"] == 6
    assert other["different"] == []


def test_hundreds_of_addresses_are_a_few_events(told: dict[str, Any]) -> None:
    got = told["attaching"]
    assert got["asked"] > 300
    assert got["refused"] == []
    assert got["lines"] == got["asked"]
    assert got["progress"] == [got["asked"], got["asked"]]


def test_nothing_fires_before_everything_is_in_place(told: dict[str, Any]) -> None:
    assert told["attaching"]["hits before"] == 0


def test_every_execution_is_seen(told: dict[str, Any]) -> None:
    """Another tool's probe on the same address counts the same packets."""
    got = told["attaching"]
    assert got["hits of the entry"] == got["hits of the other tool"] >= 10
    assert got["executed"] > 80
    assert got["missed"] == {"insn": 0}


def test_detaching_ends_it_and_leaves_others_alone(told: dict[str, Any]) -> None:
    got = told["attaching"]
    assert got["hits after"] == 0
    assert got["others untouched"]
    assert told["left"] == ""


def test_what_the_plan_leaves_out_the_kernel_would_refuse(told: dict[str, Any]) -> None:
    got = told["refusing"]
    assert got["reserved"] > 3
    assert got["traps"] > 3
    assert got["kernel refuses"] == got["reserved"] + got["traps"]


def test_a_refused_address_costs_no_other(told: dict[str, Any]) -> None:
    got = told["refusing"]
    assert got["mixed attached"] == []
    assert got["mixed refused"] == []
    assert got["reasons"] == ["not the start of an instruction, or a trap"]


def test_an_interrupt_or_a_failure_leaves_nothing(told: dict[str, Any]) -> None:
    got = told["interrupting"]
    assert got["outcome"] == "interrupted"
    assert 0 < got["defined"] < 150
    assert not got["left"]
    assert "does not let a BPF program run" in got["wrong program"]


def test_only_dead_processes_probes_are_removed(told: dict[str, Any]) -> None:
    assert told["stale"] == {"dead": False, "reused": False, "alive": True, "similar": True, "foreign": True}


def test_the_machines_own_setting_is_restored(told: dict[str, Any]) -> None:
    before, after, lock = told["expedited"]
    assert (before, lock) == (after, "")


def test_every_entry_at_once(told: dict[str, Any], lab: Lab) -> None:
    got = told["many entries"]
    assert got["functions"] > 1500
    assert "veth" in got["modules"]
    config = (lab.kernel_root / "boot" / f"config-{lab.release}").read_text()
    assert got["multi"] == ("CONFIG_FPROBE=y" in config)
    if got["multi"]:
        assert got["attached"] > 1500
        assert got["attach seconds"] < 5
        assert got["detach seconds"] < 5


def test_the_kernel_is_what_its_files_say(told: dict[str, Any], lab: Lab) -> None:
    facts = told["facts"]
    with lab.vmlinux.open("rb") as file:
        elf = ELFFile(file)
        assert facts["build id"] == build_id(elf.get_section_by_name(".notes").data())
        assert facts["orc"] == [
            elf.get_section_by_name(name).data_size for name in (".orc_unwind_ip", ".orc_unwind")
        ]
    assert facts["struct"]["size"] == 232
    assert facts["blacklist"] > 100
    assert facts["symbols"]
    debug = lab.kernel_root / "usr/lib/debug/lib/modules" / lab.release / "kernel"
    for name, path in (("veth", "drivers/net/veth.ko"), ("nf_tables", "net/netfilter/nf_tables.ko")):
        with (debug / path).open("rb") as file:
            elf = ELFFile(file)
            assert facts[name]["build id"] == build_id(elf.get_section_by_name(".note.gnu.build-id").data())
            assert facts[name]["orc"] == [
                elf.get_section_by_name(section)["sh_size"] for section in (".orc_unwind_ip", ".orc_unwind")
            ]
        assert facts[name]["text"]
        assert facts[name]["types"]


def test_hidden_addresses_name_the_setting(told: dict[str, Any]) -> None:
    assert "kernel.kptr_restrict is 2" in told["facts"]["hidden"]
    assert "sysctl -w kernel.kptr_restrict=1" in told["facts"]["hidden"]


def test_killed_at_any_moment_nothing_stays(lab: Lab) -> None:
    got = inside(lab, "kills", str(KILLS), "7")
    assert got["left by kill"] > KILLS // 4
    assert got["left after start"] == 0
    assert got["switch left on"] == 0
