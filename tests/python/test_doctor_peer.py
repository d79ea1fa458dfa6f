# SPDX-License-Identifier: Apache-2.0
"""Two doctors over TCP: who reaches whom, what a wrong token and garbage get, how long it takes."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest
from doctor_support import DOCTOR, ETH0, LO, nic

from flexlink.doctor.findings import Finding
from flexlink.doctor.nics import Wish
from flexlink.doctor.peer import split_target
from flexlink.doctor.peer_echo import Listener, call
from flexlink.doctor.peer_model import (
    End,
    Reach,
    Side,
    check_direction,
    check_mtu,
    offered,
    pairs,
    reached_of,
    side_message,
    side_of,
)
from flexlink.doctor.peer_wire import PeerError

TOKEN = "a-token-of-the-test"
A, B = End("eth0", "192.0.2.1", 24, 1500), End("eth0", "192.0.2.2", 24, 1500)
FAR = End("eth1", "198.51.100.2", 24, 1500)
RULE = "sudo iptables -I INPUT -s 192.0.2.1 -p tcp -j ACCEPT"


@contextlib.contextmanager
def listening(
    *words: str, before: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running `flexlink doctor --listen 0` and its port; killed at the end."""
    command = [*before, *DOCTOR, "--listen", "0", "--json", "--timeout", "30", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.fullmatch(r"listening on port (\d+) of all addresses; .*\n", line)
            assert found, line + process.stderr.read()
            yield process, int(found.group(1))
        finally:
            process.kill()


def peer(port: int, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    command = [*DOCTOR, "--json", "--peer", f"127.0.0.1:{port}", "--token", token]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def over_lo(side: dict[str, object], way: str) -> list[tuple[str, str]]:
    """(source, target) of the pairs over 127.0.0.1 that one side reached, both ways alike."""
    rows = side[way]
    assert isinstance(rows, list)
    return [
        (row["source"]["nic"], row["target"]["nic"])
        for row in rows
        if row["source"]["ip"] == row["target"]["ip"] == "127.0.0.1" and row["rtt_us"] > 0
    ]


def test_two_processes_find_both_directions_over_lo() -> None:
    with listening("--token", TOKEN) as (listener, port):
        caller = peer(port)
        out, _ = listener.communicate(timeout=30)
    assert (caller.returncode, listener.returncode) == (0, 0), caller.stderr
    here, there = json.loads(caller.stdout), json.loads(out)
    for side in (here, there):
        assert over_lo(side, "to_peer") == over_lo(side, "from_peer") == [("lo", "lo")]
        assert side["worst"] in ("ok", "warning")
    assert here["to_peer"] == there["from_peer"]
    assert here["from_peer"] == there["to_peer"]


def test_the_listener_makes_a_token_and_prints_the_other_sides_command() -> None:
    with listening() as (listener, port):
        assert listener.stderr is not None
        line = listener.stderr.readline()
        found = re.fullmatch(r"  flexlink doctor --peer \S+:(\d+) --token ([0-9a-f]{32})\n", line)
        assert found and int(found.group(1)) == port, line
        assert peer(port, found.group(2)).returncode == 0


def test_a_wrong_token_is_refused_and_the_listener_goes_on() -> None:
    with listening("--token", TOKEN) as (listener, port):
        wrong = peer(port, TOKEN + "!")
        assert wrong.returncode == 1
        assert wrong.stdout == ""
        assert wrong.stderr == (
            f"flexlink: 127.0.0.1 port {port}: the peer says: wrong token; is 'flexlink doctor "
            f"--listen {port}' running there, with this token?\n"
        )
        assert peer(port).returncode == 0
        _, error = listener.communicate(timeout=30)
        assert "refused 127.0.0.1: wrong token\n" in error
        assert TOKEN + "!" not in error


def test_garbage_is_refused_and_the_listener_goes_on() -> None:
    def frame(text: bytes) -> bytes:
        return struct.pack("!I", len(text)) + text

    garbage = {
        b"GET / HTTP/1.0\r\n\r\n": "not a doctor: a frame of 1195725856 bytes; the limit is 65536",
        frame(b"\xff\x00"): "not a doctor: a frame that is no JSON",
        frame(b"[" * 60000): "not a doctor: a frame that is no JSON",
        frame(b"[1]"): "not a doctor: a frame that is no JSON object",
        frame(b"{}"): "not a doctor: no nonce",
        frame(b'{"nonce": "0123456789abcdef", "proof": 7}'): "wrong token",
    }
    with listening("--token", TOKEN) as (listener, port):
        assert listener.stderr is not None
        listener.stderr.readline()
        for raw, reason in garbage.items():
            with socket.create_connection(("127.0.0.1", port), 5) as stranger:
                stranger.sendall(raw)
                assert listener.stderr.readline() == f"refused 127.0.0.1: {reason}\n"
        assert peer(port).returncode == 0


def test_a_stranger_who_says_nothing_holds_nobody_up() -> None:
    with listening("--token", TOKEN) as (_, port), contextlib.ExitStack() as silent:
        for _ in range(10):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        assert peer(port).returncode == 0


def test_a_listener_without_a_peer_ends_after_its_time() -> None:
    command = [*DOCTOR, "--listen", "0", "--timeout", "0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.endswith("flexlink: no peer with this token came in 0.3 s\n")


def test_nobody_there_and_a_taken_port_are_errors_that_say_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = subprocess.run(
            [*DOCTOR, "--listen", str(port)], capture_output=True, text=True, timeout=30
        )
    assert busy.stderr == (
        f"flexlink: cannot listen on port {port}: Address already in use; "
        f"'ss -ltnp sport = :{port}' shows who does\n"
    )
    done = peer(port)
    assert (done.returncode, done.stderr) == (
        1,
        f"flexlink: 127.0.0.1 port {port}: connect: Connection refused; is 'flexlink doctor "
        f"--listen {port}' running there, with this token?\n",
    )


def test_a_peer_that_cannot_be_reached_back_is_an_error_of_the_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as spare:
        closed = spare.getsockname()[1]
    with listening("--token", TOKEN) as (listener, port):
        wire = call(("127.0.0.1", port), TOKEN, "session")
        own = Side("caller", closed, (End("lo", "127.0.0.1", 8, 65536),))
        wire.send(side_message(own))
        theirs = side_of(wire.receive())
        tried = pairs(own.ends, theirs.ends)
        wire.send({"reached": [{"rtt_us": 1.0, "problem": ""}] * len(tried)})
        back = reached_of(wire.receive(30), pairs(theirs.ends, own.ends))
        out, _ = listener.communicate(timeout=30)
    assert {reach.problem for reach in back} == {"connect: Connection refused"}
    said = json.loads(out)
    (error,) = (f for f in said["findings"] if f["level"] == "error")
    host = socket.gethostname()
    assert error["text"] == f"{host} -> caller: no connection at all; ranks need both directions"
    assert listener.returncode == 1


def test_a_session_with_lies_ends_with_an_error() -> None:
    good = side_message(Side("x", 1, (A,)))
    end = good["ends"][0]
    lies = [
        {}, {**good, "port": 0}, {**good, "port": True}, {**good, "ends": [end] * 9},
        {**good, "ends": [{**end, "ip": "example.org"}]}, {**good, "ends": [{**end, "prefix": 33}]},
        {**good, "ends": [{**end, "ip": "224.0.0.1"}]}, {**good, "ends": [7]}, {**good, "ends": {}},
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(PeerError, match="in a way that this version cannot read"):
            side_of(lie)
    for rows in ([], 3, [{"rtt_us": -1, "problem": ""}], [{"rtt_us": None, "problem": ""}], [{}]):
        with pytest.raises(PeerError, match="results cannot be read"):
            reached_of({"reached": rows}, [(A, B)])


def test_an_echo_is_bounded_in_length_and_number() -> None:
    with Listener(0, TOKEN) as listener:
        with call(("127.0.0.1", listener.port), TOKEN, "echo") as wire:
            for _ in range(6):
                wire.send_bytes(b"x" * 65536, 5)
                assert wire.receive_bytes(5) == b"x" * 65536
            with pytest.raises(PeerError, match=r"closed the connection|reset by peer"):
                wire.receive_bytes(5)
        with call(("127.0.0.1", listener.port), TOKEN, "echo") as wire:
            with pytest.raises(PeerError, match="65537 bytes is over the limit"):
                wire.send_bytes(bytes(65537), 5)
            start = time.monotonic()
            with pytest.raises(PeerError, match=r"no answer in 0\.2 s"):
                wire.receive_bytes(0.2)
            assert time.monotonic() - start < 3


def test_only_nics_of_the_default_set_are_offered_and_lo_within_one_machine() -> None:
    docker = nic("docker0", 3, "172.17.0.1/16", kind="bridge")
    both = nic("eth1", 4, "198.51.100.2/24", "198.51.100.3/24", "2001:db8::1/64", "fe80::1/64")
    nics = [LO, ETH0, docker, both]
    remote = offered(nics, Wish(), loopback=False)
    assert [str(end) for end in remote] == [
        "eth0 192.0.2.1", "eth1 198.51.100.2", "eth1 2001:db8::1",
    ]  # fmt: skip
    assert str(offered(nics, Wish(), loopback=True)[0]) == "lo 127.0.0.1"
    assert pairs(remote[:1], remote) == [(remote[0], remote[0]), (remote[0], remote[1])]


def test_each_pair_that_fails_is_named_with_what_mends_it() -> None:
    reached = [
        Reach(A, B, 31.0),
        Reach(A, B, None, "no answer in 2 s"),
        Reach(A, B, None, "connect: Network is unreachable"),
        Reach(A, B, None, "16 bytes come back, 64 KiB do not: no answer in 3 s"),
        Reach(A, FAR, None, "no answer in 2 s"),
    ]
    way, subnet = "a -> b: eth0 192.0.2.1 -> eth0 192.0.2.2: ", "the same subnet"
    assert check_direction(reached, "a", "b") == [
        Finding("peer.reach", "ok", way + "0.031 ms", "median of 5"),
        Finding("peer.reach", "warning", way + "no answer in 2 s", subnet, "on b: " + RULE),
        Finding("peer.reach", "warning", way + "connect: Network is unreachable", subnet,
                "on a: ip route get 192.0.2.2 from 192.0.2.1"),
        Finding("peer.reach", "warning",
                way + "16 bytes come back, 64 KiB do not: no answer in 3 s", subnet,
                "on a: ping -M do -s 1472 192.0.2.2; lower the MTU"),
        Finding("peer.reach", "note",
                "a -> b: eth0 192.0.2.1 -> eth1 198.51.100.2: no answer in 2 s",
                "different subnets"),
    ]  # fmt: skip
    assert check_direction(reached[4:], "a", "b")[-1].level == "error"
    assert check_direction([], "a", "b") == [
        Finding("peer.direction", "error",
                "a -> b: no connection at all; ranks need both directions",
                "0 pairs of addresses tried", "ip address"),
    ]  # fmt: skip


def test_unlike_mtus_on_one_subnet_are_a_warning() -> None:
    large = End("eth0", "192.0.2.2", 24, 9000)
    assert check_mtu(Side("a", 1, (A,)), Side("b", 1, (large, FAR))) == [
        Finding("peer.mtu", "warning", "on 192.0.2.0/24 b sends larger packets than a takes",
                "MTU 1500 of a eth0 192.0.2.1, 9000 of b eth0 192.0.2.2",
                "on b: sudo ip link set eth0 mtu 1500"),
    ]  # fmt: skip
    assert check_mtu(Side("a", 1, (A,)), Side("b", 1, (B,))) == []


def test_targets_are_read_with_and_without_port() -> None:
    texts = ("h", "h:7", "192.0.2.1:7", "[::1]:7", "[::1]", "::1")
    assert [split_target(text) for text in texts] == [
        ("h", 29410), ("h", 7), ("192.0.2.1", 7), ("::1", 7), ("::1", 29410), ("::1", 29410),
    ]  # fmt: skip
    for text in ("h:0", "h:x", "h:65536", ":7", ""):
        with pytest.raises(PeerError, match="not HOST, HOST:PORT"):
            split_target(text)
