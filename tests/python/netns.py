# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces, connected by shaped veth pairs: two hosts with a NIC for each rate."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType


def ip(*words: str) -> str:
    """Runs ip, returns what it prints."""
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


class TwoHosts:
    """`rates` in Mbit/s, one link each, 0: not shaped. NIC i of side s is `fl{i}{s}`, 10.77.i.1 and
    10.77.i.2."""

    def __init__(self, rates: Sequence[int]) -> None:
        self.names = [f"flexlink-{os.getpid()}-{side}" for side in "ab"]
        self.rates = rates

    def __enter__(self) -> TwoHosts:
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        first, second = self.names
        for i, rate in enumerate(self.rates):
            ends = (first, f"fl{i}a"), (second, f"fl{i}b")
            ip("link", "add", ends[0][1], "netns", first, "type", "veth",
               "peer", "name", ends[1][1], "netns", second)  # fmt: skip
            for side, (name, nic) in enumerate(ends):
                ip("-n", name, "addr", "add", f"10.77.{i}.{side + 1}/24", "dev", nic)
                ip("-n", name, "link", "set", nic, "up")
            if rate != 0:
                self.set_rate(i, rate)
        self._await_carriers()
        return self

    def _await_carriers(self) -> None:
        deadline = time.monotonic() + 10
        while any("NO-CARRIER" in ip("-n", name, "link") for name in self.names):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def command(self, side: int, words: Sequence[str]) -> list[str]:
        """A command line that runs `words` on one of the two hosts."""
        return ["ip", "netns", "exec", self.names[side], *words]

    def sent(self, side: int) -> list[int]:
        """Bytes that each NIC of a host has sent."""
        shown = json.loads(ip("-n", self.names[side], "-j", "-s", "link"))
        bytes_of = {nic["ifname"]: int(nic["stats64"]["tx"]["bytes"]) for nic in shown}
        return [bytes_of[f"fl{i}{'ab'[side]}"] for i in range(len(self.rates))]

    def set_rate(self, index: int, rate: int) -> None:
        """Shapes a link, both ways, to `rate` Mbit/s."""
        for side in (0, 1):
            self._shape(index, side, rate, "256kb")

    def limit_flows(self, index: int, rate: int) -> None:
        """Each TCP connection over this link gets `rate` Mbit/s each way, as in some clouds: it has
        one of 64 queues, by the port of the side that dials. Who listens does so below 20016."""
        lines = ["qdisc replace dev {nic} root handle 1: htb default 1"]
        for number in range(64):
            flow = f"flowid 1:{number + 1:x}"
            lines.append(f"class add dev {{nic}} parent 1: classid 1:{number + 1:x} htb "
                         f"rate {rate}mbit burst 64kb cburst 64kb quantum 60000")  # fmt: skip
            for prio, ports in enumerate((
                f"match ip sport 20000 0xfff0 match ip dport {2 * number} 0x7e",
                f"match ip sport {2 * number} 0x7e",
            )):  # fmt: skip
                lines.append(f"filter add dev {{nic}} parent 1: protocol ip prio {prio + 1} "
                             f"u32 {ports} {flow}")  # fmt: skip
        for side in (0, 1):
            text = "\n".join(lines).format(nic=f"fl{index}{'ab'[side]}")
            command = self.command(side, ["tc", "-batch", "-"])
            subprocess.run(command, input=text, text=True, check=True)

    def set_hole(self, index: int, sides: Sequence[int] = (0, 1)) -> None:
        """What these hosts send over this link in packets of more than 1000 bytes is lost, and
        nobody is told, as where a switch has a smaller MTU; set_rate() mends it."""
        for side in sides:
            # A large packet that waits in it already would wait for ever, and all behind it.
            nic = f"fl{index}{'ab'[side]}"
            words = ["tc", "qdisc", "del", "dev", nic, "root"]
            subprocess.run(self.command(side, words), check=False, stderr=subprocess.DEVNULL)
            self._shape(index, side, self.rates[index], "1000")

    def _shape(self, index: int, side: int, rate: int, burst: str) -> None:
        subprocess.run(
            self.command(side, ["tc", "qdisc", "replace", "dev", f"fl{index}{'ab'[side]}", "root",
             "tbf", "rate", f"{rate}mbit", "burst", burst, "latency", "20ms"]),
            check=True,
        )  # fmt: skip

    def set_link(self, index: int, state: str, side: int = 0) -> None:
        """`state`: up or down, on one host's side; the other sees its carrier go."""
        ip("-n", self.names[side], "link", "set", f"fl{index}{'ab'[side]}", state)

    def set_silent(self, index: int, silent: bool) -> None:
        """What both hosts send over this link goes to a MAC address that nobody has."""
        for side, name in enumerate(self.names):
            nic, peer = f"fl{index}{'ab'[side]}", f"10.77.{index}.{2 - side}"
            if silent:
                ip("-n", name, "neigh", "replace", peer, "lladdr", "02:00:00:00:00:01",
                   "dev", nic, "nud", "permanent")  # fmt: skip
            else:
                ip("-n", name, "neigh", "del", peer, "dev", nic)
