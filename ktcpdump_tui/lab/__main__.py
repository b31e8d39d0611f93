"""``python -m ktcpdump_tui.lab``: fetch kernels, or run a command in a lab."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import threading
from pathlib import Path

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import packages, requirements, stock
from ktcpdump_tui.lab.lab import Lab
from ktcpdump_tui.lab.progress import Progress


def main() -> int:
    """Run the subcommand; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ktcpdump_tui.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("fetch", help="fetch kernels into the cache")
    fetch.add_argument("versions", nargs="*", default=list(stock.VERSIONS), metavar="VERSION")
    fetch.add_argument("--newest", action="store_true", help="even if an older release is here")
    run = commands.add_parser("run", help="boot, run one shell command as root, take the machine down")
    run.add_argument("--log", type=Path, help="keep the guest's console in this file")
    run.add_argument("--memory", type=int, default=2048, metavar="MiB")
    run.add_argument("version", metavar="VERSION")
    run.add_argument("line", metavar="COMMAND")
    options = parser.parse_args()
    progress = Progress()
    try:
        if options.command == "fetch":
            requirements.check()
            for version in options.versions:
                kernel = packages.fetch(version, progress, newest=options.newest)
                print(f"{version}: {kernel.release} in {kernel.root}")  # noqa: T201
            return 0
        with Lab(options.version, memory_mib=options.memory, log=options.log, progress=progress) as lab:
            progress.say(f"up after {lab.boot_seconds:.1f} s")
            process = lab.run(options.line)
            signal.signal(signal.SIGINT, lambda *_: process.interrupt())
            errors = threading.Thread(target=shutil.copyfileobj, args=(process.stderr, sys.stderr.buffer, 1))
            errors.start()
            while data := process.stdout.read1():  # type: ignore[attr-defined]
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            errors.join()
            return process.wait() & 0xFF
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"ktcpdump_tui.lab: {error}", file=sys.stderr)  # noqa: T201
        return error.status


if __name__ == "__main__":
    sys.exit(main())
