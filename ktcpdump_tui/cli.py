"""The program: options to a command, and errors to one sentence on stderr."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import environment
from ktcpdump_tui.commands.console import Console, forget_stdout, say
from ktcpdump_tui.errors import UsageError, UserError
from ktcpdump_tui.options import PROGRAM, Options, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.commands.session import Session

#: Objects made between two looks for garbage (gc.set_threshold). Python's 700 has it look through the symbols
#: and types of a kernel again and again while they are read, and finds nothing.
_GARBAGE: Final = (20_000, 20, 20)

#: Exit status of a program that a Ctrl-C ended (128 + SIGINT).
INTERRUPTED: Final = 130


def entry_point() -> None:
    """Run the program with the arguments it was started with."""
    gc.set_threshold(*_GARBAGE)
    environment.prepare()
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return the exit status (CLI.md)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    verbose = "-v" in words or "--verbose" in words
    try:
        return _dispatch(parse(words))
    except UserError as error:
        say(f"{PROGRAM}: {error}")
        if verbose and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        if isinstance(error.__cause__, OSError):
            forget_stdout()
        return error.status
    except BrokenPipeError:
        forget_stdout()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if verbose:
            traceback.print_exc()
        say(
            f"{PROGRAM}: unexpected {type(error).__name__}: {error}\n"
            "  this is a bug: report it with what the same command prints with -v"
        )
        return 1


def _dispatch(options: Options) -> int:
    """Do what the options ask for. Imports wait until they are needed: most commands need little."""
    if options.check or options.list is not None:
        from ktcpdump_tui.commands.report import report

        return report(options)
    _check_places(options)
    _check_words(options)
    if options.replay not in (None, "-"):
        gc.disable()  # imports make no garbage, and what they make stays
        from ktcpdump_tui.commands.replay import replay

        gc.freeze()
        gc.enable()
        return replay(options)
    session = _session(options)
    try:
        session.prepare()
        if options.record == "-":
            from ktcpdump_tui.commands.capture import stream

            return stream(session)
        if options.compare is not None:
            from ktcpdump_tui.commands.replay import compare_stream

            return compare_stream(session)
        if options.headless:
            from ktcpdump_tui.commands.capture import capture

            return capture(session)
        from ktcpdump_tui.commands.screen import show_capture

        return show_capture(session)
    finally:
        session.close()


def _session(options: Options) -> Session:
    """Choose where the events come from."""
    if options.replay == "-":
        from ktcpdump_tui.commands.stdin_session import StdinSession

        return StdinSession(options, Console())
    if options.lab is not None:
        from ktcpdump_tui.commands.lab_session import LabSession

        return LabSession(options, Console(verbose=options.verbose))
    if options.ssh:
        from ktcpdump_tui.commands.ssh_session import SshSession

        return SshSession(options, Console(verbose=options.verbose))
    from ktcpdump_tui.commands.live_session import LiveSession, StreamSession

    if options.record == "-":
        return StreamSession(options, Console(piped=True))
    return LiveSession(options, Console(verbose=options.verbose))


def _check_places(options: Options) -> None:
    """Refuse a screen without a terminal, and files where no file can be."""
    keys = options.replay == "-" or sys.stdin.isatty()
    converts = options.write is not None and options.replay not in (None, "-")
    if not options.headless and not options.compare and not converts and not (keys and sys.stdout.isatty()):
        raise UsageError("stdout is no terminal to draw a screen on", "add --no-tui for a table, or --json")
    if options.write == "-" and sys.stdout.isatty():
        raise UsageError("-w - would write packets to the terminal", "pipe it: ... -w - | tcpdump -r -")
    for flag, name in (("-w", options.write), ("-o", options.record)):
        if name and name != "-":
            _check_writable(flag, Path(name).expanduser())
    if options.write and options.write != "-":
        from ktcpdump_tui.export import check_export

        check_export(options.write)


def _check_writable(flag: str, path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{flag} {path} is a folder", f"name a file in it: {flag} {path / 'NAME'}")
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}", f"mkdir -p {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{flag} {path} cannot be written: permission denied", "name a file you may write")


def _check_words(options: Options) -> None:
    """Refuse a wrong SPEC, EXPRESSION or source before anything is started that takes time."""
    if options.specs:
        from ktcpdump_tui.capture.spec import parse_specs

        parse_specs(options.specs)
    for expression in (options.expression, options.filter_tunnel):
        if expression:
            from ktcpdump_tui.capture.filter import compile_filter

            compile_filter(expression)
    for watch in options.watches:
        from ktcpdump_tui.debuginfo.expressions import compile_expression

        compile_expression(watch)
    if options.sources:
        from ktcpdump_tui.debuginfo.source import SourceFinder

        SourceFinder(options.sources)
