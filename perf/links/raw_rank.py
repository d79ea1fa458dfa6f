# SPDX-License-Identifier: Apache-2.0
"""One end of a TCP connection that carries the same bytes both ways at once: what sockets can do.

argv: as rank.py; "nic" names the host's NIC, or is lo; with "mptcp" it is an MPTCP connection.
Prints the same.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

JOB = json.loads(sys.argv[1])
RANK = JOB["rank"]
ADDRESS = ("127.0.0.1" if JOB["nic"] == "lo" else "10.77.0.1", 21077)
CHUNK = 256 << 10
MPTCP = 262  # socket.IPPROTO_MPTCP, of Python 3.10.1 and later on some systems


def new_socket() -> socket.socket:
    """Of the kind that is wanted."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP if JOB.get("mptcp") else 0)


def connect() -> socket.socket:
    """Rank 0 listens."""
    if RANK == 0:
        with new_socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("", ADDRESS[1]))  # subflows of MPTCP come to the other addresses
            door.listen(1)
            return door.accept()[0]
    for _ in range(1000):
        link = new_socket()
        try:
            link.connect(ADDRESS)
            return link
        except ConnectionRefusedError:
            link.close()
            time.sleep(0.01)
    sys.exit("nobody listens")


def exchange(link: socket.socket, out: memoryview, into: memoryview) -> None:
    """Both ways at once, until all is there."""
    sent = got = 0
    while sent < len(out) or got < len(into):
        want = [link] if sent < len(out) else []
        readable, writable, _ = select.select([link] if got < len(into) else [], want, [])
        if readable:
            got += link.recv_into(into[got : got + CHUNK])
        if writable:
            sent += link.send(out[sent : sent + CHUNK])


def main() -> None:
    """Rounds as rank.py makes them."""
    link = connect()
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setblocking(False)
    out = memoryview(bytes([RANK + 1]) * JOB["bytes"])
    into = memoryview(bytearray(JOB["bytes"]))
    times: list[float] = []
    cpu = 0.0
    for turn in range(-max(3, JOB["rounds"] // 10), JOB["rounds"]):
        start, used = time.monotonic(), time.process_time()
        exchange(link, out, into)
        if turn >= 0:
            times.append(time.monotonic() - start)
            cpu += time.process_time() - used
    assert into.tobytes().count(2 - RANK) == len(into)
    print(json.dumps({"starts": [], "times": times, "cpu": cpu}))


main()
