# SPDX-License-Identifier: Apache-2.0
"""RDMA devices and GPUs: findings from facts. All pure."""

from __future__ import annotations

from collections.abc import Sequence

from flexlink.doctor.facts import Gpu, GpuFacts, RdmaPort
from flexlink.doctor.findings import NOT_YET, NOTE, OK, WARNING, Finding, plain
from flexlink.doctor.gpu_reader import MISSING

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


def check_gpus(facts: GpuFacts) -> list[Finding]:
    """The driver, and each GPU's way to the rest of the machine."""
    if not facts.driver:
        text = "no GPU driver; FlexLink runs on host memory"
        return [Finding("gpu.driver", NOTE, text, "no /proc/driver/nvidia/version")]
    shown = f"NVIDIA driver {plain(facts.driver)}"
    if facts.problem:
        mend = "pip install nvidia-ml-py" if facts.problem == MISSING else "nvidia-smi"
        text = f"{shown}; its GPUs cannot be listed"
        return [Finding("gpu.driver", NOTE, text, plain(facts.problem), mend)]
    if not facts.gpus:
        text = f"{shown}, but no GPU is visible"
        mend = "docker run --gpus all"
        return [Finding("gpu.driver", WARNING, text, "NVML counts 0 GPUs", mend)]
    return [finding for gpu in facts.gpus for finding in _gpu_findings(gpu, shown)]


def _gpu_findings(gpu: Gpu, driver: str) -> list[Finding]:
    name = f"GPU {gpu.index} ({plain(gpu.name)})"
    found = [Finding("gpu.device", OK, f"{name}; {NOT_YET}", driver)]
    pcie = (
        f"PCIe {plain(gpu.bus)}: width {gpu.width} of {gpu.max_width}, "
        f"generation {gpu.generation} of {gpu.max_generation}"
    )
    if 0 < gpu.width < gpu.max_width:
        text = f"{name} has {gpu.width} of its {gpu.max_width} PCIe lanes"
        mend = f"reseat it or take another slot; then: sudo lspci -vv -s {plain(gpu.bus)}"
        found.append(Finding("gpu.pcie", WARNING, text, pcie, mend))
    if 0 < gpu.generation < gpu.max_generation:
        text = (
            f"{name} runs PCIe generation {gpu.generation} of {gpu.max_generation}: normal while "
            "it is idle"
        )
        mend = "nvidia-smi --query-gpu=pcie.link.gen.current --format=csv, while it is busy"
        found.append(Finding("gpu.pcie", NOTE, text, pcie, mend))
    return found
