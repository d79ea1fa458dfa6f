# SPDX-License-Identifier: Apache-2.0
"""GPUs for ranks with torch: this machine's, or threads that torch knows as its device "gpu"."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from support import make_thread_gpus

HERE = Path(__file__).resolve().parent


def gpu_environment(folder: Path) -> dict[str, str]:
    """What the ranks' environment needs for own lanes on one GPU; whatever that takes is made in
    `folder`. With FLEXLINK_TEST_GPU=real the GPU is torch's "cuda"."""
    own_lanes = {"FLEXLINK_PASS_THROUGH": "0"}
    if os.environ.get("FLEXLINK_TEST_GPU") == "real":
        return {**own_lanes, "FLEXLINK_TEST_TORCH_GPU": "cuda"}
    threads = make_thread_gpus(folder)
    _compile_device(folder / "flexlink_test_gpu.so")
    return {
        **own_lanes,
        "FLEXLINK_TEST_TORCH_GPU": str(folder),
        "FLEXLINK_CUDA_KERNELS": threads["FLEXLINK_CUDA_KERNELS"],
        "FAKE_GPUS": "1",
    }


def _compile_device(output: Path) -> None:
    from flexlink.torch import build

    torch = build._torch_folder()
    python = Path(sysconfig.get_paths()["include"])
    command = [
        *build._compiler(), *build.FLAGS, *build.torch_includes(HERE, torch, python),
        "-DTORCH_EXTENSION_NAME=flexlink_test_gpu", "-c", str(HERE / "gpu_device.cc"),
        "-o", str(output.with_suffix(".o")),
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    libraries = [f"-l{name}" for name in build.LIBRARIES]
    link = [build._compiler()[-1], "-shared", str(output.with_suffix(".o")), f"-L{torch / 'lib'}"]
    subprocess.run([*link, *libraries, "-o", str(output)], check=True, timeout=60)
