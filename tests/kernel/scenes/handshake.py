"""One TCP connection over loopback whose numbers are known. python3 handshake.py FILE CLIENT SERVER NUMBER

CLIENT and SERVER are ports, NUMBER is the client's first sequence number (TCP_REPAIR lets a socket choose it
before it connects: tcp(7), and include/uapi/linux/tcp.h for the numbers). The server's, which cannot be
chosen, is read off the wire and written to FILE.
"""

import socket
import struct
import sys
from pathlib import Path

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE, REPAIR_OFF, REPAIR_ON = 2, -1, 1
ETH_P_IP = 0x0800

file, client_port, server_port, number = sys.argv[1], *map(int, sys.argv[2:])

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
wire.bind(("lo", 0))
wire.settimeout(20)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", server_port))
server.listen()
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(("127.0.0.1", client_port))
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_ON)
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
client.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("I", number))
client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, REPAIR_OFF)
client.connect(("127.0.0.1", server_port))
connection, _ = server.accept()
while True:
    frame = wire.recv(2048)
    if frame[23] == socket.IPPROTO_TCP and struct.unpack_from(">HH", frame, 34) == (server_port, client_port):
        Path(file).write_text(str(struct.unpack_from(">I", frame, 38)[0]))
        break
