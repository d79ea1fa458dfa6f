# SPDX-License-Identifier: Apache-2.0
"""One end of a TCP connection that carries the same bytes both ways at once: what sockets can do.

argv: as rank.py; "nic" names the host's NIC, or is lo; with "mptcp" it is an MPTCP connection, with
"sockets" so many of them share the bytes, with "zerocopy" the kernel sends from our pages, with
"uring" it is asked by io_uring. Prints the same.
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import sys
import time

import uring

JOB = json.loads(sys.argv[1])
RANK = JOB["rank"]
ADDRESS = ("127.0.0.1" if JOB["nic"] == "lo" else "10.77.0.1", 20007)
CHUNK = 256 << 10
MPTCP = 262  # socket.IPPROTO_MPTCP, of Python 3.10.1 and later on some systems
SO_ZEROCOPY, MSG_ZEROCOPY, MSG_ERRQUEUE = 60, 0x4000000, 0x2000  # of Linux; Python names none
SOCKETS = JOB.get("sockets", 1)
ZEROCOPY = JOB.get("zerocopy", False)


def new_socket() -> socket.socket:
    """Of the kind that is wanted."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP if JOB.get("mptcp") else 0)


def connect() -> list[socket.socket]:
    """Rank 0 listens."""
    if RANK == 0:
        with new_socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("", ADDRESS[1]))  # subflows of MPTCP come to the other addresses
            door.listen(SOCKETS)
            return [door.accept()[0] for _ in range(SOCKETS)]
    return [dial() for _ in range(SOCKETS)]


def dial() -> socket.socket:
    """Until somebody listens."""
    for _ in range(1000):
        link = new_socket()
        try:
            link.connect(ADDRESS)
            return link
        except ConnectionRefusedError:
            link.close()
            time.sleep(0.01)
    sys.exit("nobody listens")


class Flow:
    """One socket and its part of the bytes."""

    def __init__(self, link: socket.socket, out: memoryview, into: memoryview) -> None:
        self.link, self.out, self.into = link, out, into
        self.sent = self.got = 0

    def send(self) -> None:
        """What the socket takes now."""
        part = self.out[self.sent : self.sent + CHUNK]
        if not ZEROCOPY:
            self.sent += self.link.send(part)
            return
        try:
            self.sent += self.link.send(part, MSG_ZEROCOPY)
        except OSError:  # too many pages are lent: the kernel's receipts give them back
            self.receipts()
        self.receipts()

    def receipts(self) -> None:
        """Reads what the kernel says of pages that it needs no more."""
        try:
            while True:
                self.link.recvmsg(1, 512, MSG_ERRQUEUE)
        except BlockingIOError:
            pass


def exchange(flows: list[Flow]) -> None:
    """Both ways at once, until all is there."""
    for flow in flows:
        flow.sent = flow.got = 0
    while True:
        gets = {flow.link: flow for flow in flows if flow.got < len(flow.into)}
        sends = {flow.link: flow for flow in flows if flow.sent < len(flow.out)}
        if not gets and not sends:
            return
        readable, writable, _ = select.select(list(gets), list(sends), [])
        for link in readable:
            flow = gets[link]
            try:
                flow.got += link.recv_into(flow.into[flow.got : flow.got + CHUNK])
            except BlockingIOError:  # a receipt, not bytes
                flow.receipts()
        for link in writable:
            sends[link].send()


def exchange_by_ring(ring: uring.Ring, flow: Flow) -> None:
    """The same with one send and one receive at the kernel's hands all the time."""
    flow.sent = flow.got = 0
    out = ctypes.addressof(ctypes.c_char.from_buffer(flow.out))
    into = ctypes.addressof(ctypes.c_char.from_buffer(flow.into))
    fd, size = flow.link.fileno(), len(flow.out)
    ring.add(uring.SEND, fd, out, min(CHUNK, size), uring.SEND)
    ring.add(uring.RECV, fd, into, min(CHUNK, size), uring.RECV)
    while flow.sent < size or flow.got < size:
        for token, result in ring.run():
            if result <= 0:
                sys.exit(f"io_uring: operation {token} gave {result}")
            if token == uring.SEND:
                flow.sent += result
                if flow.sent < size:
                    ring.add(token, fd, out + flow.sent, min(CHUNK, size - flow.sent), token)
            else:
                flow.got += result
                if flow.got < size:
                    ring.add(token, fd, into + flow.got, min(CHUNK, size - flow.got), token)


def main() -> None:
    """Rounds as rank.py makes them."""
    out = memoryview(bytearray([RANK + 1]) * JOB["bytes"])
    into = memoryview(bytearray(JOB["bytes"]))
    flows = []
    ring = uring.Ring() if JOB.get("uring") else None
    for i, link in enumerate(connect()):
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ZEROCOPY:
            link.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        link.setblocking(ring is not None)
        part = slice(i * len(out) // SOCKETS, (i + 1) * len(out) // SOCKETS)
        flows.append(Flow(link, out[part], into[part]))
    times: list[float] = []
    cpu = 0.0
    for turn in range(-max(3, JOB["rounds"] // 10), JOB["rounds"]):
        start, used = time.monotonic(), time.process_time()
        exchange(flows) if ring is None else exchange_by_ring(ring, flows[0])
        if turn >= 0:
            times.append(time.monotonic() - start)
            cpu += time.process_time() - used
    assert into.tobytes().count(2 - RANK) == len(into)
    print(json.dumps({"starts": [], "times": times, "cpu": cpu}))


main()
