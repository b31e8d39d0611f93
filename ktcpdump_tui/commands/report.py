"""What only reports: ``--check`` this machine, ``--list`` what a SPEC would probe."""

from __future__ import annotations

import shutil
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ktcpdump_tui.commands.console import say
from ktcpdump_tui.commands.requirements import check_live, requirements
from ktcpdump_tui.model import ProbeState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ktcpdump_tui.model import Instruction
    from ktcpdump_tui.options import Options


def report(options: Options) -> int:
    """Print the report ``options`` ask for, of this machine or of a lab's; return the exit status."""
    if options.lab is not None:
        return _in_lab(options)
    if options.check:
        return _check()
    return _list(options)


def _check() -> int:
    """Print every requirement; 1 if one that is not optional is missing."""
    status = 0
    for each in requirements():
        if each.problem is None:
            _print(f"ok       {each.name}: {each.found}")
            continue
        _print(f"{'without' if each.optional else 'MISSING'}  {each.name}: {each.problem}")
        if each.remedy:
            _print(f"         {each.remedy}")
        if not each.optional:
            status = 1
    return status


def _list(options: Options) -> int:
    """Print the plan of a SPEC: a line for each instruction, with its state and why."""
    from ktcpdump_tui.capture.target import MANY_ENTRIES, TargetKernel
    from ktcpdump_tui.commands.live_session import capture_options

    check_live()
    assert options.list is not None
    wanted = capture_options(replace(options, specs=(options.list,)))
    kernel = TargetKernel.running(wanted)
    try:
        plan = kernel.plan(wanted)
        few = len(plan.functions) <= MANY_ENTRIES
        instructions = kernel.symbols.annotate(plan.instructions, frozenset() if few else plan.entry_only)
    finally:
        kernel.close()
    for line in listing(instructions):
        _print(line)
    states = [one.probe for one in instructions]
    attached, refused = states.count(ProbeState.ATTACHED), states.count(ProbeState.REFUSED)
    say(f"{attached} probes, {refused} refused, {len(states) - attached - refused} left out")
    return 0


def listing(instructions: Sequence[Instruction]) -> list[str]:
    """Return the lines of ``--list``: address, symbol+offset, instruction, line, why no probe."""
    rows = [
        (f"{one.address:x}", one.ksym, one.text, one.addr2line if one.source else "", _why(one))
        for one in instructions
    ]
    titles = ("pc", "ksym", "instruction", "addr2line", "")
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(4)]
    lines = []
    for row in (titles, *rows):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        lines.append(" ".join([*cells, row[4]]).rstrip())
    return lines


def _why(one: Instruction) -> str:
    if one.probe is ProbeState.ATTACHED:
        return ""
    return f"{one.probe.value}: {one.refusal}" if one.refusal else f"{one.probe.value}: not in SPEC"


def _in_lab(options: Options) -> int:
    """Run the report in a lab, and pass on what it prints."""
    from ktcpdump_tui.lab import Lab, LabCapture, Progress

    version = None if options.lab == "default" else options.lab
    with Lab(version, progress=Progress()) as lab:
        image = str((options.debug_image or lab.vmlinux).absolute())
        words = ["--check"] if options.check else ["--list", str(options.list), "-d", image]
        with LabCapture(lab, words, traffic=False, on_message=say) as running:
            copying = threading.Thread(
                target=shutil.copyfileobj, args=(running.stdout, sys.stdout.buffer), name="lab-report"
            )
            copying.start()
            copying.join()
            sys.stdout.flush()
            return running.wait()


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201
