"""How long debug information takes, side by side with eu-addr2line on the same addresses in the same run.

    python tests/bench/bench_debuginfo.py [RELEASE ...]

Each figure is from a process of its own, the best of five. "cold" is an empty cache of ours; the files are in
the page cache. CPU seconds (user + system) are compared as well as elapsed ones: a busy machine disturbs them
less. Imports (capstone's alone are half of them) are told apart: a capture does them while clang compiles.
Memory is the highest resident size over that of the bare interpreter, pages of mapped files included; then
how much of what is there at the end is anonymous, and how much is pages of files.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FUNCTION = "__netif_receive_skb_core"
STAGES = ("first line", "plan cold", "plan cached")
RUNS = 5

CHILD = r"""
import json, resource, sys, time
def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "RssFile")]
def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
path, stage, cache, addresses = sys.argv[1], sys.argv[2], sys.argv[3], json.load(sys.stdin)
before, start, cpu_start = resident(), time.perf_counter(), cpu()
from pathlib import Path
from ktcpdump_tui.debuginfo.annotate import annotate
from ktcpdump_tui.debuginfo.cache import DiskCache
from ktcpdump_tui.debuginfo.disasm import disassemble
from ktcpdump_tui.debuginfo.image import DebugImage
from ktcpdump_tui.debuginfo.variables.cached import table_bytes
imported, cpu_imported = time.perf_counter(), cpu()
image = DebugImage.open(Path(path))
image.build_id
if stage == "first line":
    image.source_line(addresses[40])
else:
    # What is not timed here is the kernel's symbol table: a capture has it in memory.
    first, kept = addresses[0], DiskCache(Path(cache))
    section = image.elf.section(".text")
    at = first - section.address
    code = bytes(image.elf.data(section)[at : at + addresses[-1] + 1 - first])
    plan = disassemble(code, first, lambda address: f"f+{address - first}")
    plan = [one for one in plan if one.address in set(addresses)]
    annotated = annotate(plan, image, 0, {}, kept)
    assert all(one.source and one.inlined_by and one.frame and one.text for one in annotated)
    assert len(table_bytes(image, [first], 0, kept)) > 10_000
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({
    "elapsed": time.perf_counter() - start, "imports": imported - start,
    "cpu": cpu() - cpu_start, "cpu_imports": cpu_imported - cpu_start, "memory": peak - before[0],
    "anonymous": resident()[1] - before[1], "file": resident()[2] - before[2],
}))
"""


def kernels(releases: list[str]) -> list[Path]:
    """Return the stock kernels in the lab's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ktcpdump-tui" / "lab"
    found = sorted(base.glob("*/root/usr/lib/debug/boot/vmlinux-*"))
    return [path for path in found if not releases or any(release in path.name for release in releases)]


def instructions(path: Path) -> list[int]:
    """Return the addresses of the function's instructions, without padding."""
    import capstone

    from ktcpdump_tui.debuginfo.image import DebugImage

    with DebugImage.open(path) as image:
        names = [name for name in (FUNCTION, f"{FUNCTION}.constprop.0") if image.symbols.named(name)]
        symbol = image.symbols.named(names[0])[0]
        section = image.elf.section(".text")
        assert section
        start = symbol.address - section.address
        code = bytes(image.elf.data(section)[start : start + symbol.size])
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [at for at, _, name, _ in decoder.disasm_lite(code, symbol.address) if name not in ("int3", "ud2")]


def ours(path: Path, stage: str, cache: Path, addresses: list[int]) -> dict[str, float]:
    """Run one stage in a fresh interpreter."""
    output = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), stage, str(cache)],
        input=json.dumps(addresses),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout
    return dict(json.loads(output))


def eu_addr2line(path: Path, addresses: list[int]) -> tuple[float, float]:
    """Return the elapsed and the CPU seconds eu-addr2line takes for the same addresses."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start, cpu_start = time.perf_counter(), cpu()
    text = "".join(f"{at:#x}\n" for at in addresses)
    command = ["eu-addr2line", "-e", str(path), "-i", "-f"]
    subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, cpu() - cpu_start


def main() -> None:
    """Print a line for each stage and kernel."""
    for path in kernels(sys.argv[1:]):
        addresses = instructions(path)
        print(f"{path.name}: {FUNCTION}, {len(addresses)} instructions")
        witness = {
            "first line": min(eu_addr2line(path, addresses[40:41]) for _ in range(RUNS)),
            "plan cold": eu_addr2line(path, addresses),  # many seconds: once is enough
        }
        with tempfile.TemporaryDirectory() as folder:
            for stage in STAGES:
                places = [Path(folder) / (str(run) if stage == "plan cold" else "0") for run in range(RUNS)]
                runs = [ours(path, stage, place, addresses) for place in places]
                best = {key: min(run[key] for run in runs) for key in runs[0]}
                elapsed, cpu = witness.get(stage, witness["plan cold"])
                print(
                    f"  {stage:11} {best['elapsed']:.3f} s elapsed (of it imports {best['imports']:.3f}), "
                    f"{best['cpu']:.3f} s CPU (imports {best['cpu_imports']:.3f}), memory "
                    f"+{best['memory'] / 1e6:.0f} MB ({best['anonymous'] / 1e6:.0f} anonymous, "
                    f"{best['file'] / 1e6:.0f} of files) | eu-addr2line -i -f "
                    f"{elapsed:.3f} s, {cpu:.3f} s CPU | ratio of CPU {best['cpu'] / cpu:.3f}, without "
                    f"imports {(best['cpu'] - best['cpu_imports']) / cpu:.3f}"
                )


if __name__ == "__main__":
    main()
