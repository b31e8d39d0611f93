"""kallsyms as the kernel prints it, with the symbols of stock kernels."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.symbols import Kallsyms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.kernel.stock import StockKernel

#: Lines as /proc/kallsyms has them: aliases, data, two static functions of one name, parts, a module.
EXCERPT = b"""\
0000000000000000 A fixed_percpu_data
0000000000015000 A cpu_data
ffffffff81000000 T _text
ffffffff81000000 T _stext
ffffffff81000000 T startup_64
ffffffff81000100 t helper
ffffffff81000140 T memcpy
ffffffff81000140 W __memcpy
ffffffff81000200 T ip_rcv
ffffffff81000310 t __pfx_send.part.0
ffffffff81000320 t send.part.0
ffffffff81000400 t send.constprop.0.isra.0
ffffffff81000480 T send
ffffffff81000500 t helper
ffffffff81000600 t send.cold
ffffffff81000640 t send_more
ffffffff81000700 T _etext
ffffffff82000000 D jiffies
ffffffffc0000000 t helper\t[veth]
ffffffffc0000040 t veth_xmit\t[veth]
ffffffffc0000080 d veth_ops\t[veth]
ffffffffc0001000 t bpf_prog_0123\t[bpf]
"""


@pytest.fixture(scope="module")
def excerpt() -> Kallsyms:
    return Kallsyms(EXCERPT)


def test_a_name_is_found_whole(excerpt: Kallsyms) -> None:
    (found,) = excerpt.find("send")
    assert (found.name, found.address, found.kind, found.module, found.size) == (
        "send",
        0xFFFFFFFF81000480,
        "T",
        None,
        0x80,
    )
    assert found.is_text
    assert found.address + 0x7F in found
    assert found.end not in found
    assert excerpt.find("sen") == []


def test_all_functions_of_one_name_are_found_with_their_module(excerpt: Kallsyms) -> None:
    assert [one.qualified for one in excerpt.find("helper")] == ["helper", "helper", "veth:helper"]
    assert [one.address for one in excerpt.find("helper", "veth")] == [0xFFFFFFFFC0000000]
    assert len(excerpt.find("helper", "vmlinux")) == 2


def test_data_is_no_code(excerpt: Kallsyms) -> None:
    (found,) = excerpt.find("jiffies")
    assert not found.is_text
    assert excerpt.lookup(found.address) is None or excerpt.lookup(found.address)[0].name != "jiffies"


def test_parts_have_known_suffixes_only(excerpt: Kallsyms) -> None:
    names = [one.name for one in excerpt.parts("send")]
    assert names == ["send.part.0", "send.constprop.0.isra.0", "send.cold"]
    assert {one.base_name for one in excerpt.parts("send")} == {"send"}


def test_lookup_takes_the_name_the_kernel_lists_first(excerpt: Kallsyms) -> None:
    symbol, offset = excerpt.lookup(0xFFFFFFFF81000141) or pytest.fail("not found")
    assert (symbol.name, offset) == ("memcpy", 1)
    assert excerpt.symbolise(0xFFFFFFFF81000208) == "ip_rcv+8"
    assert excerpt.symbolise(0xFFFFFFFF81000200) == "ip_rcv"
    assert excerpt.symbolise(0x1000) is None


def test_globs_match_functions_without_padding_parts_and_programs(excerpt: Kallsyms) -> None:
    assert [one.name for one in excerpt.glob("s*")] == ["startup_64", "send", "send_more"]
    assert [one.name for one in excerpt.glob("send.*")] == [
        "send.part.0",
        "send.constprop.0.isra.0",
        "send.cold",
    ]
    assert [one.name for one in excerpt.glob("[im]*c*")] == ["memcpy", "ip_rcv"]
    assert [one.name for one in excerpt.glob("*", "veth")] == ["helper", "veth_xmit"]
    assert excerpt.glob("bpf_prog*") == []
    assert excerpt.glob("sen?") == excerpt.find("send")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("ip_rvc", "ip_rcv"), ("sedn", "send"), ("veth_xmt", "veth_xmit"), ("memcopy", "memcpy")],
)
def test_the_nearest_name_comes_first(excerpt: Kallsyms, typed: str, meant: str) -> None:
    assert excerpt.nearest(typed)[0] == meant


def test_nothing_is_near_nonsense(excerpt: Kallsyms) -> None:
    assert excerpt.nearest("qqqqqqqqqqqqqqq") == []


def test_hidden_addresses_are_an_error_with_its_remedy(tmp_path: Path) -> None:
    hidden = tmp_path / "kallsyms"
    hidden.write_bytes(b"".join(b"0" * 16 + line[16:] + b"\n" for line in EXCERPT.splitlines()))
    with pytest.raises(UserError, match="hides the kernel's addresses") as caught:
        Kallsyms.read(hidden)
    assert caught.value.remedy


def test_no_kallsyms_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the kernel's symbols"):
        Kallsyms.read(tmp_path / "missing")


def test_every_symbol_of_a_stock_kernel_is_found(stock: StockKernel) -> None:
    """GIVEN nm's listing WHEN random names and addresses are asked for THEN each agrees with the listing."""
    listed = [line.split(" ", 2) for line in stock.symbols_text.decode().splitlines()]
    times = Counter(name for _, _, name in listed)
    for address, kind, name in random.Random(1).sample(listed, 200):
        found = stock.kallsyms.find(name)
        assert (int(address, 16), kind) in [(one.address, one.kind) for one in found]
        assert len(found) == times[name]


def test_sizes_agree_with_the_linker(stock: StockKernel) -> None:
    """The distance to the next symbol is the function's size, but for the padding between functions."""
    text = subprocess.run(["nm", "-S", stock.vmlinux], capture_output=True, check=True, text=True).stdout
    sized = [line.split() for line in text.splitlines() if line.count(" ") == 3]
    functions = [(int(a, 16), int(s, 16), name) for a, s, kind, name in sized if kind in "tT"]
    for address, size, name in random.Random(2).sample(functions, 150):
        (found,) = [one for one in stock.kallsyms.find(name) if one.address == address]
        assert size <= found.size < size + 80, name


def test_lookup_inside_functions_of_a_stock_kernel(stock: StockKernel) -> None:
    listed = [line.split(" ", 2) for line in stock.symbols_text.decode().splitlines()]
    code = {int(address, 16) for address, kind, _ in listed if kind in "tTwW"}
    for address in random.Random(3).sample(sorted(code), 300):
        found = stock.kallsyms.lookup(address)
        assert found is not None
        assert (found[0].address, found[1]) == (address, 0)


def test_mistakes_a_newcomer_makes(stock: StockKernel) -> None:
    assert stock.kallsyms.nearest("ip_rcv_cor")[0] == "ip_rcv_core"
    assert "tcp_v4_rcv" in stock.kallsyms.nearest("tcp_v4_recv")
    assert "__netif_receive_skb" in stock.kallsyms.nearest("__netif_recieve_skb")
