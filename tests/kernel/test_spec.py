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


#: One function for each of two protocols, of one name, in the kernel itself.
TWICE = ("net/ipv4/ipmr.c:reg_vif_xmit", "net/ipv6/ip6mr.c:reg_vif_xmit")


def test_functions_of_one_name_are_asked_about_and_taken_by_file_or_all(lab: Lab, capture: Capture) -> None:
    image = ["-d", str(lab.vmlinux)]
    got = capture(["--list", "reg_vif_xmit", *image], timeout=120, check=False)
    assert got.status == 2
    assert all(f"-i '{one}'" in got.stderr for one in TWICE)
    assert "all 2 of vmlinux with -i 'vmlinux:reg_vif_xmit'" in got.stderr
    files = {row.rsplit(" ", 1)[1].partition(":")[0] for row in listed(capture, *TWICE[:1], image=image)}
    assert files == {"net/ipv4/ipmr.c"}
    assert len(listed(capture, "vmlinux:reg_vif_xmit", image=image)) == 2


def test_a_line_of_a_file_is_found_in_the_module_that_has_it(lab: Lab, capture: Capture) -> None:
    lab.check_output("modprobe -a veth bridge nf_tables")
    image = ["-d", str(lab.vmlinux)]
    rows = listed(capture, "drivers/net/veth.c:300-400", "nft_do_chain", "br_handle_frame", image=image)
    lines = [row for row in rows if "drivers/net/veth.c:" in row]
    assert len(lines) > 10
    # A line that begins with an inlined function shares its address with that function's first line.
    asked = [row for row in lines if 300 <= int(row.rpartition(":")[2]) <= 400]
    assert len(asked) >= 0.9 * len(lines)
    assert any("net/netfilter/nf_tables_core.c:" in row for row in rows)
    assert any("net/bridge/br_input.c:" in row for row in rows)


def listed(capture: Capture, *specs: str, image: list[str]) -> list[str]:
    """Return the rows of --list that have a probe."""
    rows = capture(["--list", ",".join(specs), *image], timeout=200).text.splitlines()[1:]
    return [row for row in rows if "left out" not in row and "refused" not in row]


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_spec_is_a_usage_error(lab: Lab, capture: Capture, spec: str) -> None:
    got = capture(["--list", spec, "-d", str(lab.vmlinux)], timeout=120, check=False)
    assert got.status == 2
    for words in WRONG[spec]:
        assert words in got.stderr
    assert "Traceback" not in got.stderr
