"""What the kernel tests share: this program run in the lab, and traffic once its probes are attached."""

from __future__ import annotations

import json
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ktcpdump_tui.lab.capture import READY_FILE, compile_package, program, program_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ktcpdump_tui.lab import Lab

#: Both, always: a feature that works on one of them only does not work.
VERSIONS = ("6.12", "6.1")


@dataclass
class Captured:
    """What one run left: exit status, both outputs, seconds from its start until its probes were attached."""

    status: int
    stdout: bytes
    stderr: str
    ready_after: float | None

    @property
    def text(self) -> str:
        """stdout as text."""
        return self.stdout.decode()

    @property
    def json(self) -> list[dict[str, Any]]:
        """stdout's JSON objects, header and summary included."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass(frozen=True)
class Command:
    """One command line of the program, and what the shell does before and after it."""

    words: Sequence[str]
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Told:
    """What a command line left."""

    status: int
    stdout: str
    stderr: str


def commands(lab: Lab, cases: Sequence[Command], *, timeout: float = 240) -> list[Told]:
    """Run the program with each of these command lines, one after the other, in the guest.

    They do not pay for its imports each: see commands_inside.py.
    """
    compile_package()
    inside = str(Path(__file__).with_name("commands_inside.py"))
    text = json.dumps([asdict(case) for case in cases])
    told = lab.check_output([sys.executable, inside, text], timeout=timeout, env=program_environment())
    return [Told(**one) for one in json.loads(told)]


def capture(
    lab: Lab,
    arguments: Sequence[str],
    *,
    traffic: str | None = None,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Captured:
    """Run ``ktcpdump-tui ARGUMENTS`` in the guest.

    ``traffic`` is a shell command for the guest, started when the probes are attached; when it ends, the
    capture is interrupted as by Ctrl-C. Where the capture ends first (``-c``), the traffic is stopped.
    Without ``traffic`` the capture must end by itself. AssertionError if the traffic fails, and unless the
    capture exits with 0 where ``check``; TimeoutError after ``timeout`` seconds.
    """
    compile_package()
    started = time.monotonic()
    ready_after = None
    lab.check_output(["rm", "-f", READY_FILE])
    options = ["--ready-file", READY_FILE] if traffic else []
    if "--max-cpu" not in arguments:
        options += ["--max-cpu", "0"]  # emulated traps are slow, and nobody is kept from anything here
    process = lab.run(program(*options, *arguments), env=program_environment() | dict(env or {}))
    with ThreadPoolExecutor(1, thread_name_prefix="capture") as pool:
        outputs = pool.submit(process.communicate, timeout)
        if traffic:
            waiting = lab.run(f"until [ -e {READY_FILE} ]; do sleep 0.1; done")
            outputs.add_done_callback(lambda _: waiting.kill())
            waiting.communicate()
            if waiting.wait() == 0:
                ready_after = time.monotonic() - started
                generator = lab.run(traffic)
                outputs.add_done_callback(lambda _: generator.kill())
                said, complaints = generator.communicate(timeout)
                stopped = outputs.done()
                process.interrupt()
                if generator.wait() and not stopped:
                    raise AssertionError(f"traffic {traffic!r} failed:\n{(said + complaints).decode()}")
        stdout, stderr = outputs.result()
    result = Captured(process.wait(), stdout, stderr.decode(errors="replace"), ready_after)
    if check and result.status:
        raise AssertionError(
            f"ktcpdump-tui {shlex.join(arguments)} exited with {result.status}:\n{result.stderr}"
        )
    return result
