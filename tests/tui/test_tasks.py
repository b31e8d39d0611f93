"""What a person does: find the drop, step with counts, stop when, find; keys in, state out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tui_capture import C_FILE, PER_PACKET

from ktcpdump_tui.debuginfo.source import SourceFinder

DATA = Path(__file__).parents[1] / "data"
UDP_DROP = DATA / "udp-drop-6.12.ktrace"
PING = DATA / "ping-6.12.ktrace"
#: One flow: delivered (packet 1), dropped by nft (2), by its TTL (3), by its checksum (4).
FOUR_WAYS = DATA / "four-ways-6.12.ktrace"


@pytest.fixture(scope="session")
def udp_source(tmp_path_factory):
    """A stand-in for the file of the recorded drop: what matters has the lines it has in the kernel."""
    lines = [""] * 2566
    lines[2519:2521] = ["\tif (sk)", "\t\treturn deliver(sk, skb);"]
    lines[2521:2524] = ["out:", "\tif (!policy(skb))", "\t\tgoto bad;"]
    lines[2527:2529] = ["\tif (wrong_checksum(skb))", "\t\tgoto bad;"]
    lines[2538:2540] = ["\tkfree_skb_reason(skb, drop_reason);", "\treturn 0;"]
    lines[2560:2566] = ["bad:", "\tkfree_skb(skb);", "\treturn 0;", "}", "", ""]
    tree = tmp_path_factory.mktemp("udp")
    (tree / "net/ipv4").mkdir(parents=True)
    (tree / "net/ipv4/udp.c").write_text("\n".join(lines))
    lines = [""] * 200
    lines[117:119] = ["\tif (ip_hdr(skb)->ttl <= 1)", "\t\tgoto old;"]
    lines[170:180] = ["old:", "", "", "", "icmp(skb);", "", "", "drop:", "\tkfree_skb_reason(skb, why);", "}"]
    (tree / "net/ipv4/ip_forward.c").write_text("\n".join(lines))
    lines = [""] * 330
    lines[289:291] = ["\t\tif (regs.verdict.code != GO_ON)", "\t\t\tbreak;"]
    lines[293:304] = ["\tswitch (regs.verdict.code) {", *[""] * 9, "\tbreak;"]
    lines[308:316] = ["\tswitch (regs.verdict.code & MASK) {", *[""] * 5, "\t\treturn DROP(pkt->skb);", "\t}"]
    (tree / "net/netfilter").mkdir()
    (tree / "net/netfilter/nf_tables_core.c").write_text("\n".join(lines))
    return SourceFinder([tree], release="6.12", system=tree)


# 1. Where was my packet dropped, and why?


async def test_one_key_goes_to_the_drop_and_says_what_decided(debugger, udp_source):
    async with debugger(UDP_DROP, (120, 40), udp_source) as driver:
        await driver.press("D")
        assert driver.no == 646, "the call that dropped it, not the packet's last event"
        assert driver.line == ("net/ipv4/udp.c", 2539)
        said = driver.text("#verdict")
        assert "packet 1 dropped: NO_SOCKET  in __udp4_lib_rcv+1349  net/ipv4/udp.c:2539" in said
        assert "decided by if (sk)  net/ipv4/udp.c:2520  event 230" in said
        assert "with sk = NULL" in said
        await driver.press("D")
        assert (driver.no, driver.line) == (230, ("net/ipv4/udp.c", 2520))
        await driver.press("D")
        assert driver.no == 646
        await driver.press("escape")
        assert not driver.app.verdict.display


async def test_without_source_text_no_decision_is_claimed(debugger, tmp_path):
    nothing = SourceFinder([], release="6.12", system=tmp_path)
    async with debugger(UDP_DROP, (120, 40), nothing) as driver:
        await driver.press("D")
        assert driver.no == 646
        assert "the last branch before it is" in driver.text("#verdict")
        assert "decided by" not in driver.text("#verdict")


async def test_next_and_previous_drop(debugger, udp_source):
    async with debugger(PING, (120, 40), udp_source) as driver:
        await driver.press("x")
        assert driver.no == 236
        said = driver.text("#verdict")
        assert "packet 2 dropped: NO_SOCKET  in icmp_rcv+500" in said
        assert "what decided it is not in the trace" in said, "icmp_rcv itself was not traced"
        await driver.press("x")
        assert driver.no == 472
        await driver.press("x")
        assert "no later packet was dropped" in driver.told
        await driver.press("X")
        assert driver.no == 236


async def test_a_packet_that_was_not_dropped_says_so_and_goes_to_the_next_drop(debugger, udp_source):
    async with debugger(PING, (120, 40), udp_source) as driver:
        await driver.press("D")
        assert "packet 1 was not dropped (consumed): the next drop is packet 2's" in driver.told
        assert driver.no == 236


async def test_a_drop_of_a_real_forwarded_packet_was_decided_by_its_ttl(debugger, udp_source):
    async with debugger(FOUR_WAYS, (120, 40), udp_source) as driver:
        await driver.enter(":packet 3")
        await driver.press("D")
        said = driver.text("#verdict")
        assert "packet 3 dropped: IP_INHDR  in ip_forward" in said
        assert "decided by if (ip_hdr(skb)->ttl <= 1)  net/ipv4/ip_forward.c:118" in said
        assert "with ip_hdr(skb)->ttl = 1" in said


async def test_a_drop_in_a_function_traced_by_lines_has_its_line_and_its_decision(debugger, udp_source):
    """The call that drops and the branch before it have no probe: their lines' first instructions have."""
    async with debugger(FOUR_WAYS, (120, 40), udp_source) as driver:
        await driver.enter(":packet 2")
        await driver.press("D")
        assert driver.no == 905
        said = driver.text("#verdict")
        assert "packet 2 dropped: NETFILTER_DROP  in nft_do_chain+1039" in said
        assert "net/netfilter/nf_tables_core.c:315  event 905" in said
        assert "is the last before it" not in said, "it stands on the line that drops"
        assert "would show its lines" not in said
        assert "decided by switch (regs.verdict.code & MASK)  net" in said
        assert "net/netfilter/nf_tables_core.c:309  event 904" in said
        assert "with regs.verdict.code = 0" in said


