# SPDX-License-Identifier: Apache-2.0
"""The echo that both doctors answer, and the tries from each NIC to each address of the peer."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from flexlink.doctor.findings import plain
from flexlink.doctor.peer_model import End, Reach
from flexlink.doctor.peer_wire import HANDSHAKE_S, MOST_BYTES, PeerError, Wire, greet, introduce

CONNECT_S = 2.0
ECHO_S = 3.0
ROUNDS = 5
_FRAMES = ROUNDS + 1  # the last one is of MOST_BYTES
_MOST_CONNECTIONS = 80  # 64 pairs, the session and some strangers
_AT_ONCE = 16
MEASURE_S = 60.0  # for all pairs of one side
_IDLE_S = MEASURE_S + 30  # a connection waits while those before it are measured

OnSession = Callable[[Wire], None]


def bind_all(port: int) -> socket.socket:
    """A listening socket on all addresses of both families. OSError: the port is taken."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 may be compiled in and switched off
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128
            )
    return socket.create_server(("", port), backlog=128)


class Listener:
    """Accepts callers that have the token: echoes, or hands a session to `on_session`.

    Each connection has a thread of its own, at most _MOST_CONNECTIONS. `on_refused` is called
    with the caller's address and the reason, from those threads.
    """

    def __init__(
        self,
        port: int,
        token: str,
        on_session: OnSession | None = None,
        on_refused: Callable[[str, str], None] = lambda _who, _why: None,
    ) -> None:
        self._socket = bind_all(port)
        self._token = token
        self._on_session = on_session
        self._on_refused = on_refused
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._closed = threading.Event()

    def __enter__(self) -> Listener:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError:
                if self._closed.is_set():
                    return
                time.sleep(0.05)  # out of descriptors: others will give theirs back
                continue
            if not self._room.acquire(blocking=False):
                connection.close()
                continue
            who = plain(str(address[0]).removeprefix("::ffff:"), 64)
            threading.Thread(target=self._serve, args=(connection, who), daemon=True).start()

    def _serve(self, connection: socket.socket, who: str) -> None:
        try:
            with Wire(connection) as wire:
                try:
                    greet(wire, self._token)
                    wanted = wire.receive().get("do")
                except PeerError as error:
                    self._on_refused(who, str(error))
                    return
                if wanted == "echo":
                    with contextlib.suppress(PeerError):  # it may leave when it likes
                        for _ in range(_FRAMES):
                            wire.send_bytes(wire.receive_bytes(_IDLE_S), ECHO_S)
                elif wanted == "session" and self._on_session is not None:
                    self._on_session(wire)
        finally:
            self._room.release()


def call(target: tuple[str, int], token: str, what: str, source: str = "") -> Wire:
    """Connects (from the address `source`), proves the token and says what for.

    PeerError: what came back instead.
    """
    host, port = target
    try:
        connection = socket.create_connection(
            (host, port), CONNECT_S, (source, 0) if source else None
        )
    except TimeoutError:
        raise PeerError(f"no answer in {CONNECT_S:g} s") from None
    except OSError as error:
        raise PeerError(f"connect: {error.strerror or error}") from None
    wire = Wire(connection)
    try:
        introduce(wire, token)
        wire.send({"do": what}, HANDSHAKE_S)
    except BaseException:
        wire.close()
        raise
    return wire


def _round_trip(wire: Wire, payload: bytes) -> float:
    """Seconds. PeerError: another answer, or none in ECHO_S."""
    start = time.perf_counter()
    wire.send_bytes(payload, ECHO_S)
    if wire.receive_bytes(ECHO_S) != payload:
        raise PeerError("the echo has other bytes than were sent")
    return time.perf_counter() - start


def _measure(wire: Wire) -> float:
    """Median round trip of 16 bytes in µs, after which 64 KiB must come back too."""
    took = [_round_trip(wire, bytes([i]) * 16) for i in range(ROUNDS)]
    try:
        _round_trip(wire, bytes(range(256)) * (MOST_BYTES // 256))
    except PeerError as error:
        raise PeerError(f"16 bytes come back, 64 KiB do not: {error}") from None
    return round(statistics.median(took) * 1e6, 1)


def try_pairs(tried: Sequence[tuple[End, End]], port: int, token: str) -> list[Reach]:
    """Each pair in the order given: connected side by side, measured one after the other."""

    def connect(pair: tuple[End, End]) -> Wire | str:
        try:
            return call((pair[1].ip, port), token, "echo", pair[0].ip)
        except PeerError as error:
            return str(error)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        wires = list(pool.map(connect, tried))
    found = []
    end = time.monotonic() + MEASURE_S
    for (source, target), wire in zip(tried, wires, strict=True):
        if isinstance(wire, str):
            found.append(Reach(source, target, None, wire))
            continue
        with wire:
            try:
                if time.monotonic() > end:
                    raise PeerError(f"not measured: the pairs before it took {MEASURE_S:g} s")
                found.append(Reach(source, target, _measure(wire)))
            except PeerError as error:
                found.append(Reach(source, target, None, str(error)))
    return found
