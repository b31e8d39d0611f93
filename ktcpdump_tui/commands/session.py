"""A capture that is going on in a thread, and the local trace it writes."""

from __future__ import annotations

import tempfile
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.options import PROGRAM
from ktcpdump_tui.trace.sink import GivingWay, PassingSink
from ktcpdump_tui.trace.whereabouts import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ktcpdump_tui.commands.console import Console
    from ktcpdump_tui.model import Instruction, Summary, TraceHeader
    from ktcpdump_tui.options import Options
    from ktcpdump_tui.trace.recorder import Recorder
    from ktcpdump_tui.trace.refuge import Move, Refuge
    from ktcpdump_tui.trace.sink import TraceSink
    from ktcpdump_tui.trace.trace import Trace
    from ktcpdump_tui.tui.ports import CaptureState

#: Bytes a temporary trace may take on disk where --max-size does not say.
TEMPORARY_SIZE: Final = 2 << 30
#: What this program prints on stderr once its probes are attached; a lab's guest is heard by it.
READY: Final = "listening: "


class Announcing(PassingSink):
    """Makes the trace when there is something to put in it, and says when there is something new to read.

    A capture that fails before it begins leaves no file, and harms none that was there. ``announce`` is
    called at each flush once header and plan are there, and at the end.
    """

    def __init__(self, make: Callable[[], TraceSink], announce: Callable[[], None]) -> None:
        self._make = make
        self._announce = announce
        self._begun = False
        self._readable = False

    def write_header(self, header: TraceHeader) -> None:
        """Make the trace, and pass the header on."""
        if not self._begun:
            self._sink = self._make()
            self._begun = True
        super().write_header(header)

    def write_plan(self, instructions: Sequence[Instruction]) -> None:
        """Pass the plan on."""
        super().write_plan(instructions)
        self._readable = True

    def flush(self) -> None:
        """Pass on, and announce."""
        if self._begun:
            super().flush()
        if self._readable:
            self._announce()

    def close(self, summary: Summary | None) -> None:
        """Pass on, and announce."""
        if self._begun:
            super().close(summary)
            self._announce()


