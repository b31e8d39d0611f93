"""Takes the screenshots in this folder from the program itself, running in a real terminal (tmux).

    python screenshots/take.py live [6.12|6.1]     a live session in the lab (boots a virtual machine)
    python screenshots/take.py look [6.12|6.1]     the same, and what a call leads to is probed meanwhile
    python screenshots/take.py tasks [-s SOURCE]...          what a person does, from recorded traces
    python screenshots/take.py replay TRACE [-s SOURCE]...   a recorded trace, in several sizes and colours

Needs tmux, rsvg-convert (librsvg2-bin) and DejaVu's fonts (fonts-dejavu-core).
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

HERE = Path(__file__).parent

#: Seconds to wait for something to appear on the screen: booting a machine without KVM takes a while.
PATIENCE = 300.0

#: rich draws 12.2 units per column; DejaVu Sans Mono is 0.602 em wide. (rsvg-convert ignores textLength.)
FONT_SIZE = 12.2 / 0.602

GROUNDS = {
    "dark": ((20, 25, 31), (214, 220, 229)),
    "light": ((252, 252, 250), (31, 35, 40)),
    "contrast": ((0, 0, 0), (255, 255, 255)),
}


@dataclass(frozen=True)
class Shot:
    """A picture: its name, the terminal's size, and what is typed before it is taken."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "dark"
    trace: str = ""


#: What a person does (tests/data has the traces): where was it dropped, step, stop when, what differs, find.
TASKS = (
    Shot("task-drop", (120, 40), ("D",), trace="udp-drop-6.12"),
    Shot("task-drop-80x24", (80, 24), ("D", "D"), trace="four-ways-6.12"),
    Shot("task-step", (120, 40), (":packet 3\n", ":5n\n", "s", "4"), trace="four-ways-6.12"),
    Shot("task-stop", (120, 40), (":b ip_rcv_core if skb->len > 20\n", ":catch drop\n", "c", "c", "B"),
         trace="four-ways-6.12"),
    Shot("task-compare", (120, 40), (":compare 1 3\n",), trace="four-ways-6.12"),
    Shot("task-find", (120, 40), ("/", "ihl|ttl"), trace="four-ways-6.12"),
    Shot("task-keep", (120, 40), (":filter is:dropped\n", ":export drops.pcapng\n", ":save drops.ktrace\n"),
         trace="four-ways-6.12"),
    Shot("task-filter", (120, 40), ("&", "udp and is:dropped dst prot"), trace="four-ways-6.12"),
)  # fmt: skip

REPLAYS = (
    Shot("replay-80x24", (80, 24), (":90\n", "s", "s")),
    Shot("replay-120x40", (120, 40), (":90\n", "4", ":watch iph->ttl\n")),
    Shot("replay-200x60", (200, 60), (":90\n", "d", ":watch iph->ttl\n", "2", "4")),
    Shot("replay-contrast", (120, 40), (":theme contrast\n", ":90\n", "7"), "contrast"),
    Shot("replay-light", (120, 40), (":watch skb->len\n", "3", "t", ":90\n"), "light"),
)


