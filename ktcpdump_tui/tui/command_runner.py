"""Carries out the commands of the ``:`` prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.tui import stop_commands
from ktcpdump_tui.tui.palette import NAMES
from ktcpdump_tui.tui.ports import CaptureState

if TYPE_CHECKING:
    from ktcpdump_tui.tui.app import DebuggerApp
    from ktcpdump_tui.tui.commands import Command

_STEPS: Final = frozenset(
    f"{direction}{word}"
    for direction in ("", "reverse-")
    for word in ("step", "next", "stepi", "finish", "continue")
)

#: Commands that are a key's action by another name: action and arguments as Textual writes them.
_ACTIONS: Final = {
    "up": "frame(1)",
    "down": "frame(-1)",
    "backtrace": "section(7)",
    "disassemble": "disassembly",
    "log": "log",
    "mouse": "mouse",
    "palette": "palette",
    "across": "across",
    "drop": "drop",
    "next-drop": "next_drop(True)",
    "previous-drop": "next_drop(False)",
    "help": "help",
}


async def run(app: DebuggerApp, command: Command) -> None:
    """Carry out a command; UsageError where it makes no sense here."""
    name, argument = command.name, command.argument
    if name in _STEPS:
        app.action_step(name, int(argument or 1))
    elif name in _ACTIONS:
        await app.run_action(f"app.{_ACTIONS[name]}")
    elif name in ("probe", "unprobe"):
        app.order_probes(name, argument)
    elif name in ("record", "save", "export"):
        app.keep(name, argument, force=command.force)
    elif name == "quit":
        if command.force:
            app.exit(0)
        else:
            app.leave()
    elif name == "stop":
        _stop(app)
    elif name == "goto":
        app.goto(argument)
    elif name == "packet":
        _go_to_packet(app, int(argument))
    elif name == "only":
        _only(app, argument)
    elif name == "filter":
        app.apply_filter(argument)
    elif name in stop_commands.COMMANDS:
        stop_commands.COMMANDS[name](app, argument)
    elif name == "list":
        file, _, line = (
            argument.rpartition(":") if argument.rpartition(":")[2].isdecimal() else (argument, "", "1")
        )
        app.show_file(app.navigator.full_name(file), int(line), inner=False)
    elif name == "compare":
        _compare(app, argument)
    elif name == "profile":
        app.use_profile(argument)
    elif name == "theme":
        if argument not in NAMES:
            raise UsageError(f"there is no theme '{argument}'", f"say :theme and one of {', '.join(NAMES)}")
        app.use_theme(NAMES[argument])


def _compare(app: DebuggerApp, argument: str) -> None:
    words = argument.split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or words[0] == words[1]:
        raise UsageError("'compare' needs the numbers of two packets", ":compare 1 3")
    app.compare(int(words[0]), int(words[1]))


def _stop(app: DebuggerApp) -> None:
    if app.control is None or app.control.state in (CaptureState.STOPPING, CaptureState.ENDED):
        raise UsageError("no capture is going on", ":quit ends the program")
    app.control.stop()


def _go_to_packet(app: DebuggerApp, packet: int) -> None:
    span = app.trace.packet_span(packet)
    if span is None:
        raise UsageError(f"there is no event of a packet {packet}", ":packet 1")
    if app.navigator.rows.only_packet is not None:
        app.navigator.rows.show_only(packet)
    app.go(max(span[0], app.trace.first_no))


def _only(app: DebuggerApp, argument: str) -> None:
    if argument and app.trace.packet_span(int(argument)) is None:
        raise UsageError(f"there is no event of a packet {argument}", ":only 1")
    if not argument:
        app.action_only_packet()
        return
    app.navigator.rows.show_only(int(argument))
    _go_to_packet(app, int(argument))
