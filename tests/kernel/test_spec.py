"""SPECs on real kernels: what --list shows, and what is said of a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import Command, commands

if TYPE_CHECKING:
    from ktcpdump_tui.lab import Lab
    from tests.kernel.harness import Told

#: The others need no real kernel: tests/unit/spec.
WRONG = {
    "ip_rvc_core": ("has no function ip_rvc_core", "did you mean ip_rcv_core"),
    "ip_rcv_core+1": ("is inside the instruction ip_rcv_core+0", "ip_rcv_core+0 and ip_rcv_core+5"),
}
LINES = "ip_rcv_core:*"
#: One function for each of two protocols, of one name, in the kernel itself.
TWICE = ("net/ipv4/ipmr.c:reg_vif_xmit", "net/ipv6/ip6mr.c:reg_vif_xmit")
NAME, ALL = "reg_vif_xmit", "vmlinux:reg_vif_xmit"
MODULES = "drivers/net/veth.c:300-400,nft_do_chain,br_handle_frame"


@pytest.fixture(scope="module")
def listings(lab: Lab) -> dict[str, Told]:
    """What --list says of each SPEC."""
    lab.check_output("modprobe -a veth bridge nf_tables")
    specs = (LINES, NAME, TWICE[0], ALL, MODULES, *WRONG)
    told = commands(lab, [Command(["--list", spec, "-d", str(lab.vmlinux)]) for spec in specs])
    return dict(zip(specs, told, strict=True))


def probed(listing: Told) -> list[str]:
    """Return the rows of --list that have a probe."""
    assert listing.status == 0, listing.stderr
    rows = listing.stdout.splitlines()[1:]
    return [row for row in rows if "left out" not in row and "refused" not in row]


def test_lines_are_fewer_than_instructions(listings: dict[str, Told]) -> None:
    """Every line of ip_rcv_core that --list names in line mode is one of the instructions' lines."""
    rows = probed(listings[LINES])
    assert 20 < len(rows) < 150
    assert all("ip_rcv_core+" in row for row in rows)
    assert any("net/ipv4/ip_input.c:" in row for row in rows)


def test_functions_of_one_name_are_asked_about_and_taken_by_file_or_all(listings: dict[str, Told]) -> None:
    asked = listings[NAME]
    assert asked.status == 2
    assert all(f"-i '{one}'" in asked.stderr for one in TWICE)
    assert f"all 2 of vmlinux with -i '{ALL}'" in asked.stderr
    files = {row.rsplit(" ", 1)[1].partition(":")[0] for row in probed(listings[TWICE[0]])}
    assert files == {"net/ipv4/ipmr.c"}
    assert len(probed(listings[ALL])) == 2


def test_a_line_of_a_file_is_found_in_the_module_that_has_it(listings: dict[str, Told]) -> None:
    rows = probed(listings[MODULES])
    lines = [row for row in rows if "drivers/net/veth.c:" in row]
    assert len(lines) > 10
    # A line that begins with an inlined function shares its address with that function's first line.
    asked = [row for row in lines if 300 <= int(row.rpartition(":")[2]) <= 400]
    assert len(asked) >= 0.9 * len(lines)
    assert any("net/netfilter/nf_tables_core.c:" in row for row in rows)
    assert any("net/bridge/br_input.c:" in row for row in rows)


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_spec_is_a_usage_error(listings: dict[str, Told], spec: str) -> None:
    assert listings[spec].status == 2
    for words in WRONG[spec]:
        assert words in listings[spec].stderr
    assert "Traceback" not in listings[spec].stderr