class Terminal:
    """A tmux session with one command in it."""

    def __init__(self, size: tuple[int, int], command: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._socket = f"{self._folder.name}/tmux"
        self._width = size[0]
        # Pictures do not depend on whose profile is found here, nor change it.
        os.environ |= {"XDG_CONFIG_HOME": self._folder.name, "XDG_STATE_HOME": self._folder.name}
        configuration = Path(self._folder.name) / "tmux.conf"
        configuration.write_text(
            'set -g default-terminal "tmux-256color"\nset -g status off\nset -sg escape-time 0\n'
        )
        columns, lines = map(str, size)
        os.environ["COLORTERM"] = "truecolor"
        self.tmux(
            "-f",
            str(configuration),
            "new-session",
            "-d",
            "-c",
            self._folder.name,
            "-x",
            columns,
            "-y",
            lines,
            command,
        )

    def tmux(self, *words: str) -> str:
        """Run a tmux command."""
        return subprocess.run(
            ["tmux", "-S", self._socket, *words], check=True, capture_output=True, text=True
        ).stdout

    def screen(self) -> str:
        """Return the text on the screen."""
        return self.tmux("capture-pane", "-p")

    def wait(self, pattern: str) -> None:
        """Wait until the screen has something that matches."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, screen := self.screen()):
            if time.monotonic() > deadline:
                sys.exit(f"never seen: {pattern}\n{screen}")
            time.sleep(0.1)

    def steady(self) -> None:
        """Wait until the screen stays as it is for a second."""
        same, before = 0, ""
        while same < 5:
            time.sleep(0.2)
            now = self.screen()
            same = same + 1 if now == before else 0
            before = now

    def type(self, text: str) -> None:
        """Type; a newline is Enter."""
        for piece in re.findall(r"\n|[^\n]+", text):
            self.tmux("send-keys", *(["Enter"] if piece == "\n" else ["-l", piece]))

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        for name in names:
            self.tmux("send-keys", name)

    def prompt(self, sign: str, text: str) -> None:
        """Open a prompt, and enter something when it is there."""
        self.keys(sign)
        self.wait(r"(?m)^[:/?&]( |$)")
        self.type(text + "\n")

    def save(self, name: str, theme: str) -> None:
        """Save the screen as NAME.png."""
        ground, text = GROUNDS[theme]
        colours = [(0, 0, 0)] * 8
        console = Console(record=True, width=self._width, file=io.StringIO(), color_system="truecolor")
        for line in self.tmux("capture-pane", "-e", "-p").splitlines():
            console.print(Text.from_ansi(line), no_wrap=True, crop=True, soft_wrap=False)
        svg = console.export_svg(title="ktcpdump-tui", theme=TerminalTheme(ground, text, colours))
        svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1).replace("Fira Code", "DejaVu Sans Mono")
        svg = svg.replace("font-size: 20px", f"font-size: {FONT_SIZE:.3f}px")
        target = HERE / f"{name}.png"
        subprocess.run(["rsvg-convert", "-o", str(target)], input=svg.encode(), check=True)
        sys.stdout.write(f"{target.name}: {target.stat().st_size / 1000:.0f} kB\n")

    def close(self) -> None:
        """End the session."""
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False, capture_output=True)
        self._folder.cleanup()


def program(*arguments: str) -> str:
    """Return the shell command that runs this program."""
    return shlex.join([sys.executable, "-m", "ktcpdump_tui", *arguments])


def replay(shots: tuple[Shot, ...], trace: Path | None, sources: list[str]) -> None:
    """Take the pictures of a recorded trace, or of those the shots name."""
    options = [word for source in sources for word in ("-s", source)]
    for shot in shots:
        shown = (trace or HERE.parent / "tests" / "data" / f"{shot.trace}.ktrace").resolve()
        terminal = Terminal(shot.size, program("-r", str(shown), *options))
        try:
            terminal.wait("REPLAY")
            terminal.steady()
            for keys in shot.keys:
                terminal.type(keys)
                terminal.steady()
            terminal.save(shot.name, shot.theme)
        finally:
            terminal.close()


def live(kernel: str) -> None:
    """Take the picture of a live session in the lab: a ping's packets walk through ip_rcv_core."""
    terminal = Terminal(
        (160, 48), program(f"--lab={kernel}", "-i", "ip_rcv_core+*", "icmp") + "; echo status=$?; read end"
    )
    try:
        terminal.wait(r"LIVE +[1-9]")
        terminal.wait("▶ +[0-9]+( +[0-9]+){1,2} ▌")
        terminal.type(" ")
        terminal.wait("PAUSED")
        terminal.wait(r"\+[0-9,]+ new")
        terminal.type("/ip_input.c:519\n")
        terminal.wait("▶ +519 ")
        terminal.type("4")
        terminal.wait("drop_reason +[0-9]")
        terminal.save(f"live-{kernel}", "dark")
        terminal.type("q")
        terminal.wait("kept nowhere")
        terminal.type("q")
        terminal.wait("status=[0-9]")
        sys.stdout.write(re.sub(r"\n{2,}", "\n", terminal.screen()))
    finally:
        terminal.close()


def look(kernel: str) -> None:
    """Take the pictures of looking into a call: Enter on it while the capture runs, and its lines arrive."""
    lab = program(f"--lab={kernel}", "-i", "ip_rcv+*", "icmp")
    terminal = Terminal((160, 48), lab + "; echo status=$?; read end")
    try:
        terminal.wait(r"LIVE +[1-9]")
        terminal.type(" ")
        terminal.wait("PAUSED")
        terminal.type("g")
        terminal.wait(r"▶ +1 .*ip_rcv\+(.*\n)*.* PAUSED ")
        terminal.wait(r"▶ +56[0-9] .*\{")  # its source was found
        terminal.keys("BTab")  # from the list to the source, whose cursor is on the line being executed
        terminal.keys("Down", "Down", "Down")  # to the call, three lines below the function's brace
        terminal.keys("Enter")
        terminal.wait("look into this call")
        terminal.save("task-look-asked", "dark")
        terminal.type("\n")
        terminal.wait(r"ip_rcv_core:\*: [0-9]+ probes attached")
        terminal.keys("Tab", "Space")  # back to the list, which follows again
        terminal.wait(" LIVE ")
        time.sleep(3)  # packets come meanwhile that go through them, and end in ip_rcv again
        terminal.type(" ")
        terminal.wait("PAUSED")
        terminal.type("T")
        terminal.prompt("C-r", r"ip_rcv_core\+0$")  # backwards, to where it was entered last
        terminal.wait(r"▶.* ip_rcv_core\+0 ")
        terminal.prompt(":", "3n")
        terminal.wait(r"▶.* ip_rcv_core\+[1-9]")
        terminal.type("4")
        terminal.wait(r" net +0xffff")
        terminal.save("task-look", "dark")
        terminal.type("q")
        terminal.wait("kept nowhere")
        terminal.type("q")
        terminal.wait("status=[0-9]")
        sys.stdout.write(re.sub(r"\n{2,}", "\n", terminal.screen()))
    finally:
        terminal.close()


def main() -> None:
    """Take what is asked for."""
    parser = argparse.ArgumentParser(description="Take the screenshots in this folder.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name in ("live", "look"):
        kinds.add_parser(name).add_argument("kernel", nargs="?", default="6.12", choices=("6.12", "6.1"))
    recorded = kinds.add_parser("replay")
    recorded.add_argument("trace", type=Path)
    recorded.add_argument("-s", dest="sources", action="append", default=[])
    tasks = kinds.add_parser("tasks")
    tasks.add_argument("-s", dest="sources", action="append", default=[])
    options = parser.parse_args()
    for tool in ("tmux", "rsvg-convert"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install tmux librsvg2-bin fonts-dejavu-core")
    if options.kind == "live":
        live(options.kernel)
    elif options.kind == "look":
        look(options.kernel)
    elif options.kind == "tasks":
        replay(TASKS, None, options.sources)
    else:
        replay(REPLAYS, options.trace, options.sources)


if __name__ == "__main__":
    main()
