# SPDX-License-Identifier: Apache-2.0
"""Rank 0 hands 128 bytes to every other rank over TCP on MASTER_PORT, and is gone again.

Each side proves that it knows the job's secret (FLEXLINK_SECRET; `flexlink run` makes one) before
the id moves; garbage and port scans cost one connection. Not the library's own bootstrap.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from flexlink.errors import RendezvousError

Place = tuple[str, int]

ID_BYTES = 128
_MAGIC = b"FLXRDV01"
_NONCE_BYTES = 16
_PROOF_BYTES = hashlib.sha256().digest_size
_HELLO = struct.Struct(f"<8s16s3I{_NONCE_BYTES}s{_PROOF_BYTES}s")  # magic, root's nonce, rank, ...
_ANSWER = struct.Struct(f"<I{ID_BYTES}s{_PROOF_BYTES}s")
_GIVEN, _LATER, _REFUSED = 0, 1, 2
_PEER_SECONDS = 2.0  # a stranger who connects and says nothing is dropped after this
_RETRY_SECONDS = 0.02


class Job(NamedTuple):
    """Who asks: rank of size, the how-manieth init() of the process, and the job's secret."""

    rank: int
    size: int
    ordinal: int
    secret: bytes


def _proof(job: Job, *parts: bytes) -> bytes:
    return hmac.digest(job.secret, b"|".join(parts), "sha256")


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("the other side closed the connection")
        data += piece
    return data


# ---- Rank 0 ----


def _listen(place: Place) -> socket.socket:
    host, port = place
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        raise RendezvousError(
            f"rank 0 cannot listen on MASTER_ADDR={host} MASTER_PORT={port}: {error}. MASTER_ADDR "
            "must be an address of rank 0's host and the port must be free; or set "
            "NCCL_COMM_ID=host:port instead"
        ) from error
    return listener


def _hear(connection: socket.socket, job: Job, unique_id: bytes) -> int | None:
    """Talks to one caller: the rank that got the id now, or None."""
    nonce = os.urandom(_NONCE_BYTES)
    connection.sendall(_MAGIC + nonce)
    hello = _read(connection, _HELLO.size)
    magic, echoed, rank, size, ordinal, theirs, proof = _HELLO.unpack(hello)
    honest = hmac.compare_digest(proof, _proof(job, hello[:-_PROOF_BYTES]))
    if magic != _MAGIC or echoed != nonce or not honest:
        return None
    if size != job.size or not 0 < rank < job.size:
        verdict, payload = _REFUSED, f"rank 0 has {job.size} ranks".encode()
    elif ordinal != job.ordinal:
        verdict, payload = _LATER, b""
    else:
        verdict, payload = _GIVEN, unique_id
    body = payload.ljust(ID_BYTES, b"\0")
    answer = struct.pack("<I", verdict)
    connection.sendall(_ANSWER.pack(verdict, body, _proof(job, answer, body, theirs)))
    return int(rank) if verdict == _GIVEN else None


def serve(make_id: Callable[[], bytes], job: Job, place: Place, deadline: float) -> bytes:
    """Rank 0's side: makes the id and stays until every other rank has it; returns it.

    Raises:
        RendezvousError: the port cannot be had, or ranks are missing at `deadline` (monotonic
            seconds); the text names them.
    """
    missing = set(range(1, job.size))
    with _listen(place) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        unique_id = make_id()
        while missing:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise RendezvousError(_missing_text(missing, job.size, place))
            if not selector.select(remaining):
                continue
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_PEER_SECONDS)
                missing.discard(_hear(connection, job, unique_id) or 0)
    return unique_id


def _missing_text(missing: set[int], size: int, place: Place) -> str:
    named = ", ".join(map(str, sorted(missing)[:16])) + (", ..." if len(missing) > 16 else "")
    return (
        f"{len(missing)} of {size} ranks did not come to {place[0]}:{place[1]}: {named}. Look at "
        "their output; MASTER_ADDR, MASTER_PORT and FLEXLINK_SECRET must be equal on all ranks"
    )


# ---- The other ranks ----


def _ask_once(job: Job, place: Place, timeout: float) -> tuple[int, bytes]:
    """One conversation with rank 0: (verdict, payload)."""
    with socket.create_connection(place, timeout=timeout) as connection:
        greeting = _read(connection, len(_MAGIC) + _NONCE_BYTES)
        if not greeting.startswith(_MAGIC):
            raise ConnectionError(f"somebody else answers there ({greeting[:8]!r})")
        mine = os.urandom(_NONCE_BYTES)
        who = struct.pack("<3I", job.rank, job.size, job.ordinal)
        hello = greeting + who + mine
        connection.sendall(hello + _proof(job, hello))
        answer = _read(connection, _ANSWER.size)
    verdict, payload, proof = _ANSWER.unpack(answer)
    if not hmac.compare_digest(proof, _proof(job, answer[:4], payload, mine)):
        raise ConnectionError("the answer is not signed with this job's FLEXLINK_SECRET")
    return verdict, payload


def ask(job: Job, place: Place, deadline: float) -> bytes:
    """Another rank's side: asks rank 0 for the id until it has it.

    Raises:
        RendezvousError: not before `deadline` (monotonic seconds); says what came back last.
    """
    problem = "nobody listened"
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            verdict, payload = _ask_once(job, place, min(remaining, _PEER_SECONDS))
        except OSError as error:
            problem = str(error)
        else:
            if verdict == _GIVEN:
                return payload
            if verdict == _REFUSED:
                text = payload.rstrip(b"\0").decode(errors="replace")
                raise RendezvousError(f"rank {job.rank} of {job.size}: {text}")
            problem = "rank 0 is still busy with an earlier init()"
        time.sleep(_RETRY_SECONDS)
    raise RendezvousError(
        f"rank {job.rank} of {job.size} did not get the id from rank 0 at "
        f"{place[0]}:{place[1]}: {problem}. Is rank 0 running, and is the address its own?"
    )
