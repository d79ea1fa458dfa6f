# SPDX-License-Identifier: Apache-2.0
"""How two doctors talk: frames of bounded length over TCP, and a proof of the token by both sides.

A frame is a 32-bit big-endian length and that many bytes, mostly a JSON object. The token itself
never travels. Every wait has a deadline. What is said is in peer.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import struct
import time
from typing import Any

from flexlink.doctor.findings import plain
from flexlink.errors import FlexlinkError

VERSION = 1
MOST_BYTES = 64 << 10  # of one frame
HANDSHAKE_S = 5.0
_LENGTH = struct.Struct("!I")


class PeerError(FlexlinkError):
    """The other side cannot be reached, is no doctor, has another token or stays silent."""


class Wire:
    """One connection. Not for two threads at once. Closes its socket when it is left."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; a thread that waits on it gets PeerError."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @property
    def own_ip(self) -> str:
        """Our address on this connection, without scope; IPv4 also where the socket is IPv6."""
        return str(self._socket.getsockname()[0]).partition("%")[0].removeprefix("::ffff:")

    def send_bytes(self, payload: bytes, seconds: float) -> None:
        """One frame of at most MOST_BYTES. PeerError: not taken in `seconds`, or closed."""
        if len(payload) > MOST_BYTES:
            raise PeerError(f"a frame of {len(payload)} bytes is over the limit of {MOST_BYTES}")
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(_LENGTH.pack(len(payload)) + payload)
        except TimeoutError:
            raise PeerError(f"the peer takes nothing for {seconds:g} s") from None
        except OSError as error:
            raise PeerError(f"send: {error.strerror or error}") from None

    def receive_bytes(self, seconds: float) -> bytes:
        """The next frame. PeerError: not whole in `seconds`, too long, or the end."""
        end = time.monotonic() + seconds
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, end, seconds))
        if length > MOST_BYTES:
            raise PeerError(f"not a doctor: a frame of {length} bytes; the limit is {MOST_BYTES}")
        return self._exactly(length, end, seconds)

    def _exactly(self, length: int, end: float, seconds: float) -> bytes:
        got = bytearray()
        while len(got) < length:
            left = end - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
                part = self._socket.recv(length - len(got))
            except TimeoutError:
                raise PeerError(f"no answer in {seconds:g} s") from None
            except OSError as error:
                raise PeerError(f"receive: {error.strerror or error}") from None
            if not part:
                raise PeerError("the peer closed the connection")
            got += part
        return bytes(got)

    def send(self, message: dict[str, Any], seconds: float = HANDSHAKE_S) -> None:
        """One JSON object."""
        self.send_bytes(json.dumps(message).encode(), seconds)

    def receive(self, seconds: float = HANDSHAKE_S) -> dict[str, Any]:
        """One JSON object; an {"error": ...} of the peer becomes a PeerError."""
        raw = self.receive_bytes(seconds)
        try:
            message = json.loads(raw)
        except (ValueError, RecursionError):
            raise PeerError("not a doctor: a frame that is no JSON") from None
        if not isinstance(message, dict):
            raise PeerError("not a doctor: a frame that is no JSON object")
        if "error" in message:
            raise PeerError(f"the peer says: {plain(str(message['error']))}")
        return message


def _proof(token: str, side: str, nonces: str) -> str:
    return hmac.new(token.encode(), f"{side} {nonces}".encode(), hashlib.sha256).hexdigest()


def _nonce(message: dict[str, Any]) -> str:
    nonce = message.get("nonce")
    if not isinstance(nonce, str) or not 16 <= len(nonce) <= 64:
        raise PeerError("not a doctor: no nonce")
    return nonce


def _check(message: dict[str, Any], token: str, side: str, nonces: str) -> bool:
    proof = message.get("proof")
    given = proof.encode() if isinstance(proof, str) else b""
    return hmac.compare_digest(given, _proof(token, side, nonces).encode())


def greet(wire: Wire, token: str) -> None:
    """The accepting side of the handshake. PeerError: the other side does not have the token."""
    own = secrets.token_hex(16)
    wire.send({"flexlink": "doctor", "version": VERSION, "nonce": own})
    answer = wire.receive()
    nonces = f"{own} {_nonce(answer)}"
    if not _check(answer, token, "caller", nonces):
        wire.send({"error": "wrong token"})
        raise PeerError("wrong token")
    wire.send({"proof": _proof(token, "listener", nonces)})


def introduce(wire: Wire, token: str) -> None:
    """The calling side of the handshake. PeerError: no doctor, another version, a wrong token."""
    greeting = wire.receive()
    if greeting.get("flexlink") != "doctor":
        raise PeerError("not a doctor: it greets in another way")
    if greeting.get("version") != VERSION:
        theirs = plain(str(greeting.get("version")), 20)
        raise PeerError(f"the peer speaks version {theirs}, this doctor speaks version {VERSION}")
    own = secrets.token_hex(16)
    nonces = f"{_nonce(greeting)} {own}"
    wire.send({"nonce": own, "proof": _proof(token, "caller", nonces)})
    if not _check(wire.receive(), token, "listener", nonces):
        raise PeerError("the listener does not know the token: is that the right host and port?")
