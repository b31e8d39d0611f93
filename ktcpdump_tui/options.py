"""The command line: what is asked for, checked as far as that needs no kernel and no file."""

from __future__ import annotations

import argparse
import difflib
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ktcpdump_tui import __version__, options_values
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.options_help import DESCRIPTION, EPILOG, GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: An expression written over several words after the options, or one that is all in one word.
PROGRAM: Final = "ktcpdump-tui"
#: Written where --lab stands without a version: argparse would take the next word for it.
_LAB_DEFAULT: Final = "--lab=default"


@dataclass(frozen=True, slots=True)
class Options:
    """All options, by the long names of CLI.md; None, empty or False where not given."""

    expression: str = ""
    specs: tuple[str, ...] = ()
    debug_image: Path | None = None
    write: str | None = None
    record: str | None = None
    replay: str | None = None
    no_tui: bool = False
    json: bool = False
    sources: tuple[str, ...] = ()
    snaplen: int | None = None
    stack: int | None = None
    events: int | None = None
    packets: int | None = None
    duration: float | None = None
    command: str | None = None
    ready_file: Path | None = None
    max_cpu: float | None = None
    max_probes: int | None = None
    max_size: int | None = None
    embed_source: bool = False
    rotate: tuple[int, int | None] | None = None
    netns: int | None = None
    ifname: str | None = None
    mark: tuple[int, int] | None = None
    filter_tunnel: str | None = None
    survey: bool = False
    locals: bool = False
    watches: tuple[str, ...] = ()
    captures: tuple[str, ...] = ()
    compare: tuple[int, int] | None = None
    compare_with: str | None = None
    list: str | None = None
    lab: str | None = None
    ssh: tuple[str, ...] = ()
    control: bool = False
    check: bool = False
    profile: str | None = None
    verbose: bool = False
    command_line: tuple[str, ...] = ()

    @property
    def headless(self) -> bool:
        """Whether no screen is drawn: a table, JSON, or a stream on stdout."""
        return self.no_tui or self.json or "-" in (self.write, self.record)

    @property
    def needs_variables(self) -> bool:
        """Whether anything that is asked for shows variables, or fields by their names."""
        shown = self.watches or self.locals or self.write or self.record or self.compare
        return bool(shown) or not self.headless


def parse(arguments: Sequence[str]) -> Options:
    """Return the options ``arguments`` (without the program's name) ask for.

    UsageError where they are wrong or contradict each other; SystemExit 0 after --help and --version.
    """
    parser = _parser()
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    before = [_LAB_DEFAULT if word == "--lab" else word for word in words[:end]]
    values = vars(parser.parse_intermixed_args(before))
    values["expression"] = " ".join([*values["expression"], *words[end + 1 :]]).strip()
    for name in ("specs", "sources", "watches", "captures", "ssh"):
        values[name] = tuple(values[name] or ())
    values["compare_with"] = None
    if values["compare"] is not None:
        (file, a), (other, b) = values["compare"]
        if file is not None:
            raise UsageError("--compare: the first packet is one of -r's trace", f"--compare {a} {file}:{a}")
        values["compare"], values["compare_with"] = (a, b), other
    options = Options(**values, command_line=(PROGRAM, *arguments))
    _check(options)
    return options


def guest_arguments(options: Options, debug_image: Path | None) -> list[str]:
    """Return the arguments with which the same capture runs elsewhere and streams its trace to stdout.

    ``debug_image`` is a path there; None has it found there.
    """
    words: list[str] = ["--no-tui", "--record", "-", "--control"]
    for flag, value in (
        ("--debug-image", debug_image),
        ("--snaplen", options.snaplen),
        ("--stack", options.stack),
        ("-c", options.events),
        ("--packets", options.packets),
        ("--duration", options.duration),
        ("--cmd", options.command),
        ("--max-probes", options.max_probes),
        ("--max-cpu", options.max_cpu),
        ("--netns", options.netns),
        ("--ifname", options.ifname),
        ("--filter-tunnel", options.filter_tunnel),
    ):
        if value is not None:
            words.append(f"{flag}={value}" if flag.startswith("--") else f"{flag}{value}")
    if options.mark:
        words.append(f"--mark={options.mark[0]:#x}/{options.mark[1]:#x}")
    words += [f"--interface-function={spec}" for spec in options.specs]
    words += [f"--capture={path}" for path in options.captures]
    words += [flag for flag, given in (("--survey", options.survey), ("--verbose", options.verbose)) if given]
    return [*words, "--", options.expression] if options.expression else words


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError, with the option that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        remedy = f"{PROGRAM} --help"
        if unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            name = unknown[1].partition("=")[0]
            message = f"unknown option {name}"
            known = [each for each in self._option_string_actions if each.startswith("--")]
            if near := difflib.get_close_matches(name, known, n=1):
                remedy = f"did you mean {near[0]}?"
        elif bad := re.match(r"argument ([^:]+): (.*)", message):
            name = bad[1].split("/")[-1]
            message = f"{name}: {bad[2]}"
        raise UsageError(message, remedy)

    def format_help(self) -> str:
        """Return the help; argparse does not know values that may only stand after an equals sign."""
        return super().format_help().replace("--lab VERSION  ", "--lab[=VERSION]")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        usage=DESCRIPTION.usage,
        description=DESCRIPTION.text,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("expression", nargs="*", metavar="EXPRESSION", help=argparse.SUPPRESS)
    kinds: dict[str, Callable[[str], Any]] = {
        "count": options_values.count,
        "packet": options_values.packet,
        "snaplen": options_values.snaplen,
        "stack": options_values.stack,
        "seconds": options_values.seconds,
        "percent": options_values.percent,
        "size": options_values.byte_size,
        "rotation": options_values.rotation,
        "mark": options_values.mark,
        "path": options_values.path,
        "number": options_values.natural,
        "text": options_values.nonempty,
    }
    for title, rows in GROUPS:
        group = parser.add_argument_group(title)
        for row in rows:
            settings: dict[str, Any] = {"help": row.help}
            if row.kind == "flag":
                settings |= {"action": "store_true"}
            elif row.kind == "help":
                settings |= {"action": "help"}
            elif row.kind == "version":
                settings |= {"action": "version", "version": f"{PROGRAM} {__version__}"}
            else:
                settings |= {"metavar": row.metavar, "type": kinds[row.kind]}
                if row.repeatable:
                    settings["action"] = "append"
                if isinstance(row.metavar, tuple):
                    settings["nargs"] = len(row.metavar)
            if row.kind not in ("help", "version"):
                settings["dest"] = row.dest
            group.add_argument(*row.flags, **settings)
    assert {field.name for field in fields(Options)} == {action.dest for action in parser._actions} - {
        "help",
        "version",
    } | {"command_line", "compare_with"}
    return parser


