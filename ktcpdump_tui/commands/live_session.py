"""A capture in this machine's kernel."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.commands.debug_symbols import debuginfod
from ktcpdump_tui.commands.requirements import check_live
from ktcpdump_tui.commands.session import READY, Session
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.model import ProbeState

if TYPE_CHECKING:
    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.session import CaptureSession
    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.sink import TraceSink


class LiveSession(Session):
    """A capture in this machine's kernel."""

    def __init__(self, options: Options, console: Console) -> None:
        super().__init__(options, console)
        self._session: CaptureSession | None = None
        self._changes = ThreadPoolExecutor(1, "probes")

    @property
    def can_probe(self) -> bool:
        """Whether the capture runs."""
        return self.ready and not self._stopping and not self._ended

    def _change(self, verb: str, spec: str) -> Future[str]:
        return self._changes.submit(self._change_now, verb, spec)

    def _change_now(self, verb: str, spec: str) -> str:
        if self._session is None or not self.can_probe:
            raise UserError(f"{verb} {spec}: nothing is being captured now")
        try:
            return self._session.probe(spec) if verb == "probe" else self._session.unprobe(spec)
        finally:
            self.console.progress_done()

    def close(self) -> None:
        """Stop, wait, and delete a temporary trace."""
        super().close()
        self._changes.shutdown()

    def stop(self) -> None:
        """Ask for the end."""
        super().stop()
        if self._session is not None:
            self._session.stop()

    def _capture(self, sink: TraceSink) -> None:
        from ktcpdump_tui.capture.session import CaptureSession

        check_live()
        symbols = debuginfod(self.console, self.stop_asked)
        self._session = CaptureSession(capture_options(self.options), sink, self.console.progress, symbols)
        run_capture(self, self._session)


class StreamSession(LiveSession):
    """A capture whose trace goes to stdout as frames (trace/stream.py), for a program elsewhere."""

    def _writer(self) -> TraceSink:
        from ktcpdump_tui.trace.stream import StreamWriter

        return StreamWriter(sys.stdout.buffer)


def run_capture(session: Session, capture: CaptureSession) -> None:
    """Run a capture to its end in this thread, and say what is to be said. Raises what ended it early."""
    try:
        if session.stop_asked():
            raise KeyboardInterrupt
        try:
            capture.start()
        except UserError:
            if session.stop_asked():
                raise KeyboardInterrupt from None
            raise
        finally:
            session.console.progress_done()
        told = len(capture.messages)
        for message in capture.messages:
            session.console.say(message)
        session.ready = True
        session.console.say(f"{READY}{_probes(capture)}")
        if session.stop_asked():  # asked while there was no worker to be stopped
            capture.stop()
        capture.join()
        for message in capture.messages[told:]:
            session.console.say(message)
    finally:
        capture.close()


def _probes(capture: CaptureSession) -> str:
    """Return how many probes there are."""
    states = [one.probe for one in capture.plan.instructions] if capture.plan else []
    attached, refused = states.count(ProbeState.ATTACHED), states.count(ProbeState.REFUSED)
    return f"{attached} probes attached" + (f", {refused} refused (--list says why)" if refused else "")


def capture_options(options: Options) -> CaptureOptions:
    """Return what a capture is asked to do."""
    from ktcpdump_tui.capture.options import CaptureOptions

    given = {
        "specs": options.specs,
        "tunnel_expression": options.filter_tunnel,
        "debug_image": options.debug_image,
        "snaplen": options.snaplen,
        "stack_bytes": options.stack,
        "events": options.events,
        "packets": options.packets,
        "duration": options.duration,
        "command": options.command,
        "ready_file": options.ready_file,
        "max_probes": options.max_probes,
        "guard": None if options.max_cpu is None else options.max_cpu / 100,
        "netns": options.netns,
        "ifname": options.ifname,
        "mark": options.mark,
        "captures": options.captures,
    }
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, ())}
    if options.survey and not options.specs:
        chosen["specs"] = ()
    return CaptureOptions(
        expression=options.expression,
        survey=options.survey,
        verbose=options.verbose,
        variables=options.needs_variables,
        command_line=options.command_line,
        **chosen,
    )
