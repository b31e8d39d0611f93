"""Seconds from the start to the first event with -d, and peak memory: python tests/bench/bench_startup.py

In the VM, beside the least any BCC tool needs (one probe, one event) in the same run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ktcpdump_tui.lab import Lab
from ktcpdump_tui.lab.capture import compile_package, program_environment


def main() -> None:
    """Run on the kernels named, or on both."""
    inside = Path(__file__).with_name("startup_inside.py")
    compile_package()
    for version in sys.argv[1:] or ("6.12", "6.1"):
        with Lab(version) as lab:
            command = [sys.executable, str(inside), str(lab.vmlinux)]
            output = lab.check_output(command, timeout=500, env=program_environment())
        told = json.loads(output.splitlines()[-1])
        for name, one in told.items():
            base = told["bare BCC, cold" if name.endswith("cold") else "bare BCC, warm"]
            print(
                f"{version}: {name}: first event after {one['seconds']:.1f} s "
                f"({one['seconds'] / base['seconds']:.1f} x bare BCC; at most 30 s), "
                f"peak {one['peak MB']:.0f} MB (at most 400)",
                flush=True,
            )


if __name__ == "__main__":
    main()
