"""The options as ``--help`` shows them: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """An option: ``kind`` says what its value must be (options.py)."""

    flags: tuple[str, ...]
    dest: str
    kind: str
    help: str
    metavar: str | tuple[str, ...] | None = None
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """What stands above the options."""

    usage: str
    text: str


DESCRIPTION: Final = Description(
    usage="""
  ktcpdump-tui [options] [EXPRESSION]                 capture, full screen (root)
  ktcpdump-tui [options] --no-tui [EXPRESSION]        capture, table on stdout
  ktcpdump-tui [options] --replay FILE [EXPRESSION]   step through a recorded trace (no root)""",
    text="""\
Shows what the Linux network stack does with a packet: instruction by instruction, line by line.
EXPRESSION selects packets in tcpdump's language; empty selects every packet.""",
)

EPILOG: Final = """\
SPEC is one of
  symbol            the entry of a function           symbol+*      every instruction of it
  symbol+OFFSET     one instruction                   symbol:*      every source line of it
  0xADDRESS         one instruction                   FILE.c:LINE[-LINE]
with globs in the symbol (tcp_v4_*), and module:symbol where the name alone is ambiguous.

examples
  ktcpdump-tui --lab -i 'ip_rcv_core+*' icmp          watch a ping in a throw-away machine: no root needed
  ktcpdump-tui --no-tui -i 'tcp_v4_rcv:*' -c 100 'tcp port 443'
  ktcpdump-tui -i 'ip_rcv+*' -o ping.ktrace --duration 10 icmp; ktcpdump-tui -r ping.ktrace
"""

GROUPS: Final[tuple[tuple[str, tuple[Row, ...]], ...]] = (
    (
        "what to probe",
        (
            Row(("-i", "--interface-function"), "specs", "text",
                "what to probe; may be repeated, or a list with commas (default: ip_rcv,dev_hard_start_xmit)",
                "SPEC", repeatable=True),
            Row(("--survey",), "survey", "flag", "probe the entry of every function that takes an skb"),
            Row(("-d", "--debug-image"), "debug_image", "path",
                "vmlinux with debug symbols (default: found by itself)", "PATH"),
            Row(("--max-probes",), "max_probes", "count",
                "refuse to attach more probes than this (default: 4096)", "N"),
            Row(("--list",), "list", "text", "show what SPEC would probe, and probe nothing", "SPEC"),
            Row(("--lab",), "lab", "text",
                "capture in a throw-away virtual machine with Debian's kernel 6.1 or 6.12", "VERSION"),
            Row(("--ssh",), "ssh", "text",
                "capture on another host (one), over ssh; it needs ktcpdump-tui there, and root or sudo",
                "DEST", repeatable=True),
            Row(("--check",), "check", "flag", "show what this machine lacks for a capture"),
        ),
    ),
    (
        "which packets",
        (
            Row(("--netns",), "netns", "count", "only in the network namespace with this inode number", "N"),
            Row(("--ifname",), "ifname", "text", "only on this network device", "NAME"),
            Row(("--mark",), "mark", "mark", "only with this skb->mark", "VALUE[/MASK]"),
            Row(("--filter-tunnel",), "filter_tunnel", "text",
                "only if the packet inside VXLAN, Geneve, IPIP or GRE matches", "EXPRESSION"),
        ),
    ),
    (
        "when to stop",
        (
            Row(("-c",), "events", "count", "after N events", "N"),
            Row(("--packets",), "packets", "count", "after N packets", "N"),
            Row(("--duration",), "duration", "seconds", "after a time", "SECONDS"),
            Row(("--cmd",), "command", "text", "run COMMAND once probes are attached; stop when it ends",
                "COMMAND"),
            Row(("--max-cpu",), "max_cpu", "percent",
                "when probes take more than this share of a CPU for a second: traps and BPF programs, all "
                "CPUs together, without our own storing (default: 50; 0: never, the default with --lab)",
                "PERCENT"),
            Row(("--ready-file",), "ready_file", "path", "create FILE once probes are attached", "FILE"),
        ),
    ),
    (
        "what to keep and show",
        (
            Row(("-w", "--write"), "write", "text",
                "write events to FILE: packets as .pcap or .pcapng (with function, line, drop reason),"
                " .jsonl, .txt (the table), .info (lines for genhtml), .parquet; - is pcap on stdout;"
                " with -r FILE it converts and draws no screen",
                "FILE"),
            Row(("-o", "--record"), "record", "text", "keep the whole trace for --replay", "FILE.ktrace"),
            Row(("--control",), "control", "flag",
                "with -o -: obey the ktcpdump-tui at the other end of stdin (what --lab and --ssh use)"),
            Row(("-r", "--replay"), "replay", "text",
                "show a recorded trace; - reads the JSON stream of another ktcpdump-tui", "FILE.ktrace"),
            Row(("--no-tui",), "no_tui", "flag", "print a table instead of drawing a screen"),
            Row(("--json",), "json", "flag", "print one JSON object per line"),
            Row(("-s", "--source"), "sources", "text",
                "kernel source: a tree, a tarball, or FROM=TO to replace the start of paths",
                "PATH", repeatable=True),
            Row(("-S", "--snaplen"), "snaplen", "snaplen",
                "packet bytes kept per event (default: 256; 0: most)", "N"),
            Row(("--stack",), "stack", "stack",
                "stack bytes kept per event (default: 256); variables of larger frames, and of callers"
                " by pointer, need more",
                "BYTES"),
            Row(("--watch",), "watches", "text", "show a C expression at every event", "EXPR",
                repeatable=True),
            Row(("--locals",), "locals", "flag",
                "with --json, -w FILE.jsonl or FILE.parquet: the variables in scope"),
            Row(("--capture",), "captures", "text",
                "keep the memory this pointer names with every event (such as skb->sk)", "EXPR",
                repeatable=True),
            Row(("--compare",), "compare", "packet",
                "with --replay: where the paths of two packets part, and what decided; B may be of another"
                " trace: FILE.ktrace:N", ("A", "B")),
            Row(("--embed-source",), "embed_source", "flag",
                "with -o: keep the source files of the probed lines in the trace"),
            Row(("--max-size",), "max_size", "size",
                "disk the trace may take, such as 500M; the oldest events go first", "BYTES"),
            Row(("--rotate",), "rotate", "rotation",
                "with -o: go on in FILE-1, FILE-2 ... after each BYTES; keep the newest COUNT files",
                "BYTES[,COUNT]"),
        ),
    ),
    (
        "help",
        (
            Row(("--profile",), "profile", "text",
                "breakpoints, watches and columns of the screen kept under this name", "NAME"),
            Row(("-v", "--verbose"), "verbose", "flag", "say more on stderr; show tracebacks"),
            Row(("-V", "--version"), "version", "version", "show the version"),
            Row(("-h", "--help"), "help", "help", "show this"),
        ),
    ),
)  # fmt: skip
