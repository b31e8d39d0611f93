"""Attaching 200 instructions takes at most 0.4 of one attach call per instruction."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ktcpdump_tui.lab import Lab

INSIDE = Path(__file__).with_name("attach_inside.py")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", ["6.12", "6.1"])
def test_attaching_many_addresses(version: str) -> None:
    with Lab(version) as lab:
        text = lab.check_output(
            [sys.executable, str(INSIDE), "2000"], timeout=400, env={"PYTHONPATH": str(ROOT)}
        )
    told = json.loads(text)
    ratio = told["together"]["attach"] / told["one each"]["attach"]
    print(f"\n{version}: {told['addresses']} addresses, {ratio:.2f} of one call each", json.dumps(told))
    assert told["together"]["refused"] == 0
    assert ratio <= 0.4
    assert told["together"]["detach"] <= told["one each"]["detach"]
