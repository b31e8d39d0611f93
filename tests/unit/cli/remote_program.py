"""Runs as ``ktcpdump-tui`` on the other host of test_ssh.py: its kernel cannot be probed, so a trace recorded
on a real one takes the capture's place. Everything else, the stream and the orders, is the program's own."""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import Console
from ktcpdump_tui.commands.control import Listener
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.options import Options, parse
from ktcpdump_tui.trace.stream import StreamWriter
from ktcpdump_tui.trace.trace import Trace

if TYPE_CHECKING:
    from ktcpdump_tui.model import Summary

TRACE = Path(__file__).parents[2] / "data" / "ping-6.12.ktrace"


class Recorded:
    """What the program's own session is to a Listener."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.console = Console(piped=True)
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def probe(self, spec: str) -> Future[str]:
        answer: Future[str] = Future()
        if spec.startswith("no_such"):
            answer.set_exception(UsageError(f"-i {spec}: this kernel has no function", "did you mean?"))
        else:
            self.console.progress("defining probes", 0, 0)
            answer.set_result(f"{spec}: 5 probes attached")
        return answer

    def unprobe(self, spec: str) -> Future[str]:
        answer: Future[str] = Future()
        answer.set_result(f"{spec}: 5 probes removed")
        return answer


def main() -> int:
    Path(os.environ["ARGUMENTS_FILE"]).write_text(json.dumps(sys.argv[1:]))
    options = parse(sys.argv[1:])
    session = Recorded(options)
    if "refused" in options.specs:
        session.console.say(
            "ktcpdump-tui: this kernel has no kprobes: CONFIG_KPROBES is not set\n  use --lab"
        )
        return 1
    Listener(session).start()  # type: ignore[arg-type]
    session.console.progress("compiling the BPF program", 0, 0)
    with Trace.open(TRACE) as trace:
        writer = StreamWriter(sys.stdout.buffer)
        writer.write_header(trace.header)
        writer.write_plan(trace.plan)
        for name in trace.blob_names():
            writer.put_blob(name, trace.blob(name) or b"")
        writer.write_events(trace.rows(1, len(trace)))
        writer.flush()
        session.console.say("listening: 5 probes attached")
        summary: Summary | None = trace.summary
        if options.duration is None:
            session.stopped.wait()
        if "killed" in options.specs:
            os.kill(os.getpid(), 9)
        Path(os.environ["ARGUMENTS_FILE"]).with_name("ended").touch()
        writer.close(summary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
