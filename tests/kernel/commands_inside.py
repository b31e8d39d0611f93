"""Runs in the guest: several command lines of the program, told as JSON.

Every one runs in a process of its own, from the program's entry point to its exit status; they share what an
emulated machine needs longest for, Python's imports.

    python commands_inside.py '[{"words": ["--check"], "before": "", "after": ""}, ...]'
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import ktcpdump_tui.capture.session
import ktcpdump_tui.commands.live_session
import ktcpdump_tui.commands.report  # noqa: F401  # what the command lines would import
from ktcpdump_tui.cli import entry_point
from ktcpdump_tui.options import PROGRAM


def become(words: list[str], out: int, err: int) -> None:
    """Be the program: its arguments, its outputs; never returns."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = [PROGRAM, *words]
    status = 1
    try:
        entry_point()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def told(case: dict[str, Any]) -> dict[str, Any]:
    """Run one command line between the shell commands around it."""
    subprocess.run(case["before"], shell=True, check=True)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            become(case["words"], out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    subprocess.run(case["after"], shell=True, check=True)
    return {"status": os.waitstatus_to_exitcode(status), "stdout": texts[0], "stderr": texts[1]}


if __name__ == "__main__":
    print(json.dumps([told(case) for case in json.loads(sys.argv[1])]))
