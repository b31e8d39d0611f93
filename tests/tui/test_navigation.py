"""Moving through a recorded trace: the list, stepping, breakpoints, packets, searching."""

from __future__ import annotations

from tui_capture import C_FILE, H_FILE, PER_PACKET


async def test_the_first_event_is_shown_with_its_line(debugger, recorded):
    async with debugger(recorded) as driver:
        assert driver.no == 1
        assert driver.line == (C_FILE, 19)
        source = driver.text("#source")
        current = next(line for line in source.splitlines() if "▶" in line)
        assert current.rstrip().endswith("{")
        assert current.split()[:4] == ["▶", "19", "1", "3"], "once by this packet, and by each of three"
        assert "ip_demo_rcv+0" in driver.text("#trace")


async def test_arrows_and_letters_move_through_the_list(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("j", "j", "down")
        assert driver.no == 4
        await driver.press("k", "up")
        assert driver.no == 2
        await driver.press("G")
        assert driver.no == 3 * PER_PACKET
        await driver.press("down")
        assert driver.no == 3 * PER_PACKET
        await driver.press("home")
        assert driver.no == 1
        await driver.press("up")
        assert driver.no == 1
        await driver.press("pagedown")
        assert driver.no > 5
        await driver.press("end", "pageup", "g")
        assert driver.no == 1


STEPS = {
    "s": (2, C_FILE, 20),
    "ss": (4, C_FILE, 6),
    "sss": (5, H_FILE, 3),
    "sn": (13, C_FILE, 22),
    "ssf": (13, C_FILE, 22),
    "ii": (3, C_FILE, 20),
    "iiI": (2, C_FILE, 20),
    "snN": (2, C_FILE, 20),
    "sssS": (4, C_FILE, 6),
    "ssF": (3, C_FILE, 20),
}


async def test_stepping_is_gdbs(debugger, recorded):
    async with debugger(recorded) as driver:
        for keys, (no, file, line) in STEPS.items():
            driver.app.go(1)
            await driver.press(*keys)
            assert (driver.no, driver.line) == (no, (file, line)), keys


async def test_steps_pressed_faster_than_they_are_made_are_all_made(debugger, recorded):
    async with debugger(recorded) as driver:
        for _ in range(10):
            driver.send("i")
        await driver.until(lambda: driver.no == 11)


async def test_a_step_past_the_end_says_so(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("G", "s")
        assert driver.no == 3 * PER_PACKET
        assert "no later event" in driver.told


async def test_breakpoints_stop_continue_in_both_directions(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("c")
        assert "no breakpoint" in driver.told
        await driver.enter(f":break {C_FILE}:11")
        await driver.press("c")
        assert (driver.no, driver.line) == (9, (C_FILE, 11))
        assert "●" in driver.text("#source")
        await driver.press("c")
        assert driver.no == 9 + PER_PACKET
        await driver.press("C")
        assert driver.no == 9
        await driver.press("b", "g", "c")
        assert driver.no == 1
        assert "no breakpoint" in driver.told


async def test_a_breakpoint_stops_once_in_an_execution_of_its_line(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":b 22")
        await driver.press("c")
        assert driver.no == 13
        await driver.press("c")
        assert driver.no == 13 + PER_PACKET


async def test_a_breakpoint_on_a_line_without_code_moves_to_the_next(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":b 21")
        assert f"breakpoint set: {C_FILE}:22" in driver.told
        await driver.enter(":b ip_demo.c:900")
        assert "no probed instruction" in driver.told


async def test_breakpoints_on_symbols(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":b ip_demo_core+16")
        await driver.press("c")
        assert driver.no == 9
        await driver.enter(":b nosuch")
        assert "nosuch" in driver.told
        await driver.enter(":b ip_demo_core+17")
        assert "ip_demo_core+17" in driver.told
        await driver.enter(":delete")
        assert not driver.app.navigator.breakpoints


async def test_only_one_packet(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press("]")
        assert driver.no == PER_PACKET + 1
        await driver.press("p")
        assert driver.app.navigator.rows.events == PER_PACKET
        assert "only packet 2" in driver.text("#status")
        await driver.press("G")
        assert driver.no == 2 * PER_PACKET
        await driver.press("p")
        assert driver.app.navigator.rows.events == 3 * PER_PACKET
        assert driver.no == 2 * PER_PACKET
        await driver.press("[")
        assert driver.no == 1
        await driver.press("[")
        assert "no further packet" in driver.told


async def test_search_finds_functions_lines_and_instructions(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter("/ip_demo.c:22")
        assert driver.no == 13
        await driver.press(">")
        assert driver.no == 14
        await driver.press("<")
        assert driver.no == 13
        await driver.enter("/demo_headlen")
        assert driver.line[0] == H_FILE
        await driver.enter("/nothing like it")
        assert "nothing in the trace is called" in driver.told


async def test_commands(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":20")
        assert driver.no == 20
        await driver.enter(":packet 3")
        assert driver.no == 2 * PER_PACKET + 1
        await driver.enter(":9999")
        assert "there is no event 9,999" in driver.told
        await driver.enter(":frobnicate")
        assert "there is no command 'frobnicate'" in driver.told
        await driver.press("escape")
        assert not driver.app.query_one("#banner").display
        await driver.enter(":list demo.h:3")
        assert "demo_headlen" in driver.text("#source")
        await driver.enter(":watch")
        assert "needs EXPRESSION" in driver.told
        await driver.enter(":theme light")
        assert driver.app.theme == "ktcpdump-light"


async def test_the_prompt_remembers(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.enter(":5")
        await driver.enter(":7")
        await driver.press(":", "up", "up", "enter")
        assert driver.no == 5


async def test_the_frames_of_an_inline_chain(debugger, recorded):
    async with debugger(recorded, size=(130, 30)) as driver:
        await driver.enter(":5")
        assert driver.line == (H_FILE, 3)
        crumb = driver.text("#breadcrumb")
        assert f"ip_demo_core ← demo_headlen (inlined, {H_FILE}:3)" in crumb
        await driver.press("u")
        assert driver.line == (C_FILE, 7)
        assert "▷" in driver.text("#source"), "this line is not executed itself: it called what is"
        await driver.press("u")
        assert "outermost" in driver.told
        await driver.press("U")
        assert driver.line == (H_FILE, 3)


async def test_enter_on_a_source_line_goes_to_its_next_event(debugger, recorded):
    async with debugger(recorded) as driver:
        driver.app.query_one("#source").focus()
        await driver.press("down", "down", "down", "enter")
        assert (driver.no, driver.line) == (13, (C_FILE, 22))
        await driver.press("enter")
        assert driver.no == 14


async def test_clicks(debugger, recorded):
    async with debugger(recorded) as driver:
        table = driver.app.query_one("#trace")
        await driver.pilot.click("#trace", offset=(20, 4))
        assert driver.no == 5
        assert table.has_focus
        await driver.enter(":1")
        view = driver.app.query_one("#source")
        await driver.pilot.click("#source", offset=(3, 20 - 1 - view.scroll_offset.y))
        await driver.until(lambda: driver.app.navigator.breakpoints)
        assert "breakpoint set" in driver.told


async def test_keys_typed_at_once_arrive_in_order(debugger, recorded):
    async with debugger(recorded) as driver:
        for key in (*":20", "enter", *"j:5", "enter", "j", *":watch skb->len", "enter", *":7", "escape", "k"):
            driver.send(key)
        await driver.until(lambda: driver.no == 5 and driver.app.watches == ["skb->len"])


async def test_tab_completes_a_command(debugger, recorded):
    async with debugger(recorded) as driver:
        await driver.press(*":wat")
        await driver.until(lambda: driver.app.query_one("#prompt-input")._suggestion == "watch")
        await driver.press("tab")
        assert driver.app.query_one("#prompt-input").value == "watch"
