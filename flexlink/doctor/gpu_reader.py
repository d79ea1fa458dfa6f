# SPDX-License-Identifier: Apache-2.0
"""Asks NVIDIA's management library for the GPUs, where there is a driver and nvidia-ml-py."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from flexlink.doctor.facts import Gpu, GpuFacts
from flexlink.doctor.nic_reader import text_of

MISSING = "nvidia-ml-py is not installed"


def driver_of(version: str) -> str:
    """The version in the text of /proc/driver/nvidia/version, or ""."""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version)
    return found.group(1) if found else ""


def list_gpus(nvml: Any) -> tuple[Gpu, ...]:
    """All GPUs that NVML names. nvml: the module pynvml or what stands for it; its errors pass."""
    nvml.nvmlInit()
    try:
        return tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def number(name: str) -> int:
        try:
            return int(getattr(nvml, name)(handle))
        except nvml.NVMLError:
            return 0  # not every GPU is on PCIe, and not every guest is told

    def text(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    try:
        bus = text(nvml.nvmlDeviceGetPciInfo(handle).busId)
    except nvml.NVMLError:
        bus = ""
    return Gpu(
        index=index,
        name=text(nvml.nvmlDeviceGetName(handle)),
        width=number("nvmlDeviceGetCurrPcieLinkWidth"),
        max_width=number("nvmlDeviceGetMaxPcieLinkWidth"),
        generation=number("nvmlDeviceGetCurrPcieLinkGeneration"),
        max_generation=number("nvmlDeviceGetMaxPcieLinkGeneration"),
        bus=bus,
    )


def read_gpus(root: Path) -> GpuFacts:
    """The GPUs of this machine; never an exception, whatever the driver does."""
    version = text_of(root / "proc/driver/nvidia/version")
    if not version:
        return GpuFacts()
    driver = driver_of(version) or "unknown"
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return GpuFacts(driver, MISSING)
    try:
        return GpuFacts(driver, "", list_gpus(nvml))
    except nvml.NVMLError as error:
        return GpuFacts(driver, f"NVML: {error}")
