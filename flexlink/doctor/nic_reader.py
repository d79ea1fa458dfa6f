# SPDX-License-Identifier: Apache-2.0
"""What /sys/class/net adds to the kernel's list of interfaces: speed, driver, node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from flexlink.doctor.netlink import Link
from flexlink.doctor.nics import Nic


def text_of(path: Path) -> str:
    """The stripped text of a small file; "" where it is not there or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def number_of(path: Path) -> int | None:
    """The integer in a file; None where there is none."""
    try:
        return int(text_of(path))
    except ValueError:
        return None


def read_nic(root: Path, link: Link) -> Nic:
    """`link` with what root/sys/class/net says of it, if that is of the same network namespace."""
    folder = root / "sys/class/net" / link.name
    if number_of(folder / "ifindex") != link.index or text_of(folder / "address") != link.mac:
        return Nic(link)
    speed = number_of(folder / "speed")
    node = number_of(folder / "device/numa_node")
    try:
        parents = sorted(os.listdir(folder / "device/physfn/net"))
    except OSError:
        parents = []
    return Nic(
        link=link,
        speed=speed if speed is not None and speed > 0 else None,
        driver=(folder / "device/driver").resolve().name
        if (folder / "device/driver").exists()
        else "",
        numa=node if node is not None and node >= 0 else None,
        wireless=(folder / "wireless").exists() or (folder / "phy80211").exists(),
        parent=parents[0] if len(parents) == 1 else "",
    )


def read_nics(root: Path, links: Sequence[Link]) -> tuple[Nic, ...]:
    """All of `links`, in their order."""
    return tuple(read_nic(root, link) for link in links)
