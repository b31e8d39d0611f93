"""The names of addresses that a trace carries, of stock kernels."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.names import MAGIC, AddressNames, pack_names
from ktcpdump_tui.kernel.symbols import Kallsyms

if TYPE_CHECKING:
    from tests.unit.kernel.stock import StockKernel

EXCERPT = b"""\
0000000000015000 A cpu_data
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81000100 t __pfx_helper
ffffffff81000110 t helper
ffffffff81000140 t __SCT__tp_func_net_dev_xmit
ffffffff81000148 t __SCT__tp_func_net_dev_queue
ffffffff81000200 T ip_rcv
ffffffff82000000 D init_net
ffffffffc0000000 t helper\t[veth]
ffffffffc0000040 t veth_xmit\t[veth]
ffffffffbf000000 t br_handle_frame\t[bridge]
"""


def test_an_address_has_the_name_of_what_it_is_in() -> None:
    names = AddressNames.unpack(pack_names(Kallsyms(EXCERPT)))
    assert [
        names.symbolise(0xFFFFFFFF81000000 + offset) for offset in (0, 0x10, 0x110, 0x13F, 0x200, 0x205)
    ] == ["_text", "_text+16", "helper", "helper+47", "ip_rcv", "ip_rcv+5"]
    assert names.symbolise(0xFFFFFFFF82000018) == "init_net+24"
    assert names.symbolise(0xFFFFFFFFC0000041) == "veth_xmit+1"
    assert names.symbolise(0xFFFFFFFFBF000000) == "br_handle_frame"


def test_what_is_nowhere_or_left_out_has_no_name() -> None:
    names = AddressNames.unpack(pack_names(Kallsyms(EXCERPT)))
    for address in (
        0,
        0x15000,
        0xFFFFFFFF81000140,
        0xFFFFFFFF81000150,
        0xFFFFFFFF80FFFFFF,
        0xFFFF888000000000,
        -1,
    ):
        assert names.symbolise(address) is None
    assert names.symbolise(0xFFFFFFFFFFFFFFFF) is None, "nothing is that large"
    assert AddressNames.nothing().symbolise(0xFFFFFFFF81000000) is None


def test_damaged_names_are_refused() -> None:
    whole = pack_names(Kallsyms(EXCERPT))
    for data in (b"", whole[:-3], MAGIC, MAGIC + b"x" * 50, b"KTNAMES9\n" + whole[len(MAGIC) :]):
        with pytest.raises(UserError, match="symbols"):
            AddressNames.unpack(data)


def test_no_symbols_at_all() -> None:
    assert len(AddressNames.unpack(pack_names(Kallsyms(b"")))) == 0


def test_a_stock_kernels_functions_have_the_names_kallsyms_gives_them(stock: StockKernel) -> None:
    kallsyms = stock.kallsyms
    data = pack_names(kallsyms)
    names = AddressNames.unpack(data)
    assert len(data) < 600_000
    functions = [one for one in kallsyms.functions() if not one.name.startswith("__") and one.size > 8]
    compared = 0
    for one in random.Random(4).sample(functions, 3000):
        address = one.address + one.size // 2
        known = names.symbolise(address)
        if known is not None:
            assert known == kallsyms.symbolise(address)
            compared += 1
    assert compared > 2000
    address = kallsyms.address_of("init_net")
    assert address
    assert names.symbolise(address + 8) == "init_net+8"
