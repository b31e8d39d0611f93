"""Plans that change while a capture runs, made from the code of stock kernels."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from ktcpdump_tui.capture.entries import probe_set
from ktcpdump_tui.capture.functions import KernelTypes
from ktcpdump_tui.capture.merge import REMOVED, merged, renumbered, without
from ktcpdump_tui.capture.plan import Plan, Planner
from ktcpdump_tui.capture.program import InstructionFlag
from ktcpdump_tui.capture.resolve import resolve
from ktcpdump_tui.capture.spec import parse_specs
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.text import NOP5, LiveText, ReservedCode
from ktcpdump_tui.model import FrameRule

if TYPE_CHECKING:
    from tests.unit.kernel.stock import StockKernel


@pytest.fixture
def planner(stock: StockKernel) -> Planner:
    return Planner(
        stock.kallsyms,
        LiveText(stock.memory, stock.kallsyms, stock.btf),
        KernelTypes(stock.btf),
        Blacklist(""),
        ReservedCode(stock.memory, stock.kallsyms),
        frames=lambda addresses: [FrameRule(7, 8)] * len(addresses),
    )


def plan(planner: Planner, stock: StockKernel, *specs: str, behind: bool = False) -> Plan:
    return planner.plan(resolve(parse_specs(specs), stock.kallsyms), behind_tracer=behind)


def test_what_is_known_keeps_its_index_and_the_rest_is_appended(stock: StockKernel, planner: Planner) -> None:
    old = plan(planner, stock, "ip_rcv_core+*", "ip_rcv")
    both = merged(old, plan(planner, stock, "ip_rcv+*", "udp_rcv"), itertools.count(10))
    assert both.instructions[: len(old.instructions)] == old.instructions
    assert [one.index for one in both.instructions] == list(range(len(both.instructions)))
    assert len({one.address for one in both.instructions}) == len(both.instructions)
    assert {one.symbol.name: one.number for one in both.functions} == {
        "ip_rcv_core": 0,
        "ip_rcv": 1,
        "udp_rcv": 10,
    }
    together = plan(planner, stock, "ip_rcv_core+*", "ip_rcv+*", "udp_rcv")
    assert set(both.addresses) == set(together.addresses)


def test_instructions_that_were_left_out_are_probed_in_their_place(
    stock: StockKernel, planner: Planner
) -> None:
    old = plan(planner, stock, "ip_rcv_core")
    entry = old.addresses
    both = merged(old, plan(planner, stock, "ip_rcv_core+*"), itertools.count(1))
    assert set(entry) < set(both.addresses)
    less = without(both, set(both.addresses) - set(entry))
    assert less.addresses == entry
    assert {one.refusal for one in less.instructions if one.address in set(both.addresses) - set(entry)} == {
        REMOVED
    }
    again = merged(less, plan(planner, stock, "ip_rcv_core+*"), itertools.count(1))
    assert set(again.addresses) == set(both.addresses)
    assert [one.address for one in again.instructions] == [one.address for one in both.instructions]


def test_a_surveys_entry_stays_where_it_is_when_the_function_is_expanded(
    stock: StockKernel, planner: Planner
) -> None:
    old = plan(planner, stock, "ip_rcv_core", behind=True)
    (behind,) = old.addresses
    both = merged(old, plan(planner, stock, "ip_rcv_core+*"), itertools.count(1))
    (function,) = both.functions
    assert behind in both.addresses
    assert function.entry == behind - len(NOP5)
    assert len(both.addresses) == len(plan(planner, stock, "ip_rcv_core+*").addresses)
    # asked for once more, the entry alone adds nothing
    assert merged(old, plan(planner, stock, "ip_rcv_core"), itertools.count(1)).addresses == [behind]


def test_functions_without_probes_need_none_for_their_frames(stock: StockKernel, planner: Planner) -> None:
    old = plan(planner, stock, "ip_rcv_core+*", "ip_rcv")
    gone = {one.address for one in old.instructions if one.symbol == "ip_rcv_core"}
    probes = probe_set(without(old, gone))
    assert probes.entries == [old.functions[1].entry]
    assert probes.others == []


def test_an_entry_the_tracer_hooks_keeps_its_hook_when_frames_matter(
    stock: StockKernel, planner: Planner
) -> None:
    old = plan(planner, stock, "ip_rcv_core")
    hooked = probe_set(old, multi=True)
    start = old.functions[0].symbol.address
    assert hooked.tracer == [start]
    both = merged(old, plan(planner, stock, "ip_rcv_core+*"), itertools.count(1))
    probes = probe_set(both, hooked={start: old.functions[0].entry})
    assert (probes.tracer, probes.entries) == ([start], [])
    assert probes.table[start].flags == InstructionFlag.PUSH
    assert both.functions[0].entry not in probes.others
    less = without(both, {both.functions[0].entry})
    assert probe_set(less, hooked={start: old.functions[0].entry}).table[start].flags == (
        InstructionFlag.PUSH | InstructionFlag.HIDDEN
    )


def test_a_function_of_which_frames_may_be_left_over_gets_another_number(
    stock: StockKernel, planner: Planner
) -> None:
    old = plan(planner, stock, "ip_rcv_core+*", "ip_rcv+*")
    new = renumbered(old, {1: 7})
    assert [one.number for one in new.functions] == [0, 7]
    assert set(new.function_of) == {0, 7}
    table = probe_set(new).table
    assert {table[one.address].function for one in new.instructions if one.address in table} == {0, 7}