#: Options that say what to capture, and mean nothing where nothing is captured: (field, as typed).
_CAPTURE_ONLY: Final = (
    ("specs", "-i"),
    ("survey", "--survey"),
    ("record", "-o"),
    ("snaplen", "-S"),
    ("stack", "--stack"),
    ("duration", "--duration"),
    ("command", "--cmd"),
    ("ready_file", "--ready-file"),
    ("max_probes", "--max-probes"),
    ("max_cpu", "--max-cpu"),
    ("max_size", "--max-size"),
    ("embed_source", "--embed-source"),
    ("rotate", "--rotate"),
    ("netns", "--netns"),
    ("ifname", "--ifname"),
    ("mark", "--mark"),
    ("filter_tunnel", "--filter-tunnel"),
    ("captures", "--capture"),
)
#: Those of them that say how the trace is kept.
_KEEPING: Final = ("record", "max_size", "rotate", "embed_source")
#: Options that say how events are shown, and mean nothing where only a plan or a report is printed.
_EVENT_ONLY: Final = (
    ("write", "-w"),
    ("replay", "-r"),
    ("json", "--json"),
    ("events", "-c"),
    ("packets", "--packets"),
    ("locals", "--locals"),
    ("watches", "--watch"),
    ("compare", "--compare"),
    ("expression", "EXPRESSION"),
)


def _check(options: Options) -> None:
    """Refuse what contradicts itself, in the words that were typed."""

    def given(*table: tuple[str, str]) -> str | None:
        return next(
            (flag for name, flag in table if getattr(options, name) not in (None, (), "", False)), None
        )

    for name, flag in (("list", "--list"), ("check", "--check")):
        if getattr(options, name):
            other = given(*_EVENT_ONLY, *_CAPTURE_ONLY)
            if name == "list" and options.check:
                other = "--check"
            if other:
                raise UsageError(
                    f"{flag} captures nothing, so {other} has no meaning with it", f"leave out {other}"
                )
    if options.replay is not None:
        # A stream is new here: it can be kept as a capture's trace is.
        kept = _KEEPING if options.replay == "-" and options.record != "-" else ()
        late = [one for one in _CAPTURE_ONLY if one[0] not in kept]
        if other := given(*late, ("lab", "--lab"), ("ssh", "--ssh"), ("debug_image", "-d")):
            raise UsageError(f"-r shows what was recorded, so {other} comes too late", f"leave out {other}")
    elif options.compare:
        raise UsageError("--compare needs a recorded trace", "add -r FILE.ktrace")
    if options.compare and (options.json or options.write):
        raise UsageError("--compare prints a comparison, not events", "leave out --json and -w")
    on_stdout = [
        flag
        for flag, used in (
            ("-w -", options.write == "-"),
            ("-o -", options.record == "-"),
            ("--json", options.json),
        )
        if used
    ]
    if len(on_stdout) > 1:
        raise UsageError(
            f"{' and '.join(on_stdout)} would both write to stdout", "name a file for one of them"
        )
    if options.embed_source and options.record in (None, "-"):
        raise UsageError("--embed-source puts source text into the file that -o names", "add -o FILE.ktrace")
    if options.rotate and options.record in (None, "-"):
        raise UsageError(
            "--rotate goes on in a new file when the one that -o names is full", "add -o FILE.ktrace"
        )
    if options.locals and not (options.json or (options.write or "").endswith((".jsonl", ".parquet"))):
        raise UsageError("--locals needs --json", "add --json, or -w FILE.jsonl or FILE.parquet")
    if options.write and options.write == options.record:
        raise UsageError(f"-w and -o both name {options.write}", "name two files")
    if options.control and options.record != "-":
        raise UsageError("--control is for a capture whose trace goes to stdout", "add -o -")
    if len(options.ssh) > 1:
        raise UsageError(
            "--ssh names two hosts, and a trace is of one kernel",
            "capture on each with -o FILE.ktrace, one screen per host",
        )
    if options.ssh:
        if options.lab is not None:
            raise UsageError("--ssh and --lab both say where to capture", "leave out one of them")
        if options.ssh[0].startswith("-"):
            raise UsageError(f"--ssh {options.ssh[0]} is no host", "write --ssh HOST or --ssh USER@HOST")
    for flag, elsewhere in (("--lab", options.lab is not None), ("--ssh", bool(options.ssh))):
        if elsewhere and options.record == "-":
            raise UsageError(
                f"-o - is what the program elsewhere writes; {flag} has no use for it",
                "leave out one of them",
            )
    if options.lab not in (None, "default") and not re.fullmatch(r"\d+\.\d+", options.lab or ""):
        raise UsageError(f"--lab={options.lab} is no kernel version", "write --lab, --lab=6.1 or --lab=6.12")
