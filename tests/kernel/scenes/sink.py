"""Servers for the scenes: python3 sink.py PORT ...; takes UDP on all of them and TCP on the last."""

import select
import socket
import sys

ports = [int(one) for one in sys.argv[1:]]
sockets = []
for port in ports:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    sockets.append(udp)
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind(("0.0.0.0", ports[-1]))
listener.listen()
sockets.append(listener)
while True:
    for ready in select.select(sockets, [], [])[0]:
        if ready is listener:
            connection, _ = listener.accept()
            sockets.append(connection)
        elif not ready.recv(1 << 16) and ready.type == socket.SOCK_STREAM:
            sockets.remove(ready)
            ready.close()
