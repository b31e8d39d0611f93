"""``python -m ktcpdump_tui.lab``: fetch kernels, or run a command in a lab."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ktcpdump_tui.errors import UserError
from ktcpdump_tui.lab import packages, requirements, stock
from ktcpdump_tui.lab.lab import Lab
from ktcpdump_tui.lab.progress import Progress

if TYPE_CHECKING:
    from ktcpdump_tui.lab.process import PortStream


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
            requirements.check_apt()
            for version in options.versions:
                kernel = packages.fetch(version, progress, newest=options.newest)
                print(f"{version}: {kernel.release} in {kernel.root}")  # noqa: T201
            return 0
        with Lab(options.version, memory_mib=options.memory, log=options.log, progress=progress) as lab:
            progress.say(f"up after {lab.boot_seconds:.1f} s")
            process = lab.run(options.line)
            signal.signal(signal.SIGINT, lambda *_: process.interrupt())
            errors = threading.Thread(target=copy, args=(process.streams[1], 2), daemon=True)
            errors.start()
            copy(process.streams[0], 1)
            errors.join()
            return process.wait() & 0xFF
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except UserError as error:
        print(f"ktcpdump_tui.lab: {error}", file=sys.stderr)  # noqa: T201
        return error.status


def copy(stream: PortStream, descriptor: int) -> None:
    """Copy ``stream`` to ``descriptor`` as it comes, to its end."""
    while data := stream.read(65536):
        while data:
            data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    sys.exit(main())
