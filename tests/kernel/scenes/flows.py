"""Three UDP flows at once over loopback: python3 flows.py COUNT; what was sent goes to /tmp/flows.json.

Flow n sends COUNT datagrams to port 9000 + n, each with its flow and number (two big-endian u32). Flows 1
and 3 stay on CPUs 0 and 1, flow 2 changes between them every 50 datagrams. Nobody reads what arrives.
After each 50 a flow rests: the rate guard would end a capture that an emulated CPU spends its time on.
"""

import json
import os
import socket
import struct
import sys
import time
from pathlib import Path

count = int(sys.argv[1])
sinks = []
for flow in (1, 2, 3):
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 9000 + flow))
    sinks.append(sink)


def send(flow: int) -> None:
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", 9000 + flow))
    cpus: dict[int, int] = {0: 0, 1: 0}
    for number in range(count):
        cpu = {1: 0, 2: number // 50 % 2, 3: 1}[flow]
        if number % 50 == 0:
            time.sleep(0.2)
            os.sched_setaffinity(0, {cpu})
        sender.send(struct.pack(">II", flow, number))
        cpus[cpu] += 1
    Path(f"/tmp/flow{flow}.json").write_text(json.dumps(cpus))


children = []
for flow in (1, 2, 3):
    child = os.fork()
    if child == 0:
        send(flow)
        os._exit(0)
    children.append(child)
failed = [os.waitpid(child, 0)[1] for child in children]
record = {flow: json.loads(Path(f"/tmp/flow{flow}.json").read_text()) for flow in (1, 2, 3)}
Path("/tmp/flows.json").write_text(json.dumps(record))
sys.exit(any(failed))
