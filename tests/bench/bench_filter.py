"""The translated filter against libpcap's interpreter, per packet.

    python tests/bench/bench_filter.py [--rounds N]

Both run over the same packets in the same process, compiled by gcc -O2: ours is the C that BCC compiles for
the kernel (the kernel's JIT then plays gcc's part), libpcap's is pcap_offline_filter(). Printed: nanoseconds
per packet of each, their ratio, and how long an expression takes from text to C.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from ktcpdump_tui.capture.filter import compile_filter, libpcap

EXPRESSIONS = [
    "icmp",
    "tcp port 80",
    "host 10.0.0.1 and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "ip6 and udp portrange 1000-2000",
    " or ".join(f"host 10.{number}.0.1" for number in range(30)),
    " or ".join(f"port {number * 991 + 7}" for number in range(30)),
]
PACKETS, STRIDE, SNAPLEN = 2000, 256 + 8, 256

HARNESS = """
#include <time.h>
struct header { long sec, usec; unsigned caplen, len; };
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

double ours(int which, const unsigned char *packets, unsigned count, unsigned rounds, unsigned *selected)
{
    static int (*const functions[])(const unsigned char *, unsigned, unsigned) = { NAMES };
    double start = now();
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < count; i++)
            *selected += functions[which](packets + i * STRIDE, SNAPLEN, SNAPLEN);
    return (now() - start) / count / rounds;
}

double theirs(int (*filter)(const void *, const struct header *, const unsigned char *), const void *program,
              const unsigned char *packets, unsigned count, unsigned rounds, unsigned *selected)
{
    struct header header = { 0, 0, SNAPLEN, SNAPLEN };
    double start = now();
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < count; i++)
            *selected += filter(program, &header, packets + i * STRIDE) != 0;
    return (now() - start) / count / rounds;
}
"""


def packets() -> bytes:
    """Return PACKETS Ethernet frames, STRIDE bytes apart: TCP, UDP and ICMP over IPv4, UDP over IPv6."""
    chance = random.Random(1)
    block = b""
    for _ in range(PACKETS):
        ports = struct.pack(">HH", chance.choice((80, 443, 1500, 53)), chance.randrange(65536))
        protocol = chance.choice((1, 6, 17))
        addresses = bytes((10, chance.randrange(40), 0, 1, 10, 0, 0, 2))
        if chance.random() < 0.2:
            network = b"\x86\xdd\x60\0\0\0\0\x80\x11\x40" + bytes(32)
        else:
            network = b"\x08\0\x45\0\0\xc8\0\1\0\0\x40" + bytes([protocol, 0, 0]) + addresses
        transport = ports + bytes(8) + b"\x50" + bytes([chance.randrange(64)]) + bytes(6) + b"GET / HTTP/1.1"
        block += (bytes(12) + network + transport).ljust(STRIDE, b"\0")
    return block


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="times each packet is judged")
    rounds = parser.parse_args().rounds
    sources, names, compiling = [], [], []
    programs = []
    for number, expression in enumerate(EXPRESSIONS):
        start = time.perf_counter()
        compiled = compile_filter(expression, SNAPLEN)
        sources.append(compiled.to_c(f"f{number}"))
        compiling.append(time.perf_counter() - start)
        names.append(f"f{number}_ether")
        programs.append(compiled.ethernet)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "bench.c"), Path(folder, "bench.so")
        source.write_text("\n".join([*sources, HARNESS.replace("NAMES", ", ".join(names))]))
        defines = ["-DKTD_FILTER_NATIVE", f"-DSTRIDE={STRIDE}", f"-DSNAPLEN={SNAPLEN}"]
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", *defines, "-o", library, source], check=True)
        bench = ctypes.CDLL(str(library))
    bench.ours.restype = bench.theirs.restype = ctypes.c_double
    block = packets()
    print(f"{'ours':>8}{'libpcap':>9}{'ratio':>7}{'to C':>9}  expression")
    total = [0.0, 0.0]
    for number, (expression, program) in enumerate(zip(EXPRESSIONS, programs, strict=True)):
        insns = (libpcap.Insn * len(program))(*(libpcap.Insn(*insn) for insn in program))
        theirs = libpcap.Program(len(program), insns)
        counts = ctypes.c_uint(), ctypes.c_uint()
        common = block, PACKETS, rounds
        best = [
            min(values)
            for values in zip(
                *(
                    (
                        bench.ours(number, *common, ctypes.byref(counts[0])),
                        bench.theirs(
                            libpcap.library().pcap_offline_filter,
                            ctypes.byref(theirs),
                            *common,
                            ctypes.byref(counts[1]),
                        ),
                    )
                    for _ in range(5)
                ),
                strict=True,
            )
        ]
        assert counts[0].value == counts[1].value, "the verdicts differ"
        total = [total[0] + best[0], total[1] + best[1]]
        milliseconds = 1000 * compiling[number]
        print(
            f"{best[0]:6.1f}ns{best[1]:7.1f}ns{best[0] / best[1]:7.2f}{milliseconds:7.1f}ms"
            f"  {expression[:60]}{'…' * (len(expression) > 60)}"
        )
    print(f"ours / libpcap over all: {total[0] / total[1]:.2f}")


if __name__ == "__main__":
    main()
