# SPDX-License-Identifier: Apache-2.0
"""RDMA devices: findings from facts. All pure."""

from __future__ import annotations

from collections.abc import Sequence

from flexlink.doctor.facts import RdmaPort
from flexlink.doctor.findings import NOT_YET, NOTE, OK, WARNING, Finding, plain

_SOFTWARE = {
    "rxe": "soft-RoCE (rxe), RDMA in software: for tests, no faster than TCP",
    "siw": "soft-iWARP (siw), RDMA in software: for tests, no faster than TCP",
    "software": "RDMA in software: for tests, no faster than TCP",
}


def check_rdma(ports: Sequence[RdmaPort]) -> list[Finding]:
    """One finding for each port, and one for each device that programs cannot open."""
    if not ports:
        text = "no RDMA device"
        return [Finding("rdma.device", NOTE, text, "/sys/class/infiniband is empty or missing")]
    found = [_port_finding(port) for port in ports]
    for device in dict.fromkeys(port.device for port in ports if not port.verbs):
        text = f"{plain(device)} is there, but programs cannot open it"
        evidence = "no /dev/infiniband/uverbs* of this device"
        mend = "docker run --device=/dev/infiniband; outside containers: sudo modprobe ib_uverbs"
        found.append(Finding("rdma.verbs", WARNING, text, evidence, mend))
    return found


def _port_finding(port: RdmaPort) -> Finding:
    name = f"{plain(port.device)} port {port.port}"
    rate = plain(port.rate) or "rate unknown"
    net = f", on {plain(port.netdev)}" if port.netdev else ""
    evidence = f"state {plain(port.state)}, rate {rate}, link layer {plain(port.layer)}{net}"
    if port.state != "ACTIVE":
        text = f"{name} is {plain(port.state)}"
        if port.layer == "InfiniBand" and port.state == "INIT":
            mend = "start a subnet manager: sudo systemctl start opensm"
        elif port.netdev:
            mend = f"sudo ip link set {plain(port.netdev)} up, and check its cable"
        else:
            mend = f"check its cable; then: rdma link show {plain(port.device)}/{port.port}"
        return Finding("rdma.port", WARNING, text, evidence, mend)
    if port.software:
        return Finding("rdma.port", NOTE, f"{name} is {_SOFTWARE[port.software]}", evidence)
    layer = {"Ethernet": "RoCE", "InfiniBand": "InfiniBand"}.get(port.layer, plain(port.layer))
    return Finding("rdma.port", OK, f"{name} is active, {layer}, {rate}; {NOT_YET}", evidence)
