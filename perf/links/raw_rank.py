# SPDX-License-Identifier: Apache-2.0
"""One end of a TCP connection that carries the same bytes both ways at once: what sockets can do.

argv: as rank.py; "nic" names the host's NIC, or is lo. Prints the same.
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


def connect() -> socket.socket:
    """Rank 0 listens."""
    if RANK == 0:
        with socket.create_server(ADDRESS) as door:
            return door.accept()[0]
    for _ in range(1000):
        try:
            return socket.create_connection(ADDRESS)
        except ConnectionRefusedError:
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
    out, into = memoryview(bytearray(JOB["bytes"])), memoryview(bytearray(JOB["bytes"]))
    times: list[float] = []
    cpu = 0.0
    for turn in range(-max(3, JOB["rounds"] // 10), JOB["rounds"]):
        start, used = time.monotonic(), time.process_time()
        exchange(link, out, into)
        if turn >= 0:
            times.append(time.monotonic() - start)
            cpu += time.process_time() - used
    print(json.dumps({"starts": [], "times": times, "cpu": cpu}))


main()
