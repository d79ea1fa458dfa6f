# SPDX-License-Identifier: Apache-2.0
"""What users run on top of torch.distributed, unchanged, compared bit by bit with one process."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks
from torch_support import only_flexlink


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_as_bucket_view": True}, {"static_graph": True}, {"broadcast_buffers": False}],
)
@pytest.mark.parametrize("accumulate", [False, True])
def test_ddp(ranks: Ranks, options: dict[str, object], accumulate: bool) -> None:
    if accumulate and "static_graph" in options:
        options = {}  # torch does not allow the two together
    ranks("training:ddp", options, accumulate)


def test_ddp_with_unused_parameters(ranks: Ranks) -> None:
    ranks("training:ddp_unused")


@pytest.mark.parametrize("hook", ["allreduce_hook", "fp16_compress_hook", "bf16_compress_hook"])
def test_ddp_hooks(ranks: Ranks, hook: str) -> None:
    ranks("training:ddp_hook", hook)


def test_ddp_with_powersgd(ranks: Ranks) -> None:
    ranks("training:powersgd", limit=60)


@pytest.mark.parametrize("overlap", [False, True])
def test_zero_redundancy_optimizer(ranks: Ranks, overlap: bool) -> None:
    ranks("training:zero", overlap)


@pytest.mark.parametrize("reshard", [True, False])
def test_fsdp2(ranks: Ranks, reshard: bool) -> None:
    ranks("training:fsdp2", reshard)


def test_fsdp2_with_replicas_of_shards(four_ranks: Ranks) -> None:
    four_ranks("training:fsdp2_hybrid")


@only_flexlink
def test_fsdp2_takes_its_buffers_from_the_backend(ranks: Ranks) -> None:
    ranks("training:fsdp2_with_our_buffers")


@only_flexlink
def test_tensors_that_the_backend_allocates(ranks: Ranks) -> None:
    ranks("training:allocated_tensors")


@pytest.mark.parametrize("body", ["dtensor", "dtensor_grid", "eager", "gradients"])
def test_functional_collectives_and_dtensor(ranks: Ranks, body: str) -> None:
    ranks(f"spmd:{body}")


def test_compiled_collectives(ranks: Ranks) -> None:
    ranks("spmd:compiled", limit=90)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_distributed_checkpoint(ranks: Ranks, asynchronous: bool) -> None:
    ranks("spmd:checkpoint", asynchronous)
