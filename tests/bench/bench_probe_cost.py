"""What a packet that does not match pays for probes on ip_rcv_core: python tests/bench/bench_probe_cost.py

Printed as ratios of what the probes add: to an empty BPF program on the same addresses (the floor: the
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
            cost = json.loads(
                lab.check_output([sys.executable, str(inside), str(lab.vmlinux)], timeout=900).splitlines()[
                    -1
                ]
            )
        added = {name: value - cost["none"] for name, value in cost.items()}
        floor = (added["empty +*"] + added["empty +* again"]) / 2
        print(f"{version}: " + ", ".join(f"{name} {value / 1000:.0f} us" for name, value in cost.items()))
        print(
            f"{version}: ours / floor {added['ours +*'] / floor:.2f} (at most 1.3), "
            f"lines / instructions {added['ours :*'] / added['ours +*']:.2f} (at most 0.35), "
            f"floor repeats within {abs(added['empty +*'] / added['empty +* again'] - 1):.0%}"
        )


if __name__ == "__main__":
    main()
