"""Descriptor 2 while the screen is full, and a real terminal before, while and after."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time

import pytest
from tui_capture import Capture

from ktcpdump_tui.tui.descriptor import KEPT, DivertedStderr
from ktcpdump_tui.tui.log_screen import LogScreen

PATIENCE = 30.0


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"never came true: {what() if callable(what) else what}")
        time.sleep(0.02)
    return result


def test_what_c_writes_on_descriptor_2_becomes_lines(capfd):
    before = os.fstat(2)
    with DivertedStderr() as log:
        os.write(2, b"clang: warning\nhalf ")
        os.write(2, b"a line\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child\\n')"], check=True)
        print("from Python", file=sys.stderr)
        sys.__stderr__.write("for the terminal\n")
        sys.__stderr__.flush()
        wait_for(lambda: log.count == 4, log.lines)
    os.write(2, b"afterwards\n")
    assert log.lines() == ["clang: warning", "half a line", "from a child", "from Python"]
    assert log.lines(1) == ["from Python"]
    assert capfd.readouterr().err == "for the terminal\nafterwards\n"
    assert os.fstat(2).st_ino == before.st_ino
    assert not any(thread.name == "stderr" for thread in threading.enumerate())


def test_a_child_that_keeps_the_pipe_open_does_not_hold_the_end_up(capfd):
    with DivertedStderr() as log:
        child = subprocess.Popen(["sleep", "60"])
        os.write(2, b"unfinished")
    child.kill()
    child.wait()
    assert log.lines() == ["unfinished"]


def test_only_the_last_lines_are_kept(capfd):
    with DivertedStderr() as log:
        for number in range(KEPT + 10):
            os.write(2, b"%d\n" % number)
        wait_for(lambda: log.count == KEPT + 10, lambda: log.count)
    assert log.lines()[0] == "10"
    assert len(log.lines()) == KEPT


class Lines:
    def __init__(self):
        self.kept = []

    @property
    def count(self):
        return len(self.kept)

    def lines(self, last=KEPT):
        return self.kept[-last:]


async def test_the_log_screen_grows(debugger, recorded):
    log = Lines()
    async with debugger(recorded, log=log) as driver:
        await driver.press("l")
        assert isinstance(driver.app.screen, LogScreen)
        assert "nothing was written" in driver.text()
        log.kept += ["clang: 1 warning\tgenerated", "\x1b[31mred"]
        await driver.until(lambda: "1 warning" in driver.text())
        assert "\x1b" not in driver.text()
        await driver.press("escape")
        assert not isinstance(driver.app.screen, LogScreen)


@pytest.fixture
def tmux(tmp_path):
    """A terminal of 80x24 with a shell; ``tmux(command)`` runs a tmux command on it."""
    assert shutil.which("tmux"), "apt-get install tmux"
    socket = str(tmp_path / "tmux")
    environment = os.environ | {"PS1": "$ ", "ENV": ""}

    def command(*words):
        return subprocess.run(
            ["tmux", "-S", socket, *words], check=True, capture_output=True, text=True, env=environment
        ).stdout

    command("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env PS1='$ ' sh")
    yield command
    subprocess.run(["tmux", "-S", socket, "kill-server"], check=False)


class Shell:
    """What is seen and typed in a tmux pane."""

    def __init__(self, tmux):
        self.tmux = tmux

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def key(self, *keys):
        self.tmux("send-keys", *keys)

    def wait(self, text):
        return wait_for(
            lambda: text in (seen := self.screen()) and seen, lambda: f"{text} in\n{self.screen()}"
        )

    def modes(self):
        """Return whether the pane is in the alternate screen, hides the cursor, or reports the mouse."""
        form = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}#{mouse_standard_flag}#{mouse_button_flag}"
        return self.tmux("display-message", "-p", form).strip()

    def settings(self, name):
        self.type(f'stty -a > {name}; echo do""ne-{name[-1]}')
        self.wait(f"done-{name[-1]}\n")


ORDINARY = "0 1 000"

ENDINGS = {
    "q": 0,
    "C-c": 0,
    "TERM": 143,
    "HUP": 129,
    "INT": 0,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_terminal_is_given_back(tmux, recorded, source_tree, tmp_path, ending):
    shell = Shell(tmux)
    shell.wait("$")
    shell.settings(str(tmp_path / "b1"))
    shell.type(f"export XDG_STATE_HOME={tmp_path}")  # else it opens where the test before left it
    shell.type(f"{sys.executable} -m ktcpdump_tui -r {recorded} -s {source_tree}; echo status=$?")
    seen = shell.wait("REPLAY")
    assert "ip_demo_rcv+0" in seen
    assert shell.modes() != ORDINARY
    shell.key("j", "j")
    shell.wait("3/51")
    if ending in ("q", "C-c"):
        shell.key(ending)
    else:
        pane = tmux("display-message", "-p", "#{pane_pid}").strip()
        child = subprocess.run(
            ["pgrep", "-P", pane], check=True, capture_output=True, text=True
        ).stdout.split()
        subprocess.run(["kill", f"-{ending}", *child], check=True)
    shell.wait(f"status={ENDINGS[ending]}")
    assert "REPLAY" not in shell.screen()
    assert shell.modes() == ORDINARY
    shell.settings(str(tmp_path / "b2"))
    assert (tmp_path / "b1").read_text() == (tmp_path / "b2").read_text()


def test_no_color_leaves_no_colour_and_still_tells_the_current_line(tmux, recorded, source_tree, tmp_path):
    shell = Shell(tmux)
    shell.wait("$")
    shell.type(f"export XDG_STATE_HOME={tmp_path} NO_COLOR=1")
    shell.type(f"{sys.executable} -m ktcpdump_tui -r {recorded} -s {source_tree}; echo status=$?")
    shell.wait("REPLAY")
    shell.key("j", "j")
    shell.wait("3/51")
    drawn = tmux("capture-pane", "-p", "-e")
    numbers = {
        n for sequence in re.findall(r"\x1b\[([\d;:]*)m", drawn) for n in re.split("[;:]", sequence) if n
    }
    # ECMA-48, 8.3.117: bold, dim, italic, underline, reverse, their ends; 39 and 49 are no colours
    assert numbers <= {"0", "1", "2", "3", "4", "7", "22", "23", "24", "27", "39", "49"}
    assert "7" in numbers, "the current line is reversed"
    shell.key("t")
    shell.wait("NO_COLOR is set")
    shell.key("q")
    shell.wait("status=0")


def test_the_terminal_is_given_back_after_a_crash(tmux, recorded, tmp_path):
    program = tmp_path / "crash.py"
    program.write_text(
        "import os, sys\n"
        "from ktcpdump_tui.trace.trace import Trace\n"
        "from ktcpdump_tui.tui.app import DebuggerApp\n"
        "from ktcpdump_tui.tui.run import run\n"
        "class Broken(DebuggerApp):\n"
        "    def action_neighbour(self, by):\n"
        "        os.write(2, b'last words\\n')\n"
        "        raise RuntimeError('broken on purpose')\n"
        "sys.exit(run(Broken(Trace.open(sys.argv[1]), None)))\n"
    )
    shell = Shell(tmux)
    shell.wait("$")
    shell.settings(str(tmp_path / "b1"))
    shell.type(f"{sys.executable} {program} {recorded}; echo status=$?")
    shell.wait("REPLAY")
    shell.key("j")
    seen = shell.wait("status=1")
    assert "last words" in seen
    assert shell.modes() == ORDINARY
    shell.settings(str(tmp_path / "b2"))
    assert (tmp_path / "b1").read_text() == (tmp_path / "b2").read_text()


def test_keys_come_from_the_terminal_while_the_trace_comes_through_a_pipe(tmux, recorded, tmp_path):
    """As in ssh HOST ktcpdump-tui --json ... | ktcpdump-tui -r -."""
    shell = Shell(tmux)
    program = f"{sys.executable} -m ktcpdump_tui"
    shell.wait("$")
    shell.type(f"{{ {program} -r {recorded} --json; sleep 300; }} | {{ {program} -r -; echo status=$?; }}")
    shell.wait("51/51")
    assert "LIVE" in shell.screen()
    shell.key("g", "j")
    shell.wait(" 2/51")
    shell.key("q")
    shell.wait("51 events were captured and are kept nowhere")
    shell.key("r")
    shell.wait(":record")
    shell.type(f"{tmp_path}/kept.ktrace")
    shell.wait("recording into")
    shell.key("q")
    shell.wait("status=0")
    assert f"51 events recorded in {tmp_path}/kept.ktrace" in shell.screen().replace("\n", "")
    assert shell.modes() == ORDINARY


def test_a_full_disk_is_told_on_the_screen_once_and_at_the_end(tmux, tmp_path):
    source, disk = tmp_path / "source.ktrace", tmp_path / "d"
    disk.mkdir()
    capture = Capture(source)
    for _ in range(600):
        capture.packet()
    capture.close()
    shell = Shell(tmux)
    program = f"{sys.executable} -m ktcpdump_tui"
    shell.wait("$")
    shell.type(f"unshare -rm sh -c 'mount -t tmpfs -o size=400k tmpfs {disk} && exec sh'")
    shell.type(f"mountpoint -q {disk} && echo moun''ted")
    shell.wait("mounted")
    shell.type(
        f"clear; {{ {program} -r {source} --json; sleep 300; }} |"
        f" {{ {program} -r - -o {disk}/a.ktrace; echo status=$?; }}"
    )
    shell.wait("recording into")
    shell.wait(f"{capture.events:,}/{capture.events:,}")
    assert "LIVE" in shell.screen()
    assert "(database or disk is full): it holds" in shell.screen().replace("\n", " ")
    shell.key("Escape")
    wait_for(lambda: "recording into" not in shell.screen(), "what was read goes away")
    shell.key("g")
    shell.wait(f" 1/{capture.events:,}")
    shell.key("q")
    shell.wait(f"{capture.events:,} events were captured and are kept nowhere")
    shell.key("q")
    seen = shell.wait("status=1").replace("\n", "")
    assert seen.count("recording into") == 1
