"""Lines, columns and inline chains against eu-addr2line, on stock kernels and their modules.

The default run asks about a few hundred instructions of each file; the full one, which issue 4 speaks of, is
``LINES_SAMPLE=5000 pytest tests/unit/debuginfo/test_witness.py`` (5,000 of vmlinux, 500 of each module).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.debuginfo.image import DebugImage

if TYPE_CHECKING:
    from tests.unit.debuginfo.conftest import StockKernel, Witness

SAMPLE = int(os.environ.get("LINES_SAMPLE", "200"))
MODULES = (
    "drivers/net/veth", "drivers/net/vxlan/vxlan", "drivers/net/macvlan", "drivers/net/tun",
    "drivers/net/virtio_net", "net/bridge/bridge", "net/netfilter/nf_tables", "net/netfilter/nf_conntrack",
    "net/netfilter/nf_nat", "net/ipv4/ipip", "net/ipv4/ip_gre", "net/sched/sch_netem",
)  # fmt: skip


def differences(witness: Witness, image: DebugImage, count: int, *, by_section: bool) -> list[str]:
    """Compare ``count`` instructions; each difference comes with the rows of the line table around it."""
    found = []
    compared = inlined = 0
    for section, addresses in witness.instructions(image, count, seed=20240607).items():
        theirs = witness.chains(image, addresses, section if by_section else None)
        for address, chain in zip(addresses, theirs, strict=True):
            ours = witness.ours(image, address)
            compared += 1
            inlined += len(chain) > 1
            if ours != chain and not witness.explains(image, address, section if by_section else None):
                found.append(
                    f"{section} {address:#x}\n  eu-addr2line {chain}\n  ours {ours}\n{rows(image, address)}"
                )
    assert compared > count // 2
    assert inlined > compared // 20
    return found


def rows(image: DebugImage, address: int) -> str:
    unit = image.units.near(address)
    table = image.lines.table(unit) if unit else None
    if table is None:
        return "  no line table"
    at = int(table.rows.addresses.searchsorted(address))
    return "\n".join(
        f"  {int(table.rows.addresses[row]):#x} {table.row(row)} end={bool(table.rows.is_end[row])}"
        for row in range(max(at - 3, 0), min(at + 3, len(table.rows)))
    )


def test_kernel(witness: Witness, vmlinux: DebugImage) -> None:
    found = differences(witness, vmlinux, SAMPLE, by_section=False)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", MODULES)
def test_module(witness: Witness, stock_kernel: StockKernel, module: str) -> None:
    path = stock_kernel.module(module)
    sections = {
        ".text": 0xFFFFFFFFC0400000,
        ".text.unlikely": 0xFFFFFFFFC0480000,
        ".data": 0xFFFFFFFFC0500000,
    }
    with DebugImage.open(path, sections) as image:
        found = differences(witness, image, max(SAMPLE // 10, 30), by_section=True)
    assert not found, "\n".join(found)