class Session(ABC):
    """A capture in a thread of its own that writes a trace; what is common to all kinds.

    ``where`` is the trace: the file named by -o, or a temporary one that ``close`` deletes; also once the
    disk of -o is full. ``error`` is what ended the capture, if that was an error, ``record_error`` what ended
    its recording. ``console`` shows what is going on.
    """

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.error: BaseException | None = None
        self.ready = False
        self.console = console
        self._changed = threading.Condition()
        self._news = False
        self._readable = False
        self._ended = False
        self._stopping = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._recorder: Recorder | None = None
        self._refuge: Refuge | None = None
        self._record_error: UserError | None = None
        self._record_error_said = False
        self._wait_first: Callable[[], None] = lambda: None
        if options.record and not options.rotate:
            self.where = Whereabouts(Path(options.record).expanduser())
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="ktcpdump-tui-", ignore_cleanup_errors=True)
            self.where = Whereabouts(Path(self._folder.name) / "capture.ktrace")
        self._thread = threading.Thread(target=self._run, name="session", daemon=True)

    def prepare(self) -> None:  # noqa: B027 - most kinds have nothing to prepare
        """Do what is to be done before a screen is drawn; may take minutes, Ctrl-C ends it."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end, as Ctrl-C does; returns at once, may be called again."""
        self._stopping = True

    @property
    def can_probe(self) -> bool:
        """Whether probes can be added and removed now."""
        return False

    @property
    def doing(self) -> str:
        """What is being done, for the screen."""
        return self.console.doing

    @property
    def kept(self) -> Path | None:
        """The file that has the whole trace in the end."""
        if self._recorder is not None:
            return None if self._recorder.error is not None else self._recorder.path
        if self.options.record is None or self._record_error is not None:
            return None
        return Path(self.options.record).expanduser()

    @property
    def record_error(self) -> BaseException | None:
        """Why the recording (-o, or ``record``) ended before the capture, if it did."""
        return self._recorder.error if self._recorder is not None else self._record_error

    def record(self, path: Path) -> None:
        """Keep a temporary trace in ``path``, with what is still to come."""
        from ktcpdump_tui.trace.recorder import Recorder

        if (kept := self.kept) is not None:
            raise UserError(f"the trace is recorded already, in {kept}", f":save {path} makes a copy")
        self._recorder = Recorder(self.where, path, lambda: self._ended)
        self._recorder.start()

    def finish(self) -> str | None:
        """Wait until all is recorded that was asked to be; return a sentence of it. Raises what failed."""
        if self._recorder is None:
            if self._record_error is not None and not self._record_error_said:
                raise self._record_error
            return None
        events = self._recorder.finish()
        return f"{events:,} events recorded in {self._recorder.path}"

    def probe(self, spec: str) -> Future[str]:
        """Ask for the probes of ``spec`` while the capture goes on (tui/ports.py: CaptureControl)."""
        return self._change("probe", spec)

    def unprobe(self, spec: str) -> Future[str]:
        """Ask for the end of the probes that ``spec`` asks for."""
        return self._change("unprobe", spec)

    def _change(self, verb: str, spec: str) -> Future[str]:
        """Ask for a change of the probes; refused where nothing is captured here."""
        refused: Future[str] = Future()
        refused.set_exception(
            UserError(f"{verb} {spec}: this program does not capture itself", "use -i where the capture runs")
        )
        return refused

    def give_way(self, wait: Callable[[], None]) -> None:
        """Call ``wait`` before anything is written."""
        self._wait_first = wait

    def abandon(self) -> None:
        """Ask for the end where nobody wants what is still to come."""
        self.stop()

    def join(self) -> None:
        """Wait until the capture has ended and its probes are gone."""
        self._thread.join()

    def close(self) -> None:
        """Stop, wait, and delete a temporary trace."""
        if self._thread.is_alive():
            self.stop()
            self._thread.join()
        if self._recorder is not None:
            self._recorder.join()
        if self._refuge is not None:
            self._refuge.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def ended(self) -> bool:
        """Whether nothing more will be written."""
        return self._ended

    @property
    def state(self) -> CaptureState:
        """How far the capture is, for the screen."""
        from ktcpdump_tui.tui.ports import CaptureState

        if self._ended:
            return CaptureState.ENDED
        if self._stopping:
            return CaptureState.STOPPING
        return CaptureState.RUNNING if self.ready else CaptureState.STARTING

    @property
    def source_places(self) -> Sequence[Path]:
        """Where the kernel's source is, beyond what the options and the system say."""
        return ()

    def stop_asked(self) -> bool:
        """Whether the end was asked for."""
        return self._stopping

    def wait(self, seconds: float) -> None:
        """Wait until something new was written, the capture ended, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._news or self._ended, seconds)
            self._news = False

    def open_trace(self) -> Trace:
        """Return the trace once it can be opened; raises what ended the capture before."""
        from ktcpdump_tui.trace.trace import Trace

        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._readable or self._ended, 0.5)
                written, ended = self._readable, self._ended
            if written:
                return Trace.open(self.where)
            if ended:
                raise self.error or UserError("the capture ended before it began")

    def _announce(self) -> None:
        with self._changed:
            self._news = self._readable = True
            self._changed.notify_all()

    def _run(self) -> None:
        sink = GivingWay(Announcing(self._writer, self._announce), lambda: self._wait_first())
        try:
            try:
                self._capture(sink)
            finally:
                sink.close(None)
        except BaseException as error:
            self.error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _writer(self) -> TraceSink:
        from ktcpdump_tui.trace.refuge import Refuge
        from ktcpdump_tui.trace.writer import TraceWriter

        kept = self.options.record and not self.options.rotate
        most = self.options.max_size or (None if kept else TEMPORARY_SIZE)
        self._refuge = Refuge(self.where, most or TEMPORARY_SIZE, self._moved)
        writer: TraceSink = TraceWriter(self.where.path, most, self._refuge)
        if self.options.record and self.options.rotate:
            from ktcpdump_tui.trace.rotate import RotatingWriter
            from ktcpdump_tui.trace.sink import GivingUp, TeeSink

            # What is shown comes from a trace of its own: the files of the recording come and go.
            files = RotatingWriter(Path(self.options.record).expanduser(), *self.options.rotate)
            writer = TeeSink(writer, GivingUp(files, self._files_ended))
        if not self.options.embed_source:
            return writer
        from ktcpdump_tui.commands.sources import Embedding

        return Embedding(writer, [*self.options.sources, *self.source_places], self.console.say)

    def _moved(self, move: Move) -> None:
        """Say that the trace goes on elsewhere, as its disk is full; called in the writer's thread."""
        holds = f"it holds the first {move.events:,} events" if move.events else "it holds no event"
        older = f"; the events before {move.first_no:,} are in it only" if move.first_no > 1 else ""
        if self.options.record and not self.options.rotate:
            self._recording_ended(
                UserError(
                    f"recording into {move.left} ended ({move.error}): {holds}, and the capture goes on"
                    f" without it{older}",
                    "make room on its disk, then :record FILE keeps what is still shown",
                )
            )
        else:
            self.console.say(
                f"{PROGRAM}: the temporary trace cannot grow in {move.left.parent} ({move.error}):"
                f" the capture goes on in another one{older}"
            )

    def _files_ended(self, error: UserError) -> None:
        """Say that the files of --rotate end."""
        self._recording_ended(
            UserError(f"{error.message}; the capture goes on without recording", error.remedy)
        )

    def _recording_ended(self, error: UserError) -> None:
        self._record_error = error
        self._record_error_said = not self.console.screen
        self.console.say(f"{PROGRAM}: {error}")

    @abstractmethod
    def _capture(self, sink: TraceSink) -> None:
        """Capture into ``sink`` and close it; returns at the end, raises what ended it early."""
