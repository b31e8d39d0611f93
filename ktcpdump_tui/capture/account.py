"""What a capture says of itself: its trace's header at the beginning, its counts at the end."""

from __future__ import annotations

import platform
import socket
import time
from typing import TYPE_CHECKING, Final

from ktcpdump_tui import __version__, arch
from ktcpdump_tui.errors import UsageError
from ktcpdump_tui.model import ProbeState, Summary, TraceHeader

if TYPE_CHECKING:
    from ktcpdump_tui.capture.entries import ProbeSet
    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.plan import Plan
    from ktcpdump_tui.capture.target import TargetKernel
    from ktcpdump_tui.capture.worker import Worker

#: More functions than these are counted, not named one by one.
_NAMED: Final = 3


def header(options: CaptureOptions, kernel: TargetKernel, plan: Plan) -> TraceHeader:
    """Return the header of a trace that begins now."""
    boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    modules = {one.module for one in plan.instructions if one.module}
    return TraceHeader(
        version=__version__,
        release=platform.release(),
        machine=arch.MACHINE,
        build_id=kernel.build_id,
        command_line=options.command_line,
        clock_offset=time.clock_gettime_ns(time.CLOCK_REALTIME) - boottime,
        started=boottime,
        slide=kernel.slide,
        expression=options.expression,
        specs=options.specs,
        snaplen=options.snaplen,
        stack_bytes=options.stack_bytes,
        debug_image=str(kernel.debug_image) if kernel.debug_image else None,
        hostname=socket.gethostname(),
        modules=kernel.section_addresses(modules),
    )


def summary(plan: Plan, worker: Worker, counts: dict[str, int]) -> Summary:
    """Return the summary: ``counts`` are the latest ones (packets, events lost or truncated by cause)."""
    states = [one.probe for one in plan.instructions]
    attached = states.count(ProbeState.ATTACHED)
    refused = states.count(ProbeState.REFUSED)
    return Summary(
        events=worker.counts.stored,
        packets=counts.get("packets", 0),
        derived=counts.get("derived", 0),
        probes_asked=attached + refused,
        probes_attached=attached,
        probes_refused=refused,
        lost=_of_kind(counts, "lost: "),
        truncated=_of_kind(counts, "truncated: "),
        ended_by=worker.ended_by,
    )


def refuse_too_many(probes: ProbeSet, most: int) -> None:
    """Raise UsageError where what only follows frames makes it more than ``most`` probes."""
    needed = len(probes.entries) + len(probes.others)
    if needed > most:
        raise UsageError(
            f"these SPECs need {needed:,} probes with those that follow frames, and {most:,} are allowed",
            "leave out the functions without a packet of their own (their callers' ends are probed too), "
            "or raise --max-probes",
        )


def without_entries(plan: Plan, refused: dict[int, str]) -> list[str]:
    """Return sentences on the functions whose entry the kernel refuses: {address: why} of ``refused``."""
    by_reason: dict[str, list[str]] = {}
    for function in plan.functions:
        if function.entry in refused:
            by_reason.setdefault(refused[function.entry], []).append(function.function)
    said = []
    for why, names in by_reason.items():
        if len(names) <= _NAMED:
            said += [
                f"{name}: no packet is known in it, the kernel refuses its entry ({why})" for name in names
            ]
        else:
            some = ", ".join(names[:_NAMED])
            said.append(
                f"no packet is known in {len(names)} functions, the kernel refuses their entries ({why}): "
                f"{some} ... (--list names all)"
            )
    return said


def _of_kind(counts: dict[str, int], kind: str) -> dict[str, int]:
    return {name.removeprefix(kind): n for name, n in counts.items() if name.startswith(kind)}
