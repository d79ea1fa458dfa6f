# SPDX-License-Identifier: Apache-2.0
"""GPUs in the doctor: what is read through a scripted NVML, and each finding, word for word."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doctor_support import plant

from flexlink.doctor import gpu_reader
from flexlink.doctor.facts import Gpu, GpuFacts
from flexlink.doctor.findings import Finding
from flexlink.doctor.gpu_checks import check_gpus

DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5"


class NvmlError(Exception):
    """What the real module raises for all that a GPU or driver cannot say."""


class ScriptedNvml:
    """The module pynvml with one answer for each function, by GPU; what has none is not there.

    An answer that is an exception is raised, one that is a function gets the other arguments.
    """

    NVMLError = NvmlError

    def __init__(self, *gpus: dict[str, Any], cuda: Any = 12040) -> None:
        self.gpus, self.cuda, self.started = gpus, cuda, 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.started += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.started -= 1

    def nvmlSystemGetCudaDriverVersion_v2(self) -> Any:  # noqa: N802
        return self._answer(self.cuda)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if not any(name in gpu for gpu in self.gpus):
            raise AttributeError(name)
        return lambda handle, *rest: self._answer(self.gpus[handle].get(name, NvmlError()), *rest)

    def _answer(self, answer: Any, *arguments: Any) -> Any:
        assert self.started == 1
        if isinstance(answer, Exception):
            raise answer
        return answer(*arguments) if callable(answer) else answer


def links(states: list[int | None]) -> Callable[[int], int]:
    """State of each NVLink; a link that is not there is an error, as NVML has it."""

    def state(link: int) -> int:
        found = states[link] if link < len(states) else None
        if found is None:
            raise NvmlError
        return found

    return state


def instances(count: int) -> Callable[[int], int]:
    def handle(slot: int) -> int:
        if slot >= count:
            raise NvmlError
        return slot

    return handle


H200 = {
    "nvmlDeviceGetName": "NVIDIA H200",
    "nvmlDeviceGetUUID": "GPU-1b2c",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=141 << 30),
    "nvmlDeviceGetComputeMode": 3,
    "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:4A:00.0"),
    "nvmlDeviceGetCurrPcieLinkWidth": 8,
    "nvmlDeviceGetMaxPcieLinkWidth": 8,
    "nvmlDeviceGetCurrPcieLinkGeneration": 1,
    "nvmlDeviceGetMaxPcieLinkGeneration": 4,
    "nvmlDeviceGetGpuMaxPcieLinkGeneration": 5,
    "nvmlDeviceGetNvLinkState": links([1, 1, 0, None, 1]),
    "nvmlDeviceGetNvLinkVersion": lambda link: {0: 6}[link],
    "nvmlDeviceGetMigMode": [1, 1],
    "nvmlDeviceGetMaxMigDeviceCount": 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": instances(3),
}


def test_everything_that_nvml_and_sys_know_of_a_gpu_is_read(tmp_path: Path) -> None:
    folder = "sys/bus/pci/devices/0000:4a:00.0/"
    plant(tmp_path, **{folder + "numa_node": "1", folder + "max_link_width": "16"})
    nvml = ScriptedNvml(H200)
    assert gpu_reader.list_gpus(nvml, tmp_path) == (
        "12.4",
        (
            Gpu(
                index=0, name="NVIDIA H200", width=8, max_width=16, generation=1, max_generation=4,
                gpu_generation=5, bus="00000000:4A:00.0", uuid="GPU-1b2c", memory=141 << 30,
                compute_mode="exclusive process", nvlinks=4, nvlinks_active=3,
                nvlink_version="4.0", numa_node=1, mig=3,
            ),
        ),
    )  # fmt: skip
    assert nvml.started == 0


def test_a_gpu_that_says_nothing_but_its_name_is_listed_all_the_same(tmp_path: Path) -> None:
    folder = "sys/bus/pci/devices/0000:4a:00.0/"
    plant(tmp_path, **{folder + "numa_node": "-1"})  # one node: the kernel writes -1
    quiet = {"nvmlDeviceGetName": b"L4", "nvmlDeviceGetPciInfo": H200["nvmlDeviceGetPciInfo"]}
    nvml = ScriptedNvml(H200, quiet, {"nvmlDeviceGetName": "A2"}, cuda=NvmlError())
    cuda, gpus = gpu_reader.list_gpus(nvml, tmp_path)
    assert cuda == ""
    assert gpus[1:] == (Gpu(1, "L4", bus="00000000:4A:00.0"), Gpu(2, "A2"))


def test_an_older_nvidia_ml_py_without_a_function_is_enough(tmp_path: Path) -> None:
    assert gpu_reader.list_gpus(ScriptedNvml({"nvmlDeviceGetName": "L4"}), tmp_path) == (
        "12.4",
        (Gpu(0, "L4"),),
    )


def test_gpus_are_listed_only_where_there_is_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", ScriptedNvml({"nvmlDeviceGetName": "L4"}))
    assert gpu_reader.read_gpus(tmp_path) == GpuFacts()
    plant(tmp_path, **{"proc/driver/nvidia/version": DRIVER})
    assert gpu_reader.read_gpus(tmp_path) == GpuFacts("550.54.15", "", (Gpu(0, "L4"),), "12.4")
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as an import that fails
    missing = GpuFacts("550.54.15", "nvidia-ml-py is not installed")
    assert gpu_reader.read_gpus(tmp_path) == missing


def test_an_nvml_that_does_not_start_is_a_problem_not_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(ScriptedNvml):
        def nvmlInit(self) -> None:  # noqa: N802
            raise NvmlError("Driver/library version mismatch")

    plant(tmp_path, **{"proc/driver/nvidia/version": DRIVER})
    monkeypatch.setitem(sys.modules, "pynvml", Broken())
    problem = "NVML: Driver/library version mismatch"
    assert gpu_reader.read_gpus(tmp_path) == GpuFacts("550.54.15", problem)


def test_without_driver_module_or_gpu_it_says_so_and_what_to_do() -> None:
    assert check_gpus(GpuFacts()) == [
        Finding("gpu.driver", "note", "no GPU driver; FlexLink runs on host memory",
                "no /proc/driver/nvidia/version"),
    ]  # fmt: skip
    missing = GpuFacts("550.54.15", "nvidia-ml-py is not installed")
    assert [(f.level, f.text, f.mend) for f in check_gpus(missing)] == [
        ("note", "NVIDIA driver 550.54.15; its GPUs cannot be listed", "pip install nvidia-ml-py"),
    ]
    assert [(f.level, f.text, f.mend) for f in check_gpus(GpuFacts("550.54"))] == [
        ("warning", "NVIDIA driver 550.54, but no GPU is visible", "docker run --gpus all"),
    ]


def test_a_gpu_that_runs_at_its_best_is_ok_throughout() -> None:
    gpu = Gpu(0, "H200", 16, 16, 5, 5, "00000000:4A:00.0", 5, "GPU-1b2c", 141 << 30, "default",
              18, 18, "4.0", 1)  # fmt: skip
    assert check_gpus(GpuFacts("550.54", "", (gpu, Gpu(1, "L4")), "12.4")) == [
        Finding("gpu.driver", "ok", "NVIDIA driver 550.54, for CUDA up to 12.4: 2 GPUs", "NVML"),
        Finding("gpu.device", "ok", "GPU 0 (H200), 141 GiB, NUMA node 1",
                "GPU-1b2c, PCI 00000000:4A:00.0, compute mode default"),
        Finding("gpu.pcie", "ok", "GPU 0 (H200) has PCIe generation 5 x16, all that it can",
                "PCIe 00000000:4A:00.0: width 16 of 16, generation 5 of 5"),
        Finding("gpu.nvlink", "ok", "GPU 0 (H200) has 18 NVLinks 4.0, all active",
                "NVLink 4.0: 18 of 18 active"),
        Finding("gpu.device", "ok", "GPU 1 (L4)"),
    ]  # fmt: skip


def test_pcie_below_its_width_warns_and_below_its_generation_is_a_note() -> None:
    gpu = Gpu(0, "L4", 8, 16, 1, 4, "00000000:01:00.0", 5)
    pcie = "PCIe 00000000:01:00.0: width 8 of 16, generation 1 of 4"
    assert check_gpus(GpuFacts("550.54", "", (gpu,)))[2:] == [
        Finding("gpu.pcie", "warning", "GPU 0 (L4) has 8 of its 16 PCIe lanes", pcie,
                "reseat it or take another slot; then: sudo lspci -vv -s 0000:01:00.0"),
        Finding("gpu.pcie", "note",
                "GPU 0 (L4) runs PCIe generation 1 of 4: normal while it is idle", pcie,
                "nvidia-smi --query-gpu=pcie.link.gen.current --format=csv, while it is busy"),
        Finding("gpu.slot", "note", "GPU 0 (L4) could run PCIe generation 5; its slot allows 4",
                pcie, "set the slot's PCIe speed to auto in the machine's firmware, or take "
                "another slot"),
    ]  # fmt: skip


def test_nvlinks_that_are_down_are_notes_with_the_command_that_shows_them() -> None:
    gpus = (Gpu(0, "H100", nvlinks=18, nvlinks_active=17), Gpu(1, "A100", nvlinks=12))
    assert [f for f in check_gpus(GpuFacts("550.54", "", gpus)) if f.check == "gpu.nvlink"] == [
        Finding("gpu.nvlink", "note", "GPU 0 (H100): 17 of its 18 NVLinks are active: normal only "
                "where the board wires no more", "NVLink: 17 of 18 active",
                "nvidia-smi nvlink --status -i 0; systemctl status nvidia-fabricmanager"),
        Finding("gpu.nvlink", "note", "GPU 1 (A100): none of its 12 NVLinks is active: normal "
                "without a bridge", "NVLink: 0 of 12 active",
                "nvidia-smi nvlink --status -i 1; systemctl status nvidia-fabricmanager"),
    ]  # fmt: skip


def test_who_may_use_a_gpu_is_said() -> None:
    gpus = (
        Gpu(0, "L4", compute_mode="prohibited"),
        Gpu(1, "L4", compute_mode="exclusive process"),
        Gpu(2, "H100", mig=0),
    )
    found = check_gpus(GpuFacts("550.54", "", gpus))
    assert [f for f in found if f.check in ("gpu.mode", "gpu.mig")] == [
        Finding("gpu.mode", "warning", "GPU 0 (L4) lets no program compute",
                "compute mode prohibited", "sudo nvidia-smi -i 0 -c DEFAULT"),
        Finding("gpu.mode", "note",
                "GPU 1 (L4) serves one process at a time: a second rank on it fails",
                "compute mode exclusive process", "sudo nvidia-smi -i 1 -c DEFAULT"),
        Finding("gpu.mig", "note",
                "GPU 2 (H100) is divided by MIG into 0: parts have neither NVLink nor peer access",
                "MIG is on", "sudo nvidia-smi -i 2 -mig 0"),
    ]  # fmt: skip
