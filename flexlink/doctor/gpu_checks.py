# SPDX-License-Identifier: Apache-2.0
"""GPUs, their way to the host and to each other: findings from facts. All pure."""

from __future__ import annotations

from flexlink.doctor.facts import Gpu, GpuFacts
from flexlink.doctor.findings import NOTE, OK, WARNING, Finding, plain, size
from flexlink.doctor.gpu_reader import MISSING, sysfs_bus


def check_gpus(facts: GpuFacts) -> list[Finding]:
    """The driver, then each GPU: what it is, its PCIe, its NVLinks, who may use it."""
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
    cuda = f", for CUDA up to {facts.cuda}" if facts.cuda else ""
    count = f"{len(facts.gpus)} GPU" + ("s" if len(facts.gpus) > 1 else "")
    found = [Finding("gpu.driver", OK, f"{shown}{cuda}: {count}", "NVML")]
    for gpu in facts.gpus:
        name = f"GPU {gpu.index} ({plain(gpu.name)})"
        found += [_device(gpu, name), *_pcie(gpu, name), *_nvlinks(gpu, name), *_users(gpu, name)]
    return found


def _device(gpu: Gpu, name: str) -> Finding:
    memory = f", {size(gpu.memory)}" if gpu.memory else ""
    node = "" if gpu.numa_node is None else f", NUMA node {gpu.numa_node}"
    evidence = ", ".join(
        text
        for text in (
            plain(gpu.uuid),
            f"PCI {plain(gpu.bus)}" if gpu.bus else "",
            f"compute mode {gpu.compute_mode}" if gpu.compute_mode else "",
        )
        if text
    )
    return Finding("gpu.device", OK, f"{name}{memory}{node}", evidence)


def _pcie(gpu: Gpu, name: str) -> list[Finding]:
    found = []
    evidence = (
        f"PCIe {plain(gpu.bus)}: width {gpu.width} of {gpu.max_width}, "
        f"generation {gpu.generation} of {gpu.max_generation}"
    )
    if 0 < gpu.width < gpu.max_width:
        text = f"{name} has {gpu.width} of its {gpu.max_width} PCIe lanes"
        mend = (
            f"reseat it or take another slot; then: sudo lspci -vv -s {plain(sysfs_bus(gpu.bus))}"
        )
        found.append(Finding("gpu.pcie", WARNING, text, evidence, mend))
    if 0 < gpu.generation < gpu.max_generation:
        text = (
            f"{name} runs PCIe generation {gpu.generation} of {gpu.max_generation}: normal while "
            "it is idle"
        )
        mend = "nvidia-smi --query-gpu=pcie.link.gen.current --format=csv, while it is busy"
        found.append(Finding("gpu.pcie", NOTE, text, evidence, mend))
    if 0 < gpu.max_generation < gpu.gpu_generation:
        text = (
            f"{name} could run PCIe generation {gpu.gpu_generation}; "
            f"its slot allows {gpu.max_generation}"
        )
        mend = "set the slot's PCIe speed to auto in the machine's firmware, or take another slot"
        found.append(Finding("gpu.slot", NOTE, text, evidence, mend))
    if not found and gpu.width:
        text = f"{name} has PCIe generation {gpu.generation} x{gpu.width}, all that it can"
        found.append(Finding("gpu.pcie", OK, text, evidence))
    return found


def _nvlinks(gpu: Gpu, name: str) -> list[Finding]:
    if not gpu.nvlinks:
        return []
    version = f" {gpu.nvlink_version}" if gpu.nvlink_version else ""
    evidence = f"NVLink{version}: {gpu.nvlinks_active} of {gpu.nvlinks} active"
    if gpu.nvlinks_active == gpu.nvlinks:
        text = f"{name} has {gpu.nvlinks} NVLinks{version}, all active"
        return [Finding("gpu.nvlink", OK, text, evidence)]
    mend = f"nvidia-smi nvlink --status -i {gpu.index}; systemctl status nvidia-fabricmanager"
    if gpu.nvlinks_active:
        text = (
            f"{name}: {gpu.nvlinks_active} of its {gpu.nvlinks} NVLinks{version} are active: "
            "normal only where the board wires no more"
        )
        return [Finding("gpu.nvlink", NOTE, text, evidence, mend)]
    text = f"{name}: none of its {gpu.nvlinks} NVLinks{version} is active: normal without a bridge"
    return [Finding("gpu.nvlink", NOTE, text, evidence, mend)]


def _users(gpu: Gpu, name: str) -> list[Finding]:
    found = []
    if gpu.compute_mode == "prohibited":
        text = f"{name} lets no program compute"
        found.append(_compute_mode(gpu, WARNING, text))
    elif gpu.compute_mode.startswith("exclusive"):
        text = f"{name} serves one process at a time: a second rank on it fails"
        found.append(_compute_mode(gpu, NOTE, text))
    if gpu.mig is not None:
        text = f"{name} is divided by MIG into {gpu.mig}: parts have neither NVLink nor peer access"
        found.append(
            Finding("gpu.mig", NOTE, text, "MIG is on", f"sudo nvidia-smi -i {gpu.index} -mig 0")
        )
    return found


def _compute_mode(gpu: Gpu, level: str, text: str) -> Finding:
    mend = f"sudo nvidia-smi -i {gpu.index} -c DEFAULT"
    return Finding("gpu.mode", level, text, f"compute mode {gpu.compute_mode}", mend)
