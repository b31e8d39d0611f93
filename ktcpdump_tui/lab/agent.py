"""The guest's first process: runs what the control port asks for and carries the output out.

It is executed by path inside the guest (``python -I -S agent.py``) and imported outside for the message
format, so it imports almost nothing: under software emulation each module costs tenths of a second.

Wire format, both directions of the control port: a message is a ``u32`` (little endian, bytes that follow)
and a list of fields, each a ``u32`` length and its bytes. Field 0 is the verb:

    to the guest     run ID PORT CWD STDIN ARGC ARGV... ENV("K=V")...      signal ID NUMBER
                     talk ID PORT CWD "" ARGC ARGV... ENV("K=V")...        tell ID BYTES
    from the guest   ready      exit ID STATUS (-N: killed by signal N)

A command started with ``talk`` reads a pipe, into which ``tell`` writes.

Output ports carry frames, a ``u32`` length and that many bytes; length 0 ends the stream of one command,
after which the port serves the next one.
"""

from __future__ import annotations

import os
import select
import sys

CONTROL = "control"
#: virtio-serial copies at most 32 KiB per write (drivers/char/virtio_console.c, port_fops_write).
CHUNK = 32 * 1024 - 4
SIGPIPE = 13
SIGXFSZ = 25


def pack(*fields: str | bytes | int) -> bytes:
    """Encode one control message."""
    body = b""
    for item in fields:
        data = item if isinstance(item, bytes) else os.fsencode(str(item))
        body += len(data).to_bytes(4, "little") + data
    return len(body).to_bytes(4, "little") + body


def unpack(buffer: bytearray) -> list[bytes] | None:
    """Take the first whole message off ``buffer``; None while there is none."""
    if len(buffer) < 4:
        return None
    end = 4 + int.from_bytes(buffer[:4], "little")
    if len(buffer) < end:
        return None
    fields, at = [], 4
    while at < end:
        size = int.from_bytes(buffer[at : at + 4], "little")
        fields.append(bytes(buffer[at + 4 : at + 4 + size]))
        at += 4 + size
    del buffer[:end]
    return fields


def port_name(pair: int, stream: int) -> str:
    """Name of the virtio-serial port that carries stdout (0) or stderr (1) of slot ``pair``."""
    return f"{'out' if stream == 0 else 'err'}{pair}"


class Pump:
    """Carries one pipe to one port in frames; never blocks, so a slow reader outside holds up only itself.

    A blocking write would make the kernel spin with interrupts off until the host has read
    (``__send_to_port``), hence O_NONBLOCK and poll.
    """

    def __init__(self, pipe: int, port: int) -> None:
        self.pipe = pipe
        self.port = port
        self.pending = b""
        self.ended = False

    def wants(self) -> tuple[int, int]:
        """Return the descriptor and the poll event this pump waits for."""
        return (self.port, select.POLLOUT) if self.pending else (self.pipe, select.POLLIN)

    def step(self) -> bool:
        """Move what can be moved; False when the stream has ended and its end has been sent."""
        if not self.pending:
            data = os.read(self.pipe, CHUNK)
            self.ended = not data
            self.pending = len(data).to_bytes(4, "little") + data
        try:
            self.pending = self.pending[os.write(self.port, self.pending) :]
        except BlockingIOError:
            return True
        if self.ended and not self.pending:
            os.close(self.pipe)
            return False
        return True


