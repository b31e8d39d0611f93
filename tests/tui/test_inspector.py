"""The inspector's stack, and the packet's fields beside its bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.values import TraceValues
from ktcpdump_tui.tui.fields import Tone
from ktcpdump_tui.tui.packet_fields import packet_fields
from ktcpdump_tui.tui.value_fields import of_macro, variable_fields

DATA = Path(__file__).parents[1] / "data"
FOUR_WAYS = DATA / "four-ways-6.12.ktrace"


def frames(driver):
    return [" ".join(line.split()) for line in driver.text("#section-stack").splitlines() if line.strip()]


async def test_bt_shows_the_call_chain_as_gdb_does(debugger):
    async with debugger(FOUR_WAYS, size=(200, 60)) as driver:
        await driver.enter(":911")
        await driver.enter(":bt")
        assert driver.app.focused.id == "section-stack"
        rows = frames(driver)
        numbered = [row for row in rows if "#" in row]
        assert re.match(r"\* #0 NF_DROP_GETERR at linux/netfilter.h:22 inlined", numbered[0])
        assert numbered[1].startswith("* #1 nf_hook_slow at netfilter/core.c:643 was netfilter/core.c:627")
        assert "#4 ip_forward at ipv4/ip_forward.c:162 ip_forward+1400" in numbered[4]
        assert "not captured" in rows[-1]


async def test_enter_on_a_frame_goes_to_its_call(debugger):
    async with debugger(FOUR_WAYS, size=(200, 60)) as driver:
        await driver.enter(":911")
        await driver.press("7", "down", "down", "down", "down", "enter")
        assert driver.no == 832
        assert driver.app.navigator.level == 2
        assert "(calls it at net/ipv4/ip_forward.c:162)" in driver.text("#source-pane")


async def test_only_the_frame_that_moved_is_marked_as_changed(debugger):
    async with debugger(FOUR_WAYS, size=(200, 60)) as driver:
        await driver.enter(":868")
        await driver.press("7")
        marked = {row.split()[2] for row in frames(driver) if row.startswith("*")}
        assert "nft_do_chain" in marked
        assert "ip_forward" not in marked


async def test_a_trace_without_frame_rules_says_that_the_callers_are_unknown(debugger, recorded):
    async with debugger(recorded, size=(200, 60)) as driver:
        await driver.enter(":6")
        await driver.press("7")
        rows = frames(driver)
        assert "#0 demo_headlen at linux/demo.h:3 inlined" in rows[1]
        assert "#1 ip_demo_core at ipv4/ip_demo.c:7" in rows[2]


def test_ports_are_numbers_as_with_tcpdump_n():
    with Trace.open(FOUR_WAYS) as trace:
        event = trace.event(1)
        fields = {field.label: field for field in packet_fields(event.packet, event.link)}
    udp = fields["UDP"]
    assert udp.value == "10.9.1.2:5000 > 10.9.2.2:7000"
    assert {child.label: child.value for child in udp.children}["dport"] == "7000"


def test_what_macros_declared_comes_behind_the_functions_own_variables():
    with Trace.open(FOUR_WAYS) as trace:
        found = TraceValues.of(trace).variables(trace.event(12))
        assert found[0].name == "pao_ID__"
        (group,) = variable_fields(found, ())
    assert [one.label for one in group.children] == [
        "ptr",
        "skb",
        "net",
        "iph",
        "drop_reason",
        "len",
        "pao_ID__",
    ]
    assert group.children[-1].tone is Tone.ABSENT


@pytest.mark.parametrize(
    ("name", "is_a_macros"),
    [
        ("__UNIQUE_ID_x_1087", True),
        ("pto_val__", True),
        ("_________p1", True),
        ("skb", False),
        ("_skb", False),
    ],
)
def test_macros_variables_are_told_by_their_names(name, is_a_macros):
    assert of_macro(name) == is_a_macros
