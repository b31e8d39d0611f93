"""The list restricted by a post-filter: recorded, from the start, and while more comes."""

from __future__ import annotations

from test_live import capture
from tui_capture import PER_PACKET

from ktcpdump_tui.commands.judging import make_judge

__all__ = ["capture"]  # the fixture


def listed(driver) -> list[int]:
    rows = driver.app.navigator.rows
    return [rows.number(position) for position in range(rows.events)]


async def test_a_filter_lists_what_it_selects_and_is_cleared(debugger, recorded):
    async with debugger(recorded, (120, 30), make_judge=make_judge) as driver:
        everything = listed(driver)
        await driver.enter(":filter packet:2 fn:ip_demo_core")
        chosen = listed(driver)
        assert 0 < len(chosen) < PER_PACKET
        assert set(chosen) <= set(range(PER_PACKET + 1, 2 * PER_PACKET + 1))
        assert driver.no == chosen[0], "what is looked at is in the list"
        assert f"listed {len(chosen)}: packet:2 fn:ip_demo_core" in driver.text("#status")
        await driver.press("j", "j")
        assert driver.no == chosen[2]
        await driver.enter(":filter")
        assert listed(driver) == everything
        assert "listed" not in driver.text("#status")
        assert driver.no == chosen[2]


async def test_an_expression_is_judged_by_libpcap(debugger, recorded):
    async with debugger(recorded, make_judge=make_judge, filter_text="ip") as driver:
        everything = listed(driver)
        assert len(everything) == 3 * PER_PACKET
        await driver.enter(":filter not ip")
        assert listed(driver) == []
        await driver.enter(":filter ip and (")
        assert "syntax error" in driver.told
        assert listed(driver) == [], "a wrong filter changes nothing"
        await driver.enter(":filter cpu:x")
        assert "'cpu:x' is not a number" in driver.told


async def test_only_drops(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":filter is:drop")
        dropped = [packet.id for packet in driver.app.trace.packets() if packet.fate == "dropped"]
        assert dropped
        assert listed(driver) == [driver.app.trace.packet_span(packet)[1] for packet in dropped]


async def test_what_comes_later_is_filtered_too(debugger, capture):
    from test_live import Control

    capture.packet()
    async with debugger(capture.path, control=Control(), filter_text="packet:3,4") as driver:
        assert listed(driver) == []
        for _ in range(3):
            capture.packet()
        await driver.until(lambda: driver.no == 4 * PER_PACKET, "the newest selected event is followed")
        assert listed(driver) == list(range(2 * PER_PACKET + 1, 4 * PER_PACKET + 1))
