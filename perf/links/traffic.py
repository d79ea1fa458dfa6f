# SPDX-License-Identifier: Apache-2.0
"""Other traffic on a link: one TCP connection that is full both ways, until it is killed.

argv: the address where one end listens, and which end this is: listen or dial.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

ADDRESS = (sys.argv[1], 21078)


def connect() -> socket.socket:
    """The two ends are started at about the same time."""
    if sys.argv[2] == "listen":
        return socket.create_server(ADDRESS).accept()[0]
    while True:
        try:
            return socket.create_connection(ADDRESS)
        except ConnectionRefusedError:
            time.sleep(0.01)


def drain(link: socket.socket) -> None:
    """Reads what comes."""
    into = bytearray(1 << 20)
    while link.recv_into(into):
        pass


def main() -> None:
    """Sends zeros."""
    link = connect()
    threading.Thread(target=drain, args=[link], daemon=True).start()
    data = bytes(1 << 20)
    while True:
        link.sendall(data)


main()
