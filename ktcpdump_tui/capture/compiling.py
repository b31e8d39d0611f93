"""The BPF program of one capture, from what it is asked and the kernel it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.hooks import copy_origins, morph_range, return_trampolines
from ktcpdump_tui.capture.program import Program, ProgramText, Selection
from ktcpdump_tui.kernel.stacks import interrupt_stacks, possible_cpus

if TYPE_CHECKING:
    from ktcpdump_tui.capture.entries import ProbeSet
    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.target import TargetKernel

#: Bytes of the two ring buffers: at 480 bytes an event, 16 MiB is 35,000 events the worker may be behind.
EVENT_RING: Final = 16 << 20
NOTE_RING: Final = 8 << 20

#: Probes that may be added while the capture runs, as a multiple of --max-probes: entries and exits that
#: only keep track of frames come on top.
ROOM: Final = 2


def compiled(
    options: CaptureOptions, kernel: TargetKernel, probes: ProbeSet, extra_code: tuple[str, int]
) -> Program:
    """Return the loaded program; ``extra_code`` is C for --capture and the bytes it needs. Takes seconds."""
    extra, extra_bytes = extra_code
    return Program(
        ProgramText(
            layout=kernel.layout,
            filter_c=kernel.filter_c,
            selection=Selection(options.netns, options.ifname, options.mark),
            snaplen=options.snaplen,
            stack_bytes=options.stack_bytes,
            instructions=len(probes.table) + ROOM * options.max_probes,
            event_bytes=options.ring_bytes or EVENT_RING,
            note_bytes=NOTE_RING,
            origins=copy_origins(kernel.kallsyms),
            extra=extra,
            extra_bytes=extra_bytes,
            multi=bool(probes.tracer),
            morph=morph_range(kernel.kallsyms),
            cpus=possible_cpus(),
            stacks=interrupt_stacks(kernel.kallsyms, kernel.memory, kernel.btf),
            trampolines=return_trampolines(kernel.kallsyms),
        )
    )
