"""Runs in the guest: what the modules of kernel/ and capture/attach do to a real kernel, told as JSON.

``report``: one pass over everything; ``kills N SEED``: a child is killed N times while it attaches.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ktcpdump_tui.capture import expedite, multi, owners
from ktcpdump_tui.capture.attach import KprobeEvents
from ktcpdump_tui.capture.functions import KernelTypes, survey
from ktcpdump_tui.capture.plan import Plan, Planner
from ktcpdump_tui.capture.resolve import resolve
from ktcpdump_tui.capture.spec import parse_specs
from ktcpdump_tui.errors import UserError
from ktcpdump_tui.kernel.blacklist import Blacklist
from ktcpdump_tui.kernel.btf import Btf
from ktcpdump_tui.kernel.kcore import Kcore
from ktcpdump_tui.kernel.modules import loaded_modules, section_addresses
from ktcpdump_tui.kernel.notes import kernel_build_id, module_build_id
from ktcpdump_tui.kernel.symbols import Kallsyms
from ktcpdump_tui.kernel.text import NOP5, LiveText, ReservedCode
from ktcpdump_tui.kernel.unwind import orc_tables
from ktcpdump_tui.model import ProbeState

TRACEFS = Path("/sys/kernel/tracing")
EVENTS = TRACEFS / "kprobe_events"
KPROBES = Path("/sys/kernel/debug/kprobes/list")


class Kernel:
    """All that is known of the running kernel."""

    def __init__(self) -> None:
        self.kallsyms = Kallsyms.read()
        self.btf = Btf.read()
        self.memory = Kcore()
        self.text_base = self.kallsyms.address_of("_text") or 0

    def plan(self, *specs: str) -> Plan:
        text = LiveText(self.memory, self.kallsyms, self.btf)
        reserved = ReservedCode(self.memory, self.kallsyms)
        planner = Planner(self.kallsyms, text, KernelTypes(self.btf), Blacklist.read(), reserved)
        return planner.plan(resolve(parse_specs(specs), self.kallsyms))


def empty_program() -> int:
    """Load a BPF program for kprobes that does nothing."""
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
    words = ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("<IIQQ", 2, 2, ctypes.addressof(code), ctypes.addressof(words))
    buffer = ctypes.create_string_buffer(attributes, 128)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(321, 5, buffer, 128)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    return int(descriptor)


def tell(file: Path, text: str) -> None:
    # not open("a"): Python seeks to the end then, which tracefs refuses
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def ping(count: int = 3) -> None:
    subprocess.run(
        ["ping", "-q", "-c", str(count), "-i", "0.1", "127.0.0.1"], capture_output=True, check=True
    )


def hits() -> list[tuple[str, int]]:
    rows = [line.split() for line in (TRACEFS / "kprobe_profile").read_text().splitlines()]
    return [(name, int(count)) for name, count, _ in rows]


def wait_until(condition: Any, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def other_tool(kernel: Kernel) -> dict[str, Any]:
    """Another tool's probes: one on the function tracer's nop, neighbours, and one the kernel optimises."""
    before = kernel.plan("ip_rcv_core+*", "ip_rcv+*")
    addresses = [before.addresses[n] for n in (0, 4, 5, 9)]
    addresses += [one.entry for one in before.functions if one.function == "ip_rcv"]
    far = next(
        one.address
        for one in before.instructions
        if one.symbol == "ip_rcv"
        and one.offset > 20
        and len(one.code) >= 5
        and one.probe is ProbeState.ATTACHED
    )
    raw = {address: kernel.memory.read(address, 8) for address in [*addresses, far]}
    decoded = [(one.address, one.code, one.text) for one in before.instructions]
    different: list[str] = []

    def compare(when: str) -> None:
        now = kernel.plan("ip_rcv_core+*", "ip_rcv+*").instructions
        if [(one.address, one.code, one.text) for one in now] != decoded:
            different.append(when)

    def jumps() -> list[int]:
        return [n for n, address in enumerate(raw) if kernel.memory.read(address, 1) == b"\xe9"]

    text = LiveText(kernel.memory, kernel.kallsyms, kernel.btf)  # lives on while probes come and go
    sizes = {one.symbol.address: one.symbol.size for one in before.functions}
    codes = {address: text.function(address, size) for address, size in sizes.items()}
    for number, address in enumerate(raw):
        tell(EVENTS, f"p:other/probe{number} {address:#x}\n")
        tell(TRACEFS / f"events/other/probe{number}/enable", "1")
        compare(f"probe {number}")  # the kernel calls it optimised before it has written the jump
    optimised = wait_until(lambda: compare("being optimised") or jumps())
    compare("optimised")
    changed = sum(kernel.memory.read(address, 8) != code for address, code in raw.items())
    switches = [TRACEFS / f"events/other/probe{number}/enable" for number in jumps()]
    for switch in switches:
        tell(switch, "0")
    wait_until(lambda: compare("being restored") or not jumps())
    for switch in switches:
        tell(switch, "1")
    compare("again")
    if {address: text.function(address, size) for address, size in sizes.items()} != codes:
        different.append("read twice")
    return {"changed": changed, "optimised": optimised, "probes": len(raw), "different": different}


def attaching(kernel: Kernel, program: int) -> dict[str, Any]:
    """Hundreds of addresses as a few events; another tool counts beside us."""
    plan = kernel.plan("ip_rcv_core+*", "veth_xmit+*")
    others = EVENTS.read_text()
    told: dict[str, Any] = {"asked": len(plan.addresses)}
    progress: list[tuple[int, int]] = []
    started = time.monotonic()
    with KprobeEvents(kernel.text_base) as events:
        probes = events.define("insn", plan.addresses, lambda done, total: progress.append((done, total)))
        told["define seconds"] = time.monotonic() - started
        told["refused"] = [f"{address:#x}: {why}" for address, why in probes.refused.items()]
        told["lines"] = EVENTS.read_text().count(owners.group_name())
        ping()
        told["hits before"] = sum(count for name, count in hits() if name.startswith("insn"))
        entry = plan.functions[0].entry
        reference = others.splitlines().index(
            next(one for one in others.splitlines() if "other/probe0" in one)
        )
        counted = next(count for name, count in hits() if name == "probe0")
        started = time.monotonic()
        events.attach({"insn": program})
        told["arm seconds"] = time.monotonic() - started
        ping(5)
        rows = [count for name, count in hits() if name.startswith("insn")]
        told["hits of the entry"] = rows[probes.attached.index(entry)]
        told["hits of the other tool"] = next(c for name, c in hits() if name == "probe0") - counted
        told["executed"] = sum(count > 0 for count in rows)
        told["missed"] = events.missed()
        told["reference"] = reference >= 0
        started = time.monotonic()
        events.detach()
        told["detach seconds"] = time.monotonic() - started
        ping()
        told["hits after"] = sum(count for name, count in hits() if name.startswith("insn")) - sum(rows)
        started = time.monotonic()
    told["remove seconds"] = time.monotonic() - started
    told["progress"] = progress[-1]
    told["others untouched"] = EVENTS.read_text() == others
    return told


def refusing(kernel: Kernel) -> dict[str, Any]:
    """What the plan leaves to the kernel itself, and lines the kernel stops at in the middle of a write."""
    plan = kernel.plan("__netif_receive_skb_core+*")
    own = [
        one.address
        for one in plan.instructions
        if one.probe is ProbeState.REFUSED and "rewrites itself" in (one.refusal or "")
    ]
    traps = [one.address for one in plan.instructions if one.text in ("ud2", "int3")]
    good = plan.addresses[:20]
    mixed = [address for pair in zip(good, [one + 1 for one in good], strict=True) for address in pair]
    with KprobeEvents(kernel.text_base) as events:
        refused = events.define("own", [*own, *traps]).refused
        probes = events.define("mixed", mixed)
    sizes = {one.address: len(one.code) for one in plan.instructions}
    return {
        "reserved": len(own),
        "traps": len(traps),
        "kernel refuses": len(refused),
        "mixed attached": [one for one in good if one not in probes.attached],
        "mixed refused": [one for one in good if sizes[one] > 1 and one + 1 not in probes.refused],
        "reasons": sorted(set(probes.refused.values())),
    }


def interrupting(kernel: Kernel) -> dict[str, Any]:
    """Ctrl-C while probes are defined, and a failure while they are attached."""
    plan = kernel.plan("ip_rcv_core+*")
    before = EVENTS.read_text()
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(EVENTS.read_text().count(owners.group_name()))
        return len(calls) > 4

    outcome = "finished"
    try:
        with KprobeEvents(kernel.text_base) as events:
            events.define("insn", plan.addresses, None, cancelled)
    except KeyboardInterrupt:
        outcome = "interrupted"
    wrong = ""
    try:
        with KprobeEvents(kernel.text_base) as events:
            events.define("insn", plan.addresses[:10])
            events.attach({"insn": os.open("/dev/null", os.O_RDONLY)})
    except UserError as error:
        wrong = error.message
    return {
        "outcome": outcome,
        "defined": max(calls),
        "left": EVENTS.read_text() != before,
        "wrong program": wrong,
    }


def stale(kernel: Kernel) -> dict[str, Any]:
    """Groups of the dead go, groups of the living and of others stay."""
    parent = os.getppid()
    here = owners.namespace()
    groups = {
        "dead": f"ktcpdump_tui_4000000_77_{here}",
        "reused": f"ktcpdump_tui_{parent}_1_{here}",
        "alive": owners.group_name(parent),
        "similar": "ktcpdump_tui_mine",
        "foreign": "sometool",
    }
    for group in groups.values():
        tell(EVENTS, f"p:{group}/one _text+{kernel.plan('ip_rcv').addresses[0] - kernel.text_base}\n")
    with KprobeEvents(kernel.text_base):
        text = EVENTS.read_text()
    for name in ("alive", "similar", "foreign"):
        tell(EVENTS, f"-:{groups[name]}/one\n")
    return {name: f"{group}/" in text for name, group in groups.items()}


def many_entries(kernel: Kernel) -> dict[str, Any]:
    """Every function that takes a packet: at once through the function tracer, where the kernel can."""
    started = time.monotonic()
    targets = survey(kernel.kallsyms, KernelTypes(kernel.btf), loaded_modules())
    text = LiveText(kernel.memory, kernel.kallsyms, kernel.btf)
    told: dict[str, Any] = {
        "functions": len(targets),
        "modules": sorted({one.symbol.module for one in targets if one.symbol.module}),
        "seconds": time.monotonic() - started,
        "multi": multi.multi_supported(kernel.kallsyms.address_of("ip_rcv") or 0),
    }
    if told["multi"]:
        plan = Planner(kernel.kallsyms, text).plan(targets)
        addresses = [one.entry for one in plan.functions if text.read(one.entry, 5) == NOP5]
        program = multi.load_program(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
        started = time.monotonic()
        link = multi.attach_multi(program, addresses)
        told["attach seconds"] = time.monotonic() - started
        ping()
        started = time.monotonic()
        os.close(link)
        told["detach seconds"] = time.monotonic() - started
        told["attached"] = len(addresses)
    return told


def facts(kernel: Kernel) -> dict[str, Any]:
    """What the host compares with files."""
    told: dict[str, Any] = {
        "build id": kernel_build_id(),
        "blacklist": len(Blacklist.read()),
        "struct": {"size": kernel.btf.struct("sk_buff").size, "end": kernel.btf.end_id},
    }
    for name in ("veth", "nf_tables"):
        sections = section_addresses(name)
        orc = orc_tables(kernel.kallsyms, kernel.memory, name)
        module = loaded_modules()[name]
        told[name] = {
            "build id": module_build_id(name),
            "orc": [len(orc.ips), len(orc.entries)] if orc else None,
            "text": module.address <= sections[".text"] < module.address + module.size,
            "types": Btf.read(name, kernel.btf).end_id > kernel.btf.end_id,
        }
    orc = orc_tables(kernel.kallsyms, kernel.memory)
    told["orc"] = [len(orc.ips), len(orc.entries)] if orc else None
    lines = Path("/proc/kallsyms").read_text().splitlines()
    chosen = [line.split() for line in random.Random(5).sample(lines, 100)]
    told["symbols"] = all(
        int(address, 16) in [one.address for one in kernel.kallsyms.find(name)]
        for address, _, name, *_ in chosen
    )
    restrict = Path("/proc/sys/kernel/kptr_restrict")
    before = restrict.read_text()
    restrict.write_text("2")
    try:
        Kallsyms.read()
        told["hidden"] = None
    except UserError as error:
        told["hidden"] = str(error)
    finally:
        restrict.write_text(before)
    return told


def report() -> dict[str, Any]:
    for module in ("veth", "nf_tables"):
        subprocess.run(["modprobe", module], check=True)
    kernel = Kernel()
    program = empty_program()
    expedited = expedite.SWITCH.read_text()
    try:
        told = {
            "facts": facts(kernel),
            "other tool": other_tool(kernel),
            "attaching": attaching(kernel, program),
            "refusing": refusing(kernel),
            "interrupting": interrupting(kernel),
            "stale": stale(kernel),
            "many entries": many_entries(kernel),
        }
    finally:
        for line in EVENTS.read_text().splitlines():
            name = line.split()[0].partition(":")[2]
            if name.startswith("other/"):
                tell(TRACEFS / "events" / name / "enable", "0")
                tell(EVENTS, f"-:{name}\n")
    told["expedited"] = [expedited, expedite.SWITCH.read_text(), expedite.LOCK.read_text()]
    told["left"] = EVENTS.read_text()
    return told


def kills(count: int, seed: int) -> dict[str, Any]:
    """Kill a child that attaches and detaches for ever; after the next start none of its probes is left."""
    kernel = Kernel()
    program = empty_program()
    addresses = kernel.plan("ip_rcv_core+*").addresses[:40]
    chance = random.Random(seed)
    others = f"p:other/mine {addresses[3]:#x}\n"
    tell(EVENTS, others)
    kept = EVENTS.read_text()
    left_by_kill, left_after_start, switches = 0, 0, 0
    for _ in range(count):
        child = os.fork()
        if child == 0:
            while True:
                with KprobeEvents(kernel.text_base) as events:
                    events.define("insn", addresses)
                    events.attach({"insn": program})
                    time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 1.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left_by_kill += EVENTS.read_text() != kept
        with KprobeEvents(kernel.text_base):
            left_after_start += EVENTS.read_text() != kept
        switches += expedite.SWITCH.read_text().strip() != "0"
    tell(EVENTS, "-:other/mine\n")
    return {"left by kill": left_by_kill, "left after start": left_after_start, "switch left on": switches}


if __name__ == "__main__":
    answer = report() if sys.argv[1] == "report" else kills(int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(answer))
