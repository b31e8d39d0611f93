"""What a person does: find, filter, go elsewhere; keys and profiles of one's own; what empty lists say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tui_capture import C_FILE, PER_PACKET

from ktcpdump_tui.config import Place, Profiles, Settings

DATA = Path(__file__).parents[1] / "data"
UDP_DROP = DATA / "udp-drop-6.12.ktrace"
PING = DATA / "ping-6.12.ktrace"
#: One flow: delivered (packet 1), dropped by nft (2), by its TTL (3), by its checksum (4).
FOUR_WAYS = DATA / "four-ways-6.12.ktrace"


# 6. Find


async def test_search_is_incremental_and_esc_goes_back(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("j", "/")
        for key in "demo_core":
            driver.send(key)
        await driver.until(lambda: driver.no == 3, "the call of it")
        await driver.press("escape")
        assert driver.no == 2
        await driver.enter("/ip_demo_(core|nothing)\\+1")
        assert driver.no == 7, "ip_demo_core+11"
        await driver.enter("/(%ra")
        assert "(%ra" in driver.app.instruction().text, "no regular expression: the characters as they are"


async def test_search_backwards_and_in_the_source(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("G")
        await driver.press("ctrl+r")
        for key in "demo.h":
            driver.send(key)
        await driver.press("enter")
        assert driver.no == 2 * PER_PACKET + 6
        view = driver.app.query_one("#source")
        view.focus()
        await driver.press("/")
        for key in r"int\s+ret":
            driver.send(key)
        await driver.press("enter")
        assert driver.no == 2 * PER_PACKET + 6, "the event stays"
        driver.app.go(1)
        view.focus()
        await driver.press("/")
        for key in r"int\s+ret":
            driver.send(key)
        await driver.press("enter")
        assert view.cursor == 19


async def test_the_filter_is_checked_while_it_is_typed_and_cleared_with_a_key(debugger, recorded):
    from ktcpdump_tui.commands.judging import make_judge

    async with debugger(recorded, make_judge=make_judge) as driver:
        await driver.press("&")
        for key in "icmp an":
            driver.send(key)
        await driver.until(lambda: "syntax error" in driver.text("#prompt"), "libpcap's message")
        await driver.press("enter")
        assert driver.app.query_one("#prompt").display, "what is wrong stays to be mended"
        await driver.press("escape")
        assert driver.app.navigator.rows.events == 3 * PER_PACKET
        await driver.enter("&icmp packet:2")
        await driver.until(lambda: driver.app.navigator.rows.events == PER_PACKET)
        await driver.press("&", "up")
        assert driver.app.query_one("#prompt-input").value == "icmp packet:2"
        await driver.press("escape", "\\")
        await driver.until(lambda: driver.app.navigator.rows.events == 3 * PER_PACKET)


async def test_going_to_times_functions_lines_and_drops(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":goto 5")
        assert driver.no == 5
        await driver.enter(":goto ip_demo_core")
        assert driver.no == 4 + PER_PACKET, "the function's next event"
        await driver.enter(f":goto {C_FILE}:24")
        assert driver.line == (C_FILE, 24)
        await driver.enter(":goto 10ms")
        assert driver.no == PER_PACKET + 1
        await driver.enter(":goto 99s")
        assert "no event is as late as 99s" in driver.told
        await driver.enter(":goto nowhere")
        assert "no probe is in a function called nowhere" in driver.told


async def test_the_palette_finds_commands_and_functions_by_some_letters(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("ctrl+p")
        for key in "ipdmcore":
            driver.send(key)
        await driver.until(lambda: "ip_demo_core" in driver.text())
        await driver.press("down", "enter")
        await driver.until(lambda: driver.no == 4)


# Keys, styles, what is kept


async def test_keys_are_those_of_the_settings(debugger, recorded):
    settings = Settings(keys={"stepi": ("f7",), "nxt": ("y",)})
    async with debugger(recorded, settings=settings) as driver:
        assert "no key does 'nxt'; did you mean 'next'?" in " ".join(driver.told.split())
        await driver.press("escape", "f7")
        assert driver.no == 2
        await driver.press("i")
        assert driver.no == 2, "the old key does nothing any more"
        await driver.press("?")
        assert "f7" in driver.text()


async def test_vims_style_counts_and_repeats_a_search(debugger, recorded):
    async with debugger(recorded, settings=Settings(style="vim")) as driver:
        await driver.press("1", "2", "i")
        assert driver.no == 13
        await driver.press("g")
        await driver.enter("/demo.h")
        assert driver.no == 5
        await driver.press("n", "n")
        assert driver.no == 5 + PER_PACKET
        await driver.press("N")
        assert driver.no == 6


async def test_what_matches_is_said_where_the_row_does_not_show_it(debugger, recorded):
    async with debugger(recorded, size=(80, 24)) as driver:
        await driver.enter("/sub +0x74")
        assert driver.no == 6
        assert "the instruction matches: sub 0x74(%rdi),%eax" in driver.told
        await driver.press("escape")
        await driver.enter("/ip_demo_core.14")
        assert driver.no == 8
        assert "matches" not in driver.told, "it is on the screen"
        await driver.enter(r"/ip_demo_core\+16$")
        assert driver.no == 9
        assert "matches" not in driver.told, "also what stands at the end of its column only"
        await driver.press("/")
        for char in "skb->data_len":
            driver.send(char)
        await driver.until(lambda: "source: return skb->len - skb->data_len;" in driver.text("#prompt"))


async def test_vims_counts_lead_to_a_line_and_so_many_lines_on(debugger, recorded):
    async with debugger(recorded, settings=Settings(style="vim")) as driver:
        await driver.press("1", "2", "G")
        assert driver.no == 12
        await driver.press("5", "j")
        assert driver.no == 17
        await driver.press("2", "k")
        assert driver.no == 15
        await driver.press("2", "0", "g", "g")
        assert driver.no == 20
        await driver.press("G")
        assert driver.no == 3 * PER_PACKET
        driver.app._counted_at = 0.0
        await driver.press("g", "g")
        assert driver.no == 1


async def test_breakpoints_watches_and_the_place_are_found_again(debugger, recorded, tmp_path):
    profiles = Profiles(tmp_path / "config", tmp_path / "state")
    async with debugger(recorded, profiles=profiles, place=True) as driver:
        await driver.enter(":b 11 if skb->len > 1")
        await driver.enter(":catch drop")
        await driver.enter(":display skb->len")
        await driver.enter(":20")
    async with debugger(recorded, profiles=profiles, place=True) as driver:
        assert driver.no == 20
        assert driver.app.watches == ["skb->len"]
        kept = [(one.kind, one.text, one.condition) for one in driver.app.navigator.stops]
        assert kept == [("breakpoint", f"{C_FILE}:11", "skb->len > 1"), ("catch", "drop", "")]
        await driver.enter(":profile other")
        assert not driver.app.watches
        assert not len(driver.app.navigator.stops)
        await driver.enter(":profile ../x")
        assert "no name for a profile" in driver.told


async def test_the_panes_are_arranged_as_they_were_left(debugger, recorded, tmp_path):
    profiles = Profiles(tmp_path / "config", tmp_path / "state")
    async with debugger(recorded, profiles=profiles, size=(120, 40)) as driver:
        first = driver.app.table.size.height
        await driver.press("ctrl+up", "ctrl+up", "d", "T", "v")
        height = driver.app.table.size.height
        assert height > first
    kept = {"list": 50, "closed": True, "disassembly": True, "nested": True}
    assert profiles.load("default").layout == kept
    async with debugger(recorded, profiles=profiles, size=(120, 40)) as driver:
        await driver.until(lambda: driver.app.table.size.height == height, "as high as it was")
        assert not driver.app.query_one("#inspector").display
        assert driver.app.query_one("DisassemblyView").display
        assert driver.app.navigator.rows.nested
        await driver.enter(":profile other")
        await driver.until(lambda: driver.app.table.size.height == first, "as high as at first")
        assert driver.app.query_one("#inspector").display
        assert not driver.app.navigator.rows.nested


async def test_what_another_window_kept_meanwhile_stays(debugger, recorded, tmp_path):
    profiles = Profiles(tmp_path / "config", tmp_path / "state")
    async with debugger(recorded, profiles=profiles) as driver:
        profiles.update("default", lambda kept: replace(kept, watches=("skb->len",)))
        await driver.enter(":b 11")
    kept = profiles.load("default")
    assert kept.watches == ("skb->len",)
    assert [one.location for one in kept.breakpoints] == [f"{C_FILE}:11"]


async def test_a_damaged_profile_is_said_and_left_alone(debugger, recorded, tmp_path):
    profiles = Profiles(tmp_path / "config", tmp_path / "state")
    path = tmp_path / "config/profiles/default.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    async with debugger(recorded, profiles=profiles) as driver:
        assert "is damaged" in " ".join(driver.told.split())
        await driver.enter(":b 11")
    assert path.read_text() == "{"


async def test_a_place_that_is_no_more_is_passed_over(debugger, recorded, tmp_path):
    profiles = Profiles(tmp_path / "config", tmp_path / "state")
    profiles.leave(recorded, Place(9999, (5, 9999), "", 77))
    async with debugger(recorded, profiles=profiles, place=True) as driver:
        assert driver.no == 1
        assert driver.app.navigator.rows.only_packet is None


# Empty states


async def test_an_empty_list_says_what_is_waited_for(debugger, tmp_path):
    from tui_capture import Capture

    from ktcpdump_tui.tui.ports import CaptureState

    class Control:
        state, error, kept, can_probe = CaptureState.RUNNING, None, None, False
        record_error = None

        def give_way(self, wait):
            pass

    control = Control()
    capture = Capture(tmp_path / "live.ktrace")
    capture.writer.flush()
    async with debugger(tmp_path / "live.ktrace", control=control) as driver:
        assert "no packet matched yet: 18 probes wait, filter icmp" in driver.text("#trace")
        capture.writer.write_progress({"packets": 0, "passed": 12031})
        capture.writer.flush()
        await driver.until(lambda: "no packet matched yet: 12,031 seen, filter icmp" in driver.text("#trace"))
        capture.packet()
        await driver.until(lambda: driver.no)
        assert "no packet" not in driver.text("#trace")
        await driver.enter("&packet:77")
        await driver.until(lambda: "packet:77 selects none of 17 events" in driver.text("#trace"))
    capture.close()


async def test_the_help_shows_the_names_that_keys_have_in_the_settings(debugger, recorded):
    async with debugger(recorded, (120, 40)) as driver:
        await driver.press("?")
        assert "Step backwards  reverse-step" in driver.text()
