"""SPECs on real kernels: what --list shows, and what is said of a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Captured

    Capture = Callable[..., Captured]

#: The others need no real kernel: tests/unit/spec.
WRONG = {
    "ip_rvc_core": ("has no function ip_rvc_core", "did you mean ip_rcv_core"),
    "ip_rcv_core+1": ("is inside the instruction ip_rcv_core+0", "ip_rcv_core+0 and ip_rcv_core+5"),
}


def test_lines_are_fewer_than_instructions(lab: Lab, capture: Capture) -> None:
    """Every line of ip_rcv_core that --list names in line mode is one of the instructions' lines."""
    image = ["-d", str(lab.vmlinux)]
    lines = capture(["--list", "ip_rcv_core:*", *image], timeout=120)
    probed = [row for row in lines.text.splitlines()[1:] if "left out" not in row and "refused" not in row]
    assert 20 < len(probed) < 150
    assert all("ip_rcv_core+" in row for row in probed)
    assert any("net/ipv4/ip_input.c:" in row for row in probed)


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_spec_is_a_usage_error(lab: Lab, capture: Capture, spec: str) -> None:
    got = capture(["--list", spec, "-d", str(lab.vmlinux)], timeout=120, check=False)
    assert got.status == 2
    for words in WRONG[spec]:
        assert words in got.stderr
    assert "Traceback" not in got.stderr
