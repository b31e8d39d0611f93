"""The full screen, over a capture or a recorded trace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.commands.console import counts, say, signals_stop
from ktcpdump_tui.commands.judging import make_judge
from ktcpdump_tui.commands.sources import sources_of

if TYPE_CHECKING:
    from ktcpdump_tui.commands.outputs import FileBeside
    from ktcpdump_tui.commands.session import Session
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.trace import Trace


def show_trace(options: Options, trace: Trace) -> int:
    """Show a recorded trace until the user quits."""
    from ktcpdump_tui.tui.run import run, without_collecting

    without_collecting()
    from ktcpdump_tui.tui.app import DebuggerApp

    packets = _packets(options, trace, None)
    app = DebuggerApp(
        trace,
        sources_of(options.sources, trace),
        watches=options.watches,
        make_judge=make_judge,
        filter_text=options.expression,
        place=True,
        **_kept(options),
    )
    status = run(app)
    if packets is not None:
        packets.finish()
    return status


def show_capture(session: Session) -> int:
    """Show a capture until the user quits, which ends it; then print its counts as ``--no-tui`` does."""
    from ktcpdump_tui.tui.app import DebuggerApp
    from ktcpdump_tui.tui.run import run

    options = session.options
    with signals_stop(session):
        session.start()
        trace = session.open_trace()
    session.console.leave_terminal()
    with trace:
        packets = _packets(options, trace, session)
        sources = sources_of([*options.sources, *session.source_places], trace)
        app = DebuggerApp(
            trace, sources, control=session, watches=options.watches, make_judge=make_judge, **_kept(options)
        )
        app.ask_on_quit = app.settings.ask_on_quit
        status = run(app)
        session.stop()
        session.join()
        if packets is not None:
            packets.finish()
        trace.refresh()
        if trace.summary is not None:
            say("\n".join(counts(trace.summary)))
        recorded = session.finish()
        if recorded is not None:
            say(recorded)
    if session.error is not None:
        raise session.error
    return status or int(session.record_error is not None)


def _kept(options: Options) -> dict[str, Any]:
    """Return the settings and profiles, as the application takes them."""
    from ktcpdump_tui.config import Profiles, load_settings

    settings, profiles = load_settings(), Profiles()
    if options.profile is not None:
        profiles.load(options.profile)  # a name that is none is said before anything is drawn
        settings = replace(settings, profile=options.profile)
    return {"settings": settings, "profiles": profiles}


def _packets(options: Options, trace: Trace, session: Session | None) -> FileBeside | None:
    if options.write is None:
        return None
    from ktcpdump_tui.commands.outputs import FileBeside

    packets = FileBeside(trace, options, session)
    packets.start()
    return packets
