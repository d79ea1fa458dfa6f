# SPDX-License-Identifier: Apache-2.0
"""Puts a rank's tensors on a GPU: torch's own "cuda", or "gpu", the device of gpu_device.cc."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
import types

import torch
import torch.distributed as dist

import flexlink.torch


def use(where: str) -> None:
    """From now on new tensors of this process lie on its GPU.

    Args:
        where: "cuda", or the folder of libcuda.so.1 and of the module that makes it torch's "gpu".
    """
    index = int(os.environ["RANK"]) % int(os.environ.get("FAKE_GPUS", "1"))
    name = where if where == "cuda" else _device_of_threads(where, index)
    getattr(torch, name).set_device(index)
    torch.set_default_device(f"{name}:{index}")


def _device_of_threads(folder: str, index: int) -> str:
    ctypes.CDLL(f"{folder}/libcuda.so.1")  # from now on the one of that name
    torch.utils.rename_privateuse1_backend("gpu")
    loader = importlib.machinery.ExtensionFileLoader(
        "flexlink_test_gpu", f"{folder}/flexlink_test_gpu.so"
    )
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    native = importlib.util.module_from_spec(spec)
    loader.exec_module(native)
    module = types.ModuleType("torch.gpu")
    device = f"gpu:{index}"
    functions = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_is_in_bad_fork": lambda: False,
        "manual_seed_all": lambda seed: None,
        "device_count": native.device_count,
        "current_device": native.current_device,
        "set_device": native.set_device,
        "synchronize": lambda device=None: native.synchronize(),
        "current_stream": lambda device=None: torch.accelerator.current_stream(),
        "stream": lambda stream: stream,  # which is a context
        "Stream": lambda *args, **options: torch.Stream(device=device),
        "Event": lambda **options: torch.Event(device=device),
    }
    for key, function in functions.items():
        setattr(module, key, function)
    torch._register_device_module("gpu", module)
    sys.modules["torch.gpu"] = module
    # What registration has done for "cuda" when torch was imported.
    flexlink.torch.GPU = "gpu"
    dist.Backend.backend_capability["flexlink"] = ["cpu", "gpu"]
    dist.Backend.default_device_backend_map["gpu"] = "flexlink"
    return "gpu"
