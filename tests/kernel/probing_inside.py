"""Runs in the guest: probes that come and go while pings are captured, told as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.capture import functions
from ktcpdump_tui.capture.functions import KernelTypes
from ktcpdump_tui.capture.options import CaptureOptions
from ktcpdump_tui.capture.session import CaptureSession
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.trace.trace import Trace
from ktcpdump_tui.trace.writer import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRACING = Path("/sys/kernel/tracing")
KPROBES = Path("/sys/kernel/debug/kprobes/list")
#: Each ping makes two packets on the loopback device: the request and its answer.
PACKETS_PER_PING = 2


def tell(text: str) -> None:
    """Say on stderr what was done, for whoever looks for what takes so long."""
    print(f"{time.clock_gettime(time.CLOCK_BOOTTIME):7.1f} s  {text}", file=sys.stderr, flush=True)


class Run:
    """A capture of pings into a file."""

    def __init__(self, path: Path, vmlinux: Path, **options: Any) -> None:
        self.session = CaptureSession(
            CaptureOptions(expression="icmp", debug_image=vmlinux, guard=0, **options), TraceWriter(path)
        )
        self.session.start()
        tell("started")
        self.trace = Trace.open(path)
        self.steps: list[dict[str, Any]] = []

    def counts(self) -> Counter[str]:
        """Return the events so far by function."""
        self.trace.refresh()
        hits = self.trace.hits()
        found: Counter[str] = Counter()
        for one in self.trace.plan:
            if one.index < len(hits):
                found[one.symbol] += int(hits[one.index])
        return found

    def until(self, what: Callable[[], bool], seconds: float = 60) -> bool:
        """Wait until something holds; tell whether it does."""
        end = time.monotonic() + seconds
        while not (held := what()) and time.monotonic() < end:
            time.sleep(0.05)
        return held

    def more(self, symbol: str, events: int = 8) -> int:
        """Wait for further events of a function; return how many came."""
        before = self.counts()[symbol]
        self.until(lambda: self.counts()[symbol] >= before + events)
        tell(f"{self.counts()[symbol] - before} events of {symbol}")
        return self.counts()[symbol] - before

    def change(self, verb: str, spec: str) -> str:
        """Add or remove probes; return the sentence."""
        try:
            said = getattr(self.session, verb)(spec)
        except UserError as error:
            said = f"refused: {error}"
        tell(str(said))
        self.steps.append({"said": said, "events": len(self.trace), "probed": probed()})
        return str(said)

    def end(self) -> dict[str, Any]:
        """End; return everything there is to know."""
        self.session.stop()
        summary = self.session.join()
        self.trace.refresh()
        rows = [
            [
                e.instruction.symbol,
                e.instruction.offset,
                e.packet_id,
                str(e.found_by),
                e.instruction.addr2line,
            ]
            for e in self.trace.events(1, len(self.trace))
        ]
        blobs = self.trace.blob_names()
        self.trace.close()
        return {
            "steps": self.steps,
            "rows": rows,
            "lost": summary.lost,
            "asked": summary.probes_asked,
            "blobs": blobs,
            "messages": self.session.messages,
            "left": (TRACING / "kprobe_events").read_text(),
            "left_kprobes": probed(),
        }


def probed() -> dict[str, int]:
    """Return how many kprobes the kernel has on each function."""
    names = [line.split()[2].partition("+")[0] for line in KPROBES.read_text().splitlines()]
    return dict(Counter(names))


@contextlib.contextmanager
def pings(seconds: float = 0.05) -> Iterator[list[str]]:
    """Ping the loopback device meanwhile; what is yielded is ping's own counts afterwards."""
    command = shlex.split(f"ping -q -i {seconds} 127.0.0.1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        said.append(process.communicate()[0])


@contextlib.contextmanager
def one_descriptor() -> Iterator[None]:
    """Leave one descriptor free: of two perf events that arm probes, the kernel refuses the second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(2))
        os.close(taken.pop())
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def lines(folder: Path, vmlinux: Path) -> dict[str, Any]:
    """Lines of a function, instructions of it, what it calls; wrong ones; and all of it taken away again."""
    run = Run(folder / "lines.ktrace", vmlinux, specs=("ip_rcv",), max_probes=1000)
    told: dict[str, Any] = {}
    with pings() as said:
        told["before"] = run.more("ip_rcv")
        run.change("probe", "ip_local_deliver_finish:*")
        told["lines"] = run.more("ip_local_deliver_finish", 40)
        run.change("probe", "ip_local_deliver_finish:*")
        run.change("probe", "no_such_function:*")
        run.change("probe", "tcp_*+*")
        told["after_refusals"] = run.more("ip_local_deliver_finish", 40)
        run.change("probe", "ip_local_deliver_finish+*")
        told["instructions"] = run.more("ip_local_deliver_finish", 300)
        run.change("probe", "icmp_rcv")
        told["icmp_rcv"] = run.more("icmp_rcv")
        run.change("probe", "ip_append_data")
        told["ip_append_data"] = run.more("ip_append_data")
        run.change("unprobe", "icmp_rcv")
        run.change("unprobe", "ip_append_data")
        run.change("unprobe", "ip_local_deliver_finish:*")
        told["some_left"] = run.more("ip_local_deliver_finish", 40)
        run.change("unprobe", "ip_local_deliver_finish+*")
        time.sleep(0.3)
        gone = run.counts()
        told["goes_on"] = run.more("ip_rcv", 20)
        told["after_unprobe"] = run.counts()["ip_local_deliver_finish"] - gone["ip_local_deliver_finish"]
        run.change("unprobe", "ip_local_deliver_finish+*")
        with one_descriptor():
            run.change("probe", "ip_local_deliver_finish:*")
        told["after_failure"] = run.more("ip_rcv", 8)
        run.change("probe", "ip_local_deliver_finish:*")
        told["again"] = run.more("ip_local_deliver_finish", 40)
    time.sleep(0.3)
    told["ping"] = said[0]
    return told | run.end()


def many(folder: Path, vmlinux: Path) -> dict[str, Any]:
    """The entries of many functions at once, as a survey has them; one is expanded to lines, and folded."""
    kallsyms = Kallsyms.read()
    takers = {one.symbol.name for one in functions.survey(kallsyms, KernelTypes(Btf.read()), [])}
    chosen = sorted(name for name in takers if re.match(r"(ip|icmp|arp|udp|raw|neigh)_", name))
    run = Run(folder / "many.ktrace", vmlinux, specs=tuple(chosen))
    told: dict[str, Any] = {"functions": len(chosen)}
    with pings(0.2):
        told["before"] = run.more("ip_rcv_core")
        run.change("probe", "ip_rcv_core:*")
        told["lines"] = run.more("ip_rcv_core", 100)
        run.change("unprobe", "ip_rcv_core+*")
        told["still"] = run.more("ip_rcv")
    return told | run.end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        scene = {"lines": lines, "many": many}[sys.argv[1]]
        print(json.dumps(scene(Path(name), Path(sys.argv[2]))))
