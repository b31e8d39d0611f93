"""How long variables take: reading them, keeping them, and showing them at an event.

    python tests/bench/bench_variables.py [RELEASE ...]

Each figure is the best of five processes, in CPU seconds (user + system; a busy machine disturbs them less),
with the files in the page cache. Ratios are to what stands beside it in the same run: pyelftools walking the
same entries of net/core/dev.c, and the cold table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 5
FUNCTION = "__netif_receive_skb_core.constprop.0"

CHILD = r"""
import json, resource, sys
def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
path, name, stage, folder = sys.argv[1:]
from pathlib import Path
from ktcpdump_tui import model
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables import VariableTable, build_table, variables
from ktcpdump_tui.debuginfo.variables.btf_types import known_types
from ktcpdump_tui.debuginfo.variables.cached import table_bytes
from ktcpdump_tui.debuginfo.variables.entries import Entries
from ktcpdump_tui.debuginfo.expressions import compile_expression
from ktcpdump_tui.kernel.btf import Btf
image = DebugImage.open(Path(path))
symbol = image.symbols.named(name)[0]
result = {"low": symbol.address, "size": symbol.size}

def walk(die):
    children = die.children() if hasattr(die, "children") else die.iter_children()
    return 1 + sum(walk(child) for child in children)

if stage in ("our entries", "pyelftools"):
    offset = image.units.at(symbol.address).offset
    unit = image.dwarf.get_CU_at(offset) if stage == "pyelftools" else Entries(image.reader).unit(offset)
    start = cpu()
    top = unit.get_top_DIE() if stage == "pyelftools" else unit.entry(unit.unit.first)
    result["count"] = walk(top)
elif stage == "types of a packet":
    data = bytes(image.section_bytes(".BTF"))
    start = cpu()
    result["bytes"] = len(known_types(Btf(data)).to_bytes())
elif stage in ("table cold", "table cached"):
    start = cpu()
    data = table_bytes(image, [symbol.address], 0, DiskCache(Path(folder)))
    result["bytes"] = len(data)
else:
    table = VariableTable.from_bytes(build_table(image, [symbol.address]).to_bytes())
    memory = model.Memory((model.Region(0xFFFF888100000000 - 4096, bytes(8192)),))
    def event(number):
        address = symbol.address + number * 7 % symbol.size
        return model.Event(
            no=number, ts=0, cpu=0, pid=0, comm="", packet_id=1, skb=0xFFFF888100000000, len=0, dev=None,
            netns=None, instruction=model.Instruction(0, address, name, 0), found_by=model.FoundBy.FRAME,
            cfa=0xFFFF888100000000, regs=(0xFFFF888100000000,) * 18, memory=memory)
    events = [event(number) for number in range(1000)]
    if stage == "1000 events, all values":
        start = cpu()
        result["count"] = sum(one.value is not None for item in events for one in variables(item, table))
    else:
        watch = compile_expression("skb->len > 1500", table.types)
        start = cpu()
        result["count"] = sum(watch.evaluate(item, table).value is not None for item in events)
result["cpu"] = cpu() - start
result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(result))
"""


def measure(image: Path, stage: str) -> dict[str, float]:
    """Return the best of RUNS processes."""
    best: dict[str, float] | None = None
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", CHILD, str(image), FUNCTION, stage, folder]
            if stage == "table cached":
                subprocess.run([*command[:-2], "table cold", folder], check=True, capture_output=True)
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        if best is None or found["cpu"] < best["cpu"]:
            best = found
    assert best is not None
    return best


def main() -> None:
    """Print the table of each kernel."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
    images = sorted(base.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
    wanted = sys.argv[1:]
    for image in images:
        release = image.name.removeprefix("vmlinux-")
        if wanted and not any(release.startswith(one) for one in wanted):
            continue
        ours, theirs = measure(image, "our entries"), measure(image, "pyelftools")
        cold, cached = measure(image, "table cold"), measure(image, "table cached")
        packet = measure(image, "types of a packet")
        values, watch = measure(image, "1000 events, all values"), measure(image, "1000 events, a watch")
        assert ours["count"] == theirs["count"]
        print(f"{release}: {FUNCTION}, {int(cold['size'])} bytes of code")
        print(
            f"  all {int(ours['count'])} entries of its unit: {ours['cpu']:.3f} s",
            ratio(ours, theirs, "pyelftools"),
        )
        print(
            f"  table, cold: {cold['cpu']:.3f} s, {int(cold['bytes'])} bytes",
            ratio(cold, theirs, "those entries"),
        )
        print(f"  table, cached: {cached['cpu']:.4f} s", ratio(cached, cold, "cold"))
        print(f"  types of a packet from BTF: {packet['cpu']:.3f} s, {int(packet['bytes'])} bytes")
        print(f"  all values of an event: {values['cpu'] * 1000:.0f} us")
        print(f"  a watch at an event: {watch['cpu'] * 1000:.0f} us", ratio(watch, values, "all values"))
        print(f"  peak memory of the process: {cold['memory'] / 1e6:.0f} MB, pages of the file included")


def ratio(one: dict[str, float], other: dict[str, float], name: str) -> str:
    """Return ``= N x name``."""
    return f"= {one['cpu'] / other['cpu']:.3f} x {name}"


if __name__ == "__main__":
    main()
