"""The BPF program of one capture, from what it is asked and the kernel it runs on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture.hooks import copy_origins, morph_range, return_trampolines
from ktcpdump_tui.capture.program import Program, ProgramText, Selection
from ktcpdump_tui.kernel.stacks import interrupt_stacks, possible_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.target import TargetKernel

#: Bytes of the two ring buffers: at 480 bytes an event, 16 MiB is 35,000 events the worker may be behind.
EVENT_RING: Final = 16 << 20
NOTE_RING: Final = 8 << 20

#: Probes that may be added while the capture runs, as a multiple of --max-probes: entries and exits that
#: only keep track of frames come on top.
ROOM: Final = 2


@contextmanager
def compiling(text: ProgramText) -> Iterator[Future[Program]]:
    """Compile and load beside what the caller does, whose errors leave nothing loaded.

    clang runs outside Python's lock, and takes longer than all the rest of a start.
    """
    with ThreadPoolExecutor(1, "bpf-compiler") as pool:
        future = pool.submit(Program, text)
        try:
            yield future
        except BaseException:
            if not future.cancel() and future.exception() is None:
                future.result().close()
            raise


def program_text(
    options: CaptureOptions, kernel: TargetKernel, targets: int, extra_code: tuple[str, int]
) -> ProgramText:
    """Return the text of the program that follows packets through ``targets`` functions or addresses.

    ``extra_code`` is C for --capture and the bytes it needs.
    """
    extra, extra_bytes = extra_code
    return ProgramText(
        layout=kernel.layout,
        filter_c=kernel.filter_c,
        selection=Selection(options.netns, options.ifname, options.mark),
        snaplen=options.snaplen,
        stack_bytes=options.stack_bytes,
        # The plan comes later: what is asked, and as much again while it runs; the tracer's entries.
        instructions=2 * ROOM * options.max_probes + (targets if kernel.multi else 0),
        event_bytes=options.ring_bytes or EVENT_RING,
        note_bytes=NOTE_RING,
        origins=copy_origins(kernel.kallsyms),
        extra=extra,
        extra_bytes=extra_bytes,
        multi=kernel.multi,
        morph=morph_range(kernel.kallsyms),
        cpus=possible_cpus(),
        stacks=interrupt_stacks(kernel.kallsyms, kernel.memory, kernel.btf),
        trampolines=return_trampolines(kernel.kallsyms),
    )
