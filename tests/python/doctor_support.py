# SPDX-License-Identifier: Apache-2.0
"""What the doctor's tests share: NICs made of few words, fake roots, and running the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexlink.doctor.netlink import Address, Link
from flexlink.doctor.nics import LOOPBACK, RUNNING, UP, Nic

DOCTOR = [sys.executable, "-m", "flexlink", "doctor"]


def nic(name: str, index: int, *ips: str, up: bool = True, **rest: object) -> Nic:
    """A NIC that is up, with addresses like 192.0.2.1/24; rest: fields of Link or of Nic."""
    flags = (UP | RUNNING if up else 0) | (LOOPBACK if name == "lo" else 0)
    own = {key: rest.pop(key) for key in ("speed", "driver", "parent", "wireless") if key in rest}
    addresses = tuple(Address(ip.split("/")[0], int(ip.split("/")[1])) for ip in ips)
    fields = {"flags": flags, "mtu": 1500, "addresses": addresses, **rest}
    return Nic(Link(name, index, **fields), **own)  # type: ignore[arg-type]


LO = nic("lo", 1, "127.0.0.1/8", arp_type=772)
ETH0 = nic("eth0", 2, "192.0.2.1/24")


def plant(root: Path, **files: str) -> Path:
    """Writes files below `root`: plant(root, **{"proc/x": "text"}). Returns the root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def namespace() -> list[str]:
    """The words before a command that give it a network of its own; else the test is skipped."""
    words = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    try:
        done = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=10)
        reason = done.stderr.strip()
    except OSError as error:
        done, reason = None, str(error)
    if done is None or done.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {reason}")
    return words
