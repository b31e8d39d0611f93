"""One live capture, from SPECs to a finished trace."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ktcpdump_tui.capture import account
from ktcpdump_tui.capture.attach import KprobeEvents
from ktcpdump_tui.capture.compiling import ROOM, compiling, program_text
from ktcpdump_tui.capture.entries import ProbeSet, probe_set
from ktcpdump_tui.capture.guard import TRAP_NS, RateGuard, measure_trap
from ktcpdump_tui.capture.hooks import BUILDER, hook_addresses
from ktcpdump_tui.capture.later import HitTap, LaterLines
from ktcpdump_tui.capture.multi import attach_multi
from ktcpdump_tui.capture.notetap import FreeTap
from ktcpdump_tui.capture.program import drop_reasons
from ktcpdump_tui.capture.ring import RecordRing, RowRing
from ktcpdump_tui.capture.target import MANY_ENTRIES, TargetKernel
from ktcpdump_tui.capture.traffic import Traffic
from ktcpdump_tui.capture.worker import Worker
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.trace import blobs
from ktcpdump_tui.trace.layout import event_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from ktcpdump_tui.capture.options import CaptureOptions
    from ktcpdump_tui.capture.plan import Plan
    from ktcpdump_tui.capture.prober import Prober
    from ktcpdump_tui.capture.program import Program
    from ktcpdump_tui.debuginfo.debuginfod import Debuginfod
    from ktcpdump_tui.model import Summary
    from ktcpdump_tui.trace.sink import TraceSink

    #: What is being done, how much of it is done, of how much (0: unknown).
    Progress = Callable[[str, int, int], None]

#: Seconds that events already on their way get when the traffic has ended.
_LINGER: Final = 0.3

#: Seconds without an event after which the packets of --packets are taken to have come to rest.
_SETTLED: Final = 1.0


class CaptureSession:
    """Runs one capture into ``sink``.

    ``start`` does everything up to armed probes and raises what the user has to know; from then on a worker
    thread fills the sink until a limit, ``stop``, or the rate guard. ``join`` waits, cleans the kernel up and
    returns the summary. ``close`` may be called at any time and leaves nothing behind.
    """

    def __init__(
        self,
        options: CaptureOptions,
        sink: TraceSink,
        progress: Progress | None = None,
        debuginfod: Debuginfod | None = None,
    ) -> None:
        self.options = options
        self._debuginfod = debuginfod
        self.sink = sink
        self.summary: Summary | None = None
        self.plan: Plan | None = None
        self.messages: list[str] = []
        self._progress = progress or (lambda _what, _done, _of: None)
        self._kernel: TargetKernel | None = None
        self._events: KprobeEvents | None = None
        self._program: Program | None = None
        self._rings: tuple[RowRing, RecordRing] | None = None
        self._worker: Worker | None = None
        self._guard: RateGuard | None = None
        self._traffic: Traffic | None = None
        self._tap: FreeTap | None = None
        self._into: TraceSink = sink
        self._counts: dict[str, int] = {}
        self._tracer: list[int] = []
        self._prober: Prober | None = None
        #: Held while probes are added or removed.
        self._changing = threading.Lock()
        #: Held while the debug symbols are read: their files have one position each.
        self._reading = threading.Lock()
        self._trap = TRAP_NS
        self._trap_site: int | None = None
        self._link = -1
        self._lines: LaterLines | None = None
        self._started = 0.0
        #: How many events were stored, and since when it is so many.
        self._last_stored = 0, 0.0
        self._new = threading.Event()
        self._cancelled = threading.Event()

    def start(self) -> None:
        """Attach; when this returns, probes are armed. Raises UserError and UsageError, and cleans up."""
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        options = self.options
        self._progress("reading the kernel's symbols and types", 0, 0)
        kernel = self._kernel = TargetKernel.running(options, self._debuginfod)
        targets = kernel.targets(options)
        text = program_text(options, kernel, len(targets), kernel.capture_code(options.captures))
        self._progress("compiling the BPF program", 0, 0)
        with compiling(text) as compiled:
            from ktcpdump_tui.capture.prober import Prober

            plan = kernel.plan(options, targets)
            probes = probe_set(plan, kernel.leaves_of, kernel.multi)
            account.refuse_too_many(probes, ROOM * options.max_probes)
            plan = plan.refused(probes.unknown_frames)
            plan = self._define(kernel, plan, probes)
            entry_only = plan.entry_only if len(plan.functions) > MANY_ENTRIES else frozenset()
            told = [one for one in plan.instructions if one.index not in entry_only]
            tables = kernel.variable_tables(told) if options.variables else {}
            if not entry_only:
                plan = replace(plan, instructions=tuple(kernel.symbols.annotate(plan.instructions)))
            tables |= kernel.names()
            self.messages += kernel.without_symbols(plan.instructions)
            if options.guard:
                self._trap_site = kernel.trap_site()
            self._progress("compiling the BPF program", 0, 0)
            program = self._program = compiled.result()
        program.load_instructions(probes.table.values())
        program.set_packet_limit(options.packets or 0)
        self.plan = plan
        self._write_beginning(kernel, plan, tables)
        if entry_only:
            # The lines of thousands of entries take longer than their probes: they come while it runs.
            hits = HitTap(self._into, event_dtype(options.stack_bytes))
            self._lines = LaterLines(entry_only, hits, self.sink, self._look_up, self._write_plan)
            self._into = hits
        self._arm(program)
        assert self._events is not None
        self._prober = Prober(
            kernel, program, self._events, self.sink, plan, probes, options.max_probes, self._progress,
            self._cancelled.is_set, self.messages,
        )  # fmt: skip
        if self._lines is not None:
            self._lines.start()

    def _look_up(self, entries: list[int]) -> None:
        """Put the source lines of these entries into the plan."""
        assert self._kernel is not None
        assert self.plan is not None
        with self._changing, self._reading:
            instructions = list(self.plan.instructions)
            asked = [instructions[index] for index in entries]
            for one in self._kernel.symbols.annotate(asked, frozenset(entries)):
                instructions[one.index] = one
            self.plan = replace(self.plan, instructions=tuple(instructions))
            if self._prober is not None:
                self._prober.plan = self.plan

    def _write_plan(self) -> None:
        assert self.plan is not None
        with self._changing:
            self.sink.write_plan(self.plan.instructions)

    def _define(self, kernel: TargetKernel, plan: Plan, probes: ProbeSet) -> Plan:
        """Define all probes in the kernel; return the plan with what it refused."""
        events = self._events = KprobeEvents(kernel.text_base)
        self._tracer = probes.tracer

        def tell(done: int, of: int) -> None:
            self._progress("defining probes", done, of)

        refused: dict[int, str] = {}
        for name, addresses in (("on_instruction", probes.others), ("on_entry", probes.entries)):
            if addresses:
                refused |= events.define(name, addresses, tell, self._cancelled.is_set).refused
        hooks, missing = hook_addresses(kernel.kallsyms, {})
        if built := kernel.returns_of(BUILDER):
            hooks["on_built"] = built
        for name, addresses in hooks.items():
            hook = events.define(name, addresses, None, self._cancelled.is_set)
            missing += [f"{address:#x}: {why}" for address, why in hook.refused.items()]
        if missing:
            self.messages.append(f"packets' lives are followed without {', '.join(missing)}")
        self.messages += account.without_entries(plan, refused)
        return plan.refused(refused)

    def _arm(self, program: Program) -> None:
        assert self._events is not None
        self._rings = (
            RowRing(program.event_ring, program.event_bytes, event_dtype(self.options.stack_bytes)),
            RecordRing(program.note_ring, program.note_bytes),
        )
        program.attach_tracepoints()
        if self._trap_site:
            self._trap = measure_trap(self._events, self._trap_site, program.functions["on_instruction"])
        self._guard = RateGuard(self.options.guard)
        self._worker = Worker(
            *self._rings, self._into, limit=self.options.events, watch=self._watch, on_end=self._new.set
        )
        self._started = time.monotonic()
        self._events.attach(program.functions)
        if self._tracer:
            try:
                self._link = attach_multi(program.multi, self._tracer)
            except OSError as error:
                raise UserError(
                    f"the kernel's function tracer refuses {len(self._tracer)} functions: {error.strerror}",
                    "see what there is: wc -l /sys/kernel/tracing/available_filter_functions",
                ) from error
        self._worker.start()
        if self.options.ready_file:
            try:
                self.options.ready_file.touch()
            except OSError as error:
                raise UserError(f"--ready-file {self.options.ready_file}: {error.strerror}") from error
        if self.options.command:
            self._traffic = Traffic(self.options.command)

    def _write_beginning(self, kernel: TargetKernel, plan: Plan, tables: dict[str, bytes]) -> None:
        self._into = self._tap = FreeTap(self.sink)
        self.sink.write_header(account.header(self.options, kernel, plan))
        self.sink.write_plan(plan.instructions)
        reasons = drop_reasons(kernel.btf.enum("skb_drop_reason"))
        self.sink.put_blob(blobs.DROP_REASONS, json.dumps(reasons).encode())
        for name, data in tables.items():
            self.sink.put_blob(name, data)
        self.sink.flush()

    # ---- running

    def probe(self, spec: str) -> str:
        """Add the probes of a SPEC while the capture runs; return what was done. From any thread.

        Raises UsageError and UserError; the capture is then as it was.
        """
        return self._change(lambda prober: prober.probe(spec))

    def unprobe(self, spec: str) -> str:
        """Remove the probes that a SPEC asks for; their events stay."""
        return self._change(lambda prober: prober.unprobe(spec))

    def _change(self, change: Callable[[Prober], str]) -> str:
        with self._changing, self._reading:
            prober = self._prober
            if prober is None or self._cancelled.is_set() or self.ended:
                raise UserError("the capture has ended, or is not running yet", "wait for the first packet")
            try:
                return change(prober)
            except KeyboardInterrupt:
                raise UserError("the capture ended meanwhile") from None
            except OSError as error:
                raise UserError(f"the probes cannot be changed: {error.strerror or error}") from error
            finally:
                self.plan = prober.plan

    def _watch(self, stored: int) -> dict[str, int]:
        """Look at limits, losses and the guard: the worker calls this a few times a second."""
        assert self._program is not None
        assert self._events is not None
        assert self._worker is not None
        counters = self._program.counters
        probes = self._events.counts().values()
        hits, missed = sum(one[0] for one in probes), sum(one[1] for one in probes)
        spent = counters.spent(self._trap, hits + missed)
        missed += self._program.skipped()
        counts = {f"lost: {name}": count for name, count in counters.losses().items()}
        counts["lost: probe missed"] = missed
        counts |= {f"truncated: {what}": count for what, count in counters.truncated().items()}
        counts["packets"], counts["derived"] = self._program.packets()
        options = self.options
        now = time.monotonic()
        if stored != self._last_stored[0]:
            self._last_stored = stored, now
        resting = now - max(self._last_stored[1], self._started) >= _SETTLED
        if options.packets is not None and counts["packets"] >= options.packets and resting:
            self.stop("packets")  # what they still did was wanted too
        if options.duration is not None and now - self._started >= options.duration:
            self.stop("duration")
        if self._traffic is not None and (status := self._traffic.status()) is not None:
            if status:
                self.messages.append(f"--cmd: the command failed (status {status})")
            threading.Timer(_LINGER, self.stop, ("command",)).start()
            self._traffic = None
        if self._guard is not None and self._guard.check(spent):
            counts["guard stopped"] = 1
            self._detach()
            self.messages.append(
                f"stopped: probes took {self._guard.used:.0%} of a CPU for a second, more than the "
                f"{self._guard.share:.0%} allowed (--max-cpu)"
            )
            self.stop("rate guard")
        self._symbolise_frees()
        self._counts = counts
        if stored:
            self._new.set()
        return counts

    def _symbolise_frees(self) -> None:
        """Give the addresses that freed packets their names and lines, for readers without the kernel."""
        assert self._kernel is not None
        if self._tap is None or not self._tap.new:
            return
        # The worker does not wait for whoever reads the symbols: its rings would run over.
        if not self._reading.acquire(blocking=self.ended):
            return
        try:
            known = self._tap.named(self._kernel.kallsyms.symbolise, self._kernel.symbols.drop_line)
        finally:
            self._reading.release()
        self.sink.put_blob(blobs.SYMBOLS, json.dumps(known).encode())

    @property
    def ended(self) -> bool:
        """Whether nothing more will be written by the worker."""
        return self._worker is not None and self._worker.done.is_set()

    @property
    def error(self) -> BaseException | None:
        """What the worker thread died of."""
        return self._worker.error if self._worker else None

    def counts(self) -> dict[str, int]:
        """Return the latest counts: packets, and events lost by cause."""
        return dict(self._counts)

    def wait(self, seconds: float) -> None:
        """Wait until something new may have been written, the capture ended, or the time is over."""
        self._new.wait(seconds)
        if not self.ended:
            self._new.clear()

    def stop(self, why: str = "user") -> None:
        """Ask the capture to end; ``join`` waits for it. Safe from any thread, also during ``start``."""
        self._cancelled.set()
        if self._worker is not None:
            self._worker.stop(why)

    def join(self) -> Summary:
        """Wait for the end, detach, write the summary and close the sink. Raises what the worker died of."""
        assert self._worker is not None
        assert self.plan is not None
        try:
            while not self._worker.done.wait(0.2):
                pass
            self._cancelled.set()
            self._detach()
            with self._changing:  # what was being added meanwhile
                self._detach()
            self._finish_lines()
            self._symbolise_frees()
            summary = self.summary = account.summary(self.plan, self._worker, self._counts)
            self.sink.close(summary)
        finally:
            self.close()
        if self._worker.error is not None:
            raise self._worker.error
        return summary

    def _finish_lines(self) -> None:
        if self._lines is not None:
            self._lines.finish()
            if self._lines.error is not None:
                self.messages.append(f"no source lines: {self._lines.error.message}")
            self._lines = None

    def _detach(self) -> None:
        """Disarm every probe; what is defined stays until ``close``."""
        if self._link >= 0:
            os.close(self._link)
            self._link = -1
        if self._events is not None:
            self._events.detach()

    def close(self) -> None:
        """Leave the kernel as it was. A second call does nothing."""
        self._cancelled.set()
        if self._worker is not None and self._worker.is_alive():
            self._worker.stop("closed")
            self._worker.join()
        if self._traffic is not None:
            self._traffic.close()
        self._traffic = None
        self._detach()
        self._finish_lines()
        with self._changing:
            self._prober = None
        for one in (self._events, *(self._rings or ()), self._program, self._kernel):
            if one is not None:
                one.close()
        self._guard = self._events = self._rings = self._program = self._kernel = None