class Agent:
    """The loop over the control port, the pumps and the children."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self.control = ports[CONTROL]
        self.received = bytearray()
        self.outgoing = b""
        self.pumps: list[Pump] = []
        self.children: dict[int, tuple[bytes, int]] = {}  # pid: (ID, pidfd)
        self.inputs: dict[bytes, int] = {}  # ID: the end of a child's stdin that is written to

    def send(self, *fields: str | bytes | int) -> None:
        """Queue a control message."""
        self.outgoing += pack(*fields)

    def serve(self) -> None:
        """Serve until the host has closed the ports: it has ended, so the machine goes too."""
        try:
            self.loop()
        except BrokenPipeError:  # an output port, before the control port said so
            return

    def loop(self) -> None:
        """Serve until the host has closed the control port."""
        self.send("ready")
        while True:
            poll = select.poll()
            poll.register(self.control, select.POLLIN | (select.POLLOUT if self.outgoing else 0))
            for _, pidfd in self.children.values():
                poll.register(pidfd, select.POLLIN)
            waiting = {}
            for pump in self.pumps:
                descriptor, event = pump.wants()
                poll.register(descriptor, event)
                waiting[descriptor] = pump
            for descriptor, events in poll.poll():
                if descriptor == self.control:
                    if events & (select.POLLHUP | select.POLLERR) or not self.serve_control(events):
                        return
                elif descriptor in waiting and not waiting[descriptor].step():
                    self.pumps.remove(waiting[descriptor])
            self.reap()

    def serve_control(self, events: int) -> bool:
        """Read and write the control port; False when the host has closed it."""
        if events & select.POLLOUT and self.outgoing:
            self.outgoing = self.outgoing[os.write(self.control, self.outgoing) :]
        if events & select.POLLIN:
            data = os.read(self.control, 65536)
            if not data:
                return False
            self.received += data
            while (message := unpack(self.received)) is not None:
                self.obey(message)
        return True

    def obey(self, message: list[bytes]) -> None:
        """Do what one message asks for."""
        verb, ident = message[0], message[1]
        if verb == b"run":
            self.run(ident, message[2:], input_file(message[4]))
        elif verb == b"talk":
            source, self.inputs[ident] = os.pipe()
            self.run(ident, message[2:], source)
        elif verb == b"tell":
            try:
                os.write(self.inputs[ident], message[2])
            except (KeyError, BrokenPipeError):  # it has ended, or reads no more
                return
        elif verb == b"signal":
            for pid, (running, _) in self.children.items():
                if running == ident:
                    os.killpg(pid, int(message[2]))

    def run(self, ident: bytes, fields: list[bytes], source: int) -> None:
        """Start a command in a process group of its own that reads ``source``; output on its slot's ports.

        One that cannot be started says so on its stderr and exits with 127, as in a shell.
        """
        pair, cwd, argc = int(fields[0]), fields[1], int(fields[3])
        argv = fields[4 : 4 + argc]
        environment = dict(item.split(b"=", 1) for item in fields[4 + argc :])
        pipes = [os.pipe(), os.pipe()]
        try:
            os.chdir(cwd)
            os.environ["PATH"] = os.fsdecode(environment.get(b"PATH", b"/usr/sbin:/usr/bin:/sbin:/bin"))
            pid = os.posix_spawnp(
                argv[0],
                argv,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, pipes[0][1], 1),
                    (os.POSIX_SPAWN_DUP2, pipes[1][1], 2),
                ],
                setpgroup=0,
                setsigdef=[SIGPIPE, SIGXFSZ],  # Python ignores both, and that would be inherited
            )
        except OSError as error:
            name = os.fsdecode(error.filename or argv[0])
            os.write(pipes[1][1], os.fsencode(f"lab: cannot run {name}: {error.strerror}\n"))
            self.send("exit", ident, 127)
            self.close_input(ident)
        else:
            self.children[pid] = (ident, os.pidfd_open(pid))
        os.close(source)
        for stream, (read_end, write_end) in enumerate(pipes):
            os.close(write_end)
            self.pumps.append(Pump(read_end, self.ports[port_name(pair, stream)]))

    def close_input(self, ident: bytes) -> None:
        """Let go of the stdin of a command that has ended."""
        if ident in self.inputs:
            os.close(self.inputs.pop(ident))

    def reap(self) -> None:
        """Collect every child that has ended, orphans of others too: this is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                ident, pidfd = self.children.pop(pid)
                os.close(pidfd)
                self.close_input(ident)
                self.send("exit", ident, os.waitstatus_to_exitcode(status))


def input_file(data: bytes) -> int:
    """Return a descriptor from which a command reads ``data``."""
    if not data:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    source = os.memfd_create("stdin")
    written = 0
    while written < len(data):
        written += os.write(source, data[written:])
    os.lseek(source, 0, os.SEEK_SET)
    return source


def open_ports(expected: int) -> dict[str, int]:
    """Open the virtio-serial ports by name, once all have been announced (after the driver's start)."""
    ports: dict[str, int] = {}
    for _ in range(500):
        for entry in os.listdir("/sys/class/virtio-ports"):
            try:
                with open(f"/sys/class/virtio-ports/{entry}/name", encoding="ascii") as file:
                    name = file.read().strip()
            except FileNotFoundError:
                continue
            if name and name not in ports:
                ports[name] = os.open(f"/dev/{entry}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        if len(ports) == expected:
            break
        select.poll().poll(20)
    return ports


def main() -> None:
    """Serve, then take the machine down at once: nothing of it is to be kept."""
    try:
        Agent(open_ports(int(sys.argv[1]))).serve()
    finally:
        sys.stdout.flush()
        if os.getpid() == 1:
            # A reset ends QEMU, which runs with -no-reboot.
            with open("/proc/sysrq-trigger", "w", encoding="ascii") as file:
                file.write("b")


if __name__ == "__main__":
    main()
