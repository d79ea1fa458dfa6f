# SPDX-License-Identifier: Apache-2.0
"""`flexlink doctor --peer` and `--listen`: the session of the two sides. Judging is peer_model's.

The caller tries all pairs of addresses, then the listener does; each tells the other what it
found, so that both print both directions.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexlink.doctor import peer_model
from flexlink.doctor.findings import Finding, plain
from flexlink.doctor.netlink import read_links
from flexlink.doctor.nic_reader import read_nics
from flexlink.doctor.nics import Nic, Wish
from flexlink.doctor.peer_echo import Listener, call, try_pairs
from flexlink.doctor.peer_model import Reach, Side
from flexlink.doctor.peer_wire import PeerError, Wire

DEFAULT_PORT = 29410
_TURN_S = 150.0  # 64 pairs: 4 rounds of connecting, MEASURE_S, and the last one's echoes
_MOST_REFUSALS_SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """What both sides know after a session. to_peer is tried by us, from_peer by the peer."""

    own: Side
    peer: Side
    to_peer: Sequence[Reach]
    from_peer: Sequence[Reach]

    def findings(self) -> list[Finding]:
        """All findings, ours first."""
        own, peer = self.own, self.peer
        if own.host == peer.host:
            own = dataclasses.replace(own, host=f"{own.host} (here)")
            peer = dataclasses.replace(peer, host=f"{peer.host} (peer)")
        return [
            *peer_model.check_direction(self.to_peer, own.host, peer.host),
            *peer_model.check_direction(self.from_peer, peer.host, own.host),
            *peer_model.check_mtu(own, peer),
        ]


def split_target(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT, [IPv6]:PORT or IPv6. PeerError: the port is no number from 1 to 65535."""
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isdecimal() and 1 <= int(port) <= 65535)):
        raise PeerError(f"--peer {plain(text)}: not HOST, HOST:PORT or [IPv6]:PORT")
    return host, int(port or DEFAULT_PORT)


def _own_side(wire: Wire, nics: Sequence[Nic], wish: Wish, port: int) -> Side:
    loopback = wire.own_ip == "::1" or wire.own_ip.startswith("127.")
    return Side(plain(socket.gethostname(), 64), port, peer_model.offered(nics, wish, loopback))


def _nics() -> tuple[Nic, ...]:
    try:
        return read_nics(Path("/"), read_links())
    except OSError as error:
        raise PeerError(f"the kernel does not list its NICs: {error}") from None


def call_peer(target: tuple[str, int], token: str, env: Mapping[str, str]) -> Outcome:
    """The calling side. PeerError: there is no listener, or it went away in the middle."""
    host, port = target
    nics, wish = _nics(), Wish.of(env)
    try:
        wire = call((host, port), token, "session")
    except PeerError as error:
        hint = f"; is 'flexlink doctor --listen {port}' running there, with this token?"
        raise PeerError(f"{plain(host)} port {port}: {error}{hint}") from None
    with wire, Listener(0, token) as echo:
        own = _own_side(wire, nics, wish, echo.port)
        wire.send(peer_model.side_message(own))
        peer = peer_model.side_of(wire.receive())
        to_peer = try_pairs(peer_model.pairs(own.ends, peer.ends), peer.port, token)
        wire.send(peer_model.reach_message(to_peer))
        from_peer = peer_model.reached_of(
            wire.receive(_TURN_S), peer_model.pairs(peer.ends, own.ends)
        )
    return Outcome(own, peer, to_peer, from_peer)


def _answer(wire: Wire, token: str, port: int, env: Mapping[str, str]) -> Outcome:
    """The listening side of a session."""
    own = _own_side(wire, _nics(), Wish.of(env), port)
    peer = peer_model.side_of(wire.receive())
    wire.send(peer_model.side_message(own))
    from_peer = peer_model.reached_of(wire.receive(_TURN_S), peer_model.pairs(peer.ends, own.ends))
    to_peer = try_pairs(peer_model.pairs(own.ends, peer.ends), peer.port, token)
    wire.send(peer_model.reach_message(to_peer))
    return Outcome(own, peer, to_peer, from_peer)


def _address(nics: Sequence[Nic], wish: Wish) -> str:
    """What the other side most likely reaches us by, as it is written before a :PORT."""
    ends = peer_model.offered(nics, wish, False)
    if not ends:
        return "127.0.0.1"
    return f"[{ends[0].ip}]" if ":" in ends[0].ip else ends[0].ip


def listen(port: int, token: str, seconds: float, env: Mapping[str, str]) -> Outcome:
    """Waits for one session with a peer that has the token. PeerError: none in `seconds`."""
    ended: queue.Queue[Outcome | PeerError] = queue.Queue()
    refusals: list[str] = []
    address = _address(_nics(), Wish.of(env))

    def session(wire: Wire) -> None:
        try:
            ended.put(_answer(wire, token, listener.port, env))
        except PeerError as error:
            ended.put(PeerError(f"the session with the peer broke off: {error}"))

    def refuse(who: str, why: str) -> None:
        refusals.append(who)
        if len(refusals) <= _MOST_REFUSALS_SHOWN:
            print(f"refused {who}: {why}", file=sys.stderr, flush=True)

    try:
        listener = Listener(port, token, session, refuse)
    except OSError as error:
        text = f"cannot listen on port {port}: {os.strerror(error.errno or 0)}"
        raise PeerError(f"{text}; 'ss -ltnp sport = :{port}' shows who does") from None
    with listener:
        command = f"flexlink doctor --peer {address}:{listener.port} --token {shlex.quote(token)}"
        lines = (
            f"listening on port {listener.port} of all addresses; on the other host:\n  {command}"
        )
        print(lines, file=sys.stderr, flush=True)
        try:
            outcome = ended.get(timeout=seconds)
        except queue.Empty:
            raise PeerError(f"no peer with this token came in {seconds:g} s") from None
    if isinstance(outcome, PeerError):
        raise outcome
    return outcome
