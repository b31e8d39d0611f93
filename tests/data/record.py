"""Record the traces in this folder again, in the lab: python tests/data/record.py

Each is a capture of our own on a stock kernel; no source text is in them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ktcpdump_tui.capture.options import CaptureOptions

HERE = Path(__file__).parent

SCENES = "tests/kernel/scenes"

#: name -> (kernel, SPECs, EXPRESSION, command, what is run before)
TRACES = {
    "ping-6.12": ("6.12", "ip_rcv_core+*", "icmp", "ping -c 2 -s 200 -t 17 -Q 8 127.0.0.1", ""),
    "ping-6.1": ("6.1", "ip_rcv_core+*", "icmp", "ping -c 2 -s 200 -t 17 -Q 8 127.0.0.1", ""),
    "udp-drop-6.12": (
        "6.12",
        "ip_rcv,ip_rcv_core+*,ip_local_deliver_finish,__udp4_lib_rcv+*,udp_queue_rcv_skb,fib_table_lookup+*",
        "udp port 4242",
        "bash -c 'echo hello > /dev/udp/127.0.0.1/4242; sleep 0.3'",
        "",
    ),
    # One flow: delivered, dropped by nftables, TTL 1, bad checksum.
    "four-ways-6.12": (
        "6.12",
        "ip_rcv_core+*,ip_rcv_finish_core:*,ip_forward+*,nf_hook_slow+*,nft_do_chain:*,ip_forward_finish,"
        "ip_local_deliver_finish,__udp4_lib_rcv",
        "udp port 7000",
        f"{sys.executable} {SCENES}/four_ways.py send; sleep 0.3",
        f"modprobe -a veth nf_tables; {sys.executable} {SCENES}/four_ways.py setup",
    ),
    "four-ways-6.1": (
        "6.1",
        "ip_rcv_core+*,ip_rcv_finish_core:*,ip_forward+*,nf_hook_slow+*,nft_do_chain:*,ip_forward_finish,"
        "ip_local_deliver_finish,__udp4_lib_rcv",
        "udp port 7000",
        f"{sys.executable} {SCENES}/four_ways.py send; sleep 0.3",
        f"modprobe -a veth nf_tables; {sys.executable} {SCENES}/four_ways.py setup",
    ),
    # A way through many functions, whole, with calls from one traced function into another.
    "path-6.12": (
        "6.12",
        "ip_rcv,ip_rcv_core:*,ip_rcv_finish:*,ip_rcv_finish_core:*,ip_local_deliver:*,"
        "ip_local_deliver_finish:*,ip_protocol_deliver_rcu:*,icmp_rcv:*,icmp_echo:*,icmp_reply:*",
        "icmp",
        "ping -c 3 -i 0.3 -s 120 127.0.0.1",
        "",
    ),
}


def record(name: str) -> None:
    """Boot the lab, capture, and keep the trace."""
    from ktcpdump_tui.lab import Lab
    from ktcpdump_tui.lab.capture import program_environment
    from ktcpdump_tui.trace.stream import pump
    from ktcpdump_tui.trace.writer import TraceWriter

    kernel, specs, expression, command, before = TRACES[name]
    with Lab(kernel) as lab:
        folder = str(HERE.parent.parent)
        if before:
            lab.check_output(f"cd {folder}; {before}")
        inside = lab.run(
            [sys.executable, __file__, "--inside", specs, expression, command, str(lab.vmlinux)],
            cwd=folder,
            env=program_environment(),
        )
        summary = pump(inside.stdout, TraceWriter(HERE / f"{name}.ktrace"), "the lab")
        print(name, summary, inside.stderr.read().decode()[-500:] if inside.wait() else "")


def inside(specs: str, expression: str, command: str, vmlinux: str) -> None:
    """Capture, in the guest, to standard output."""
    from ktcpdump_tui.capture.session import CaptureSession
    from ktcpdump_tui.trace.stream import StreamWriter

    options = CaptureOptions(
        specs=(specs,), expression=expression, command=command, debug_image=Path(vmlinux), guard=0
    )
    session = CaptureSession(options, StreamWriter(sys.stdout.buffer))
    session.start()
    session.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
    else:
        for one in sys.argv[1:] or TRACES:
            record(one)
