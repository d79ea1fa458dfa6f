# SPDX-License-Identifier: Apache-2.0
"""Two doctors in two network namespaces with two cables between them, one of which is broken."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from doctor_support import DOCTOR, namespace

# This namespace is host a; a second one is host b, which drops and refuses 10.9.1.1 (a1).
SCRIPT = """
set -e
folder=$1; shift
set_up() { # set_up NIC ADDRESS MTU
  ip address add "$2" dev "$1" && ip link set "$1" mtu "$3" up
}
in_b() { nsenter -t "$b" -n "$@"; }
echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
unshare -n sleep 60 &
b=$!
trap 'kill $b' EXIT
until [ "$(readlink /proc/$b/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.02; done
in_b sh -c 'for f in all default; do echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter; done'
for i in 0 1; do
  ip link add a$i type veth peer name b$i
  ip link set b$i netns $b
  set_up a$i 10.9.$i.1/24 1500
done
in_b ip address add 10.9.0.2/24 dev b0
in_b ip address add 10.9.1.2/24 dev b1
in_b ip link set b0 mtu 1500 up
in_b ip link set b1 mtu 9000 up
in_b ip route add unreachable 10.9.1.1/32
in_b "$@" --listen --token of-this-test --timeout 40 >"$folder/b.json" &
listener=$!
until in_b grep -q ':72E2 ' /proc/self/net/tcp6 /proc/self/net/tcp; do sleep 0.05; done
code=0
"$@" --peer 10.9.0.2 --token of-this-test >"$folder/a.json" || code=$?
wait $listener
echo "$code"
"""


def found(rows: list[dict[str, dict[str, str]]]) -> list[tuple[str, str, str]]:
    return [(row["source"]["ip"], row["target"]["ip"], str(row["problem"])) for row in rows]


def test_pairs_that_fail_are_named_in_both_directions_on_both_sides(tmp_path: Path) -> None:
    command = [*namespace(), "sh", "-c", SCRIPT, "sh", str(tmp_path), *DOCTOR, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    a, b = (json.loads((tmp_path / f"{side}.json").read_text()) for side in "ab")
    assert found(a["to_peer"]) == [
        ("10.9.0.1", "10.9.0.2", ""),
        ("10.9.0.1", "10.9.1.2", ""),
        ("10.9.1.1", "10.9.0.2", "no answer in 2 s"),
        ("10.9.1.1", "10.9.1.2", "no answer in 2 s"),
    ]
    assert found(a["from_peer"]) == [
        ("10.9.0.2", "10.9.0.1", ""),
        ("10.9.0.2", "10.9.1.1", "connect: No route to host"),
        ("10.9.1.2", "10.9.0.1", ""),
        ("10.9.1.2", "10.9.1.1", "connect: No route to host"),
    ]
    assert (b["from_peer"], b["to_peer"]) == (a["to_peer"], a["from_peer"])
    host = a["own"]["host"]
    warnings = [f for f in a["findings"] if f["level"] == "warning"]
    assert [(f["text"], f["mend"]) for f in warnings] == [
        (
            f"{host} (here) -> {host} (peer): a1 10.9.1.1 -> b1 10.9.1.2: no answer in 2 s",
            f"on {host} (peer): sudo iptables -I INPUT -s 10.9.1.1 -p tcp -j ACCEPT",
        ),
        (
            f"{host} (peer) -> {host} (here): b1 10.9.1.2 -> a1 10.9.1.1: "
            "connect: No route to host",
            f"on {host} (peer): ip route get 10.9.1.1 from 10.9.1.2",
        ),
        (
            f"on 10.9.1.0/24 {host} (peer) sends larger packets than {host} (here) takes",
            f"on {host} (peer): sudo ip link set b1 mtu 1500",
        ),
    ]