async def test_a_trace_without_drops_says_so(debugger, tmp_path):
    from tui_capture import Capture

    capture = Capture(tmp_path / "one.ktrace")
    capture.packets = 1  # the packets with an even number are consumed
    capture.packet()
    capture.close()
    async with debugger(tmp_path / "one.ktrace") as driver:
        await driver.press("D")
        assert "packet 2 was not dropped" in driver.told


# 2. Step through this packet


async def test_counts_and_repeat(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":stepi 5")
        assert driver.no == 6
        await driver.enter(":3si")
        assert driver.no == 9
        await driver.press(".")
        assert driver.no == 12
        await driver.press(":", "enter")
        assert driver.no == 15, "an empty command repeats, as in gdb"
        await driver.enter(":reverse-stepi 14")
        assert driver.no == 1
        await driver.enter(":si 100")
        assert driver.no == PER_PACKET
        assert f"{PER_PACKET - 1} of 100 made: stepi: no later event" in driver.told
        await driver.enter(":next none")
        assert "'none' is not a count" in driver.told


async def test_steps_across_packets(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.go(PER_PACKET)
        await driver.press("i")
        assert driver.no == PER_PACKET
        await driver.press("O", "i")
        assert driver.no == PER_PACKET + 1
        await driver.press("I", "O", "i")
        assert driver.no == PER_PACKET


async def test_advance_goes_to_a_place_or_to_the_end_of_the_frame(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":advance 24")
        assert driver.line == (C_FILE, 24)
        await driver.press("g")
        await driver.enter(":advance ip_demo_core+16")
        assert driver.line == (C_FILE, 11)
        await driver.enter(f":until {C_FILE}:9")
        assert driver.line == (C_FILE, 22), "line 9 is behind: the frame ended"


# 3. Stop when …


async def test_a_condition_decides_whether_a_breakpoint_stops(debugger, udp_source):
    async with debugger(PING, (120, 40), udp_source) as driver:
        await driver.enter(":break ip_rcv_core if skb->len > 5000")
        await driver.press("c")
        assert driver.no == 1
        assert "no later event" in driver.told
        await driver.enter(":condition 1 skb->len > 100")
        await driver.press("c")
        stopped = driver.no
        assert stopped > 1
        assert "breakpoint 1, ip_rcv_core" in driver.told
        await driver.enter(":condition 1")
        await driver.press("g", "c")
        assert driver.no <= stopped


async def test_a_condition_that_is_no_c_sets_nothing(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":break 20 if skb->")
        assert driver.app.query_one("#banner").has_class("error")
        await driver.enter(":break 20 if")
        assert "'if' needs an expression" in driver.told
        assert not len(driver.app.navigator.stops)


async def test_ignore_counts_and_temporary_breakpoints(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":b 11")
        await driver.enter(":ignore 1 1")
        await driver.press("c")
        assert driver.no == 9 + PER_PACKET, "passed over once"
        await driver.press("g", "c")
        assert driver.no == 9
        await driver.enter(":delete 1")
        await driver.enter(":tbreak 11")
        await driver.press("g", "c")
        assert driver.no == 9
        assert not len(driver.app.navigator.stops)


async def test_a_breakpoint_on_the_way_stops_a_step(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":b 11")
        await driver.press("s", "n")
        assert (driver.no, driver.line) == (9, (C_FILE, 11)), "next would have passed over the call"
        assert "breakpoint 1" in driver.told


async def test_the_list_of_breakpoints_enables_disables_and_deletes(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("B")
        assert "nothing stops continue" in driver.text()
        await driver.press("escape")
        await driver.enter(":b 11 if skb->len > 1")
        await driver.enter(":b 22")
        await driver.enter(":info break")
        seen = driver.text()
        assert f"{C_FILE}:11  if skb->len > 1" in seen
        assert f"{C_FILE}:22" in seen
        await driver.press("space", "escape", "c")
        assert driver.no == 13, "the first one is disabled"
        await driver.press("B", "j", "d", "escape")
        await driver.enter(":enable 1")
        assert [(one.number, one.enabled) for one in driver.app.navigator.stops] == [(1, True)]
        await driver.enter(":disable")
        await driver.press("c")
        assert "every breakpoint is disabled" in driver.told
        await driver.enter(":delete 7")
        assert "there is no breakpoint 7" in driver.told


async def test_catch_drop_stops_at_drops_in_both_directions(debugger, udp_source):
    async with debugger(PING, (120, 40), udp_source) as driver:
        await driver.enter(":catch drop")
        await driver.press("c")
        assert driver.no == 236
        assert "packet 2 dropped: NO_SOCKET" in driver.told
        await driver.press("c")
        assert driver.no == 472
        await driver.press("C")
        assert driver.no == 236


async def test_a_watch_stops_where_the_value_changes_and_last_goes_back_to_who_wrote_it(debugger, udp_source):
    async with debugger(PING, (120, 40), udp_source) as driver:
        await driver.enter(":watch iph->ttl")
        await driver.enter(":last $rax")
        first = driver.no
        assert first == 1
        await driver.enter(":goto 100")
        await driver.enter(":last $rax")
        assert driver.no < 100
        assert "until here" in driver.told
        trace = driver.app.trace
        at = [trace.event(no).register("rax") for no in (driver.no, driver.no + 1)]
        assert at[0] != at[1] == trace.event(100).register("rax")
        wrote = driver.no
        await driver.enter(":change $rax")
        assert driver.no == wrote + 1, "as a watchpoint does: where the value is the new one"
        assert "from here on" in driver.told
        await driver.enter(":change $rax")
        assert driver.no > 100
        assert trace.event(driver.no).register("rax") != at[1]


# 4. What differs between this packet and that one?

#: A packet of demo.c's too short for its length test: it goes to the label instead.
SHORT = (0, 1, 2, 9, 10, 11, 12, 13, 18, 16, 17, 3, 4, 5, 6, 7)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Two packets of which the second takes the branch on line 9."""
    from tui_capture import Capture

    path = tmp_path_factory.mktemp("trace") / "pair.ktrace"
    capture = Capture(path)
    capture.packet()
    capture.packet(SHORT)
    capture.close()
    return path


async def test_a_narrow_terminal_has_the_two_sources_one_above_the_other(debugger, pair):
    async with debugger(pair, size=(80, 24)) as driver:
        await driver.enter(":compare 1 2")
        a, b = (driver.app.screen.query_one(side) for side in ("#compare-a", "#compare-b"))
        await driver.until(lambda: a.position == b.position == 9)
        assert a.region.bottom <= b.region.y
        assert a.region.width == b.region.width == 80
        for side in ("#compare-a", "#compare-b"):
            assert "9         if (len < 20)" in driver.text(side), "the line at which they part is visible"


async def test_two_packets_are_compared_side_by_side_at_the_parting_line(debugger, pair):
    from ktcpdump_tui.tui.compare_list import CompareList
    from ktcpdump_tui.tui.compare_screen import CompareScreen

    async with debugger(pair, (120, 40)) as driver:
        await driver.press("V", "]", "V")
        screen = driver.app.screen
        assert isinstance(screen, CompareScreen)
        await driver.until(lambda: not screen.busy and "they part" in driver.text())
        assert "they part after net/ipv4/ip_demo.c:9; 1 place differs, 15 in common" in driver.text()
        rows = screen.query_one(CompareList)
        row = rows.row
        assert (row.a.last, row.b.last, row.same) == (8, PER_PACKET + 8, True), "the branch itself"
        for side in ("#compare-a", "#compare-b"):
            view = screen.query_one(side)
            assert (view.document.file, view.position) == (C_FILE, 9)
        await driver.press("j")
        await driver.until(lambda: not screen.busy and screen.query_one("#compare-b").position == 14)
        assert screen.query_one("#compare-a").position == 11
        assert "≠" in driver.text("#compare-rows")
        await driver.press("j")
        await driver.until(lambda: not screen.busy and screen.query_one("#compare-a").position == 12)
        assert "nothing is executed here meanwhile" in driver.text("#compare-b")
        await driver.press("G", "N", "right")
        assert driver.no == PER_PACKET + 8


async def test_packets_that_took_the_same_path_say_so(debugger, recorded):
    async with debugger(recorded, (120, 40)) as driver:
        await driver.enter(":compare 1 3")
        await driver.until(lambda: "both took the same path (17 in common)" in driver.text())
        await driver.press("escape")
        await driver.enter(":compare 1 9")
        assert "there is no event of a packet 9" in driver.told
        await driver.enter(":compare 1")
        assert "needs the numbers of two packets" in driver.told


async def test_real_packets_part_at_the_line_that_decided_with_the_values_of_both(debugger, udp_source):
    async with debugger(FOUR_WAYS, (160, 50), udp_source) as driver:
        await driver.enter(":compare 1 3")
        screen = driver.app.screen
        await driver.until(lambda: not screen.busy and screen.pairs)
        assert "they part after net/ipv4/ip_forward.c:118" in driver.text()
        assert "decided by if (ip_hdr(skb)->ttl <= 1)" in driver.text("#compare-values")
        first = screen.pairs[0]
        assert (first.name, first.a, first.b) == ("ip_hdr(skb)->ttl", "64", "1")
        assert [screen.query_one(side).position for side in ("#compare-a", "#compare-b")] == [118, 118]
