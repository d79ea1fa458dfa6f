# SPDX-License-Identifier: Apache-2.0
"""PyTorch's backend "nccl" with libflexlink.so preloaded: everything that NCCL does still works."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_support import Ranks, need, vendor_version

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(autouse=True)
def _torch() -> None:
    need("torch")


def test_at_world_size_1_every_call_passes_through(preloaded: Ranks) -> None:
    (output,) = preloaded("torch_rank.py", "reductions", "movements", "whose")
    assert output.splitlines()[-1] == "done"


def test_the_vendor_is_loaded_once_and_named_in_the_log(preloaded: Ranks, vendor: str) -> None:
    (output,) = preloaded("torch_rank.py", "whose")
    lines = output.splitlines()
    number = vendor_version(vendor)
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    assert f"version {version}" in lines
    files = [line.removeprefix("file ") for line in lines if line.startswith("file ")]
    assert [Path(file).name for file in files if "libflexlink" in file] == ["libflexlink.so"]
    assert [file for file in files if "libnccl" in Path(file).name] == [str(Path(vendor).resolve())]
    (said,) = {line.partition("every call")[2] for line in lines if "every call" in line}
    assert said.startswith(f" passes through to {vendor}, NCCL {version} ")


def test_a_graph_is_captured_and_replayed(preloaded: Ranks) -> None:
    preloaded("torch_rank.py", "graph")


def test_one_hardware_queue_for_all_streams_does_not_deadlock(preloaded: Ranks) -> None:
    preloaded("torch_rank.py", "overlap", "graph", env={"CUDA_DEVICE_MAX_CONNECTIONS": "1"})


@pytest.mark.parametrize("what", ["reductions", "movements", "graph", "overlap"])
def test_two_ranks_on_one_gpu(preloaded: Ranks, vendor: str, what: str) -> None:
    if vendor_version(vendor) < 23003:
        pytest.skip("the vendor's library is older than 2.30.3, which allows ranks to share a GPU")
    env = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_MAX_CTAS": "2", "NCCL_NVLS_ENABLE": "0"}
    output = preloaded("torch_rank.py", what, ranks=2, env=env)
    assert [text.splitlines()[-1] for text in output] == ["done", "done"]
