"""What a packet that does not match pays for probes on ip_rcv_core: python tests/bench/bench_probe_cost.py

Printed as ratios of what the probes add: to an empty BPF program on the same probes (the floor: the
traps themselves), and line mode to instruction mode.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ktcpdump_tui.lab import Lab


def main() -> None:
    """Run on the kernels named, or on both."""
    inside = Path(__file__).with_name("probe_cost_inside.py")
    for version in sys.argv[1:] or ("6.12", "6.1"):
        with Lab(version) as lab:
            command = [sys.executable, str(inside), str(lab.vmlinux)]
            costs = json.loads(lab.check_output(command, timeout=900).splitlines()[-1])
        added = {
            spec: {name: value - cost["none"] for name, value in cost.items()} for spec, cost in costs.items()
        }
        for spec, cost in costs.items():
            times = ", ".join(f"{name} {value / 1000:.1f} us" for name, value in cost.items())
            ours, floor = added[spec]["ours"], added[spec]["empty"]
            print(f"{version}: {spec}: {times}; ours / floor {ours / floor:.2f} (at most 1.3)")
        every, lines = (added[spec]["ours"] for spec in costs)
        print(f"{version}: lines / instructions {lines / every:.2f} (at most 0.35)")


if __name__ == "__main__":
    main()
