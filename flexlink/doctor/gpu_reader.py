# SPDX-License-Identifier: Apache-2.0
"""Asks NVIDIA's management library for the GPUs, where there is a driver and nvidia-ml-py."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flexlink.doctor.facts import Gpu, GpuFacts
from flexlink.doctor.nic_reader import number_of, text_of

MISSING = "nvidia-ml-py is not installed"

T = TypeVar("T")

# nvml.h: NVML_COMPUTEMODE_*, NVML_NVLINK_VERSION_* and the most links that a GPU has.
_COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
_NVLINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0", 8: "6.0"}
_NVLINKS = 36


def driver_of(version: str) -> str:
    """The version in the text of /proc/driver/nvidia/version, or ""."""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version)
    return found.group(1) if found else ""


def cuda_of(number: int) -> str:
    """12040, as NVML says it, is "12.4"; "" for 0."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def sysfs_bus(bus: str) -> str:
    """NVML's 00000000:4A:00.0 as /sys/bus/pci/devices names it: 0000:4a:00.0."""
    domain, _, rest = bus.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest.count(":") == 1 else bus.lower()


def list_gpus(nvml: Any, root: Path) -> tuple[str, tuple[Gpu, ...]]:
    """(CUDA version of the driver, all GPUs that NVML names).

    Args:
        nvml: the module pynvml or what stands for it; errors of its start pass.
        root: where /sys is.
    """
    nvml.nvmlInit()
    try:
        cuda = cuda_of(_answer(nvml, 0, nvml.nvmlSystemGetCudaDriverVersion_v2))
        count = nvml.nvmlDeviceGetCount()
        return cuda, tuple(_Card(nvml, index).gpu(root) for index in range(count))
    finally:
        nvml.nvmlShutdown()


def _answer(nvml: Any, otherwise: T, call: Callable[..., T], *arguments: Any) -> T:
    """What `call` returns; `otherwise` where this GPU, driver or guest cannot say."""
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return otherwise


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _Card:
    """NVML's questions about one GPU."""

    def __init__(self, nvml: Any, index: int) -> None:
        self.nvml = nvml
        self.index = index
        self.handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def ask(self, name: str, otherwise: Any, *arguments: Any) -> Any:
        """Not every GPU is on PCIe or has NVLink, and not every guest is told."""
        call = getattr(self.nvml, name, None)  # None: an nvidia-ml-py from before it
        if call is None:
            return otherwise
        return _answer(self.nvml, otherwise, call, self.handle, *arguments)

    def gpu(self, root: Path) -> Gpu:
        pci = self.ask("nvmlDeviceGetPciInfo", None)
        bus = _text(pci.busId) if pci is not None else ""
        sysfs = root / "sys/bus/pci/devices" / (sysfs_bus(bus) or "none")
        memory = self.ask("nvmlDeviceGetMemoryInfo", None)
        states = self.nvlink_states()
        first = next(iter(states), 0)
        version = self.ask("nvmlDeviceGetNvLinkVersion", 0, first) if states else 0
        node = number_of(sysfs / "numa_node")
        return Gpu(
            index=self.index,
            name=_text(self.nvml.nvmlDeviceGetName(self.handle)),
            # NVML's is what GPU and slot can do together; /sys has what the GPU alone can do.
            width=int(self.ask("nvmlDeviceGetCurrPcieLinkWidth", 0)),
            max_width=max(
                int(self.ask("nvmlDeviceGetMaxPcieLinkWidth", 0)),
                number_of(sysfs / "max_link_width") or 0,
            ),
            generation=int(self.ask("nvmlDeviceGetCurrPcieLinkGeneration", 0)),
            max_generation=int(self.ask("nvmlDeviceGetMaxPcieLinkGeneration", 0)),
            gpu_generation=int(self.ask("nvmlDeviceGetGpuMaxPcieLinkGeneration", 0)),
            bus=bus,
            uuid=_text(self.ask("nvmlDeviceGetUUID", "")),
            memory=int(memory.total) if memory is not None else 0,
            compute_mode=_COMPUTE_MODES.get(self.ask("nvmlDeviceGetComputeMode", -1), ""),
            nvlinks=len(states),
            nvlinks_active=sum(states.values()),
            nvlink_version=_NVLINK_VERSIONS.get(version, ""),
            numa_node=node if node is not None and node >= 0 else None,
            mig=self.mig(),
        )

    def nvlink_states(self) -> dict[int, bool]:
        """Each NVLink that this GPU has, and whether it is active."""
        found = {}
        for link in range(_NVLINKS):
            state = self.ask("nvmlDeviceGetNvLinkState", None, link)
            if state is not None:
                found[link] = bool(state)
        return found

    def mig(self) -> int | None:
        """How many MIG instances there are; None where MIG is off or unknown to this GPU."""
        current, _ = self.ask("nvmlDeviceGetMigMode", (0, 0))
        if not current:
            return None
        slots = range(self.ask("nvmlDeviceGetMaxMigDeviceCount", 0))
        found = [self.ask("nvmlDeviceGetMigDeviceHandleByIndex", None, slot) for slot in slots]
        return sum(handle is not None for handle in found)


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
        cuda, gpus = list_gpus(nvml, root)
    except nvml.NVMLError as error:
        return GpuFacts(driver, f"NVML: {error}")
    return GpuFacts(driver, "", gpus, cuda)
