# SPDX-License-Identifier: Apache-2.0
"""Tensors on a GPU: what the CPU's are tested with, and what is a GPU's alone. The GPU is a thread
(gpu_device.cc), or with FLEXLINK_TEST_GPU=real this machine's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from torch_ranks import Fresh, Ranks, expect_all_passed
from torch_support import IS_FLEXLINK

from flexlink._native import library_path

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not IS_FLEXLINK, reason="only the backend flexlink can do it"),
]
of_threads = pytest.mark.skipif(
    os.environ.get("FLEXLINK_TEST_GPU") == "real", reason="needs a GPU that can be slowed down"
)

every_type = pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", "bool", "complex64", "int16", "float8_e5m2"]
)
MOVES = ["broadcast", "all_gather_uneven", "gather", "scatter", "all_to_all_even",
         "all_to_all_splits", "all_gather_coalesced"]  # fmt: skip
reductions = pytest.mark.parametrize(
    ("dtype", "op"),
    [
        ("float32", "SUM"), ("float16", "AVG"), ("bfloat16", "PRODUCT"), ("int64", "BXOR"),
        ("complex64", "SUM"), ("bool", "SUM"), ("uint8", "MAX"),
    ],
)  # fmt: skip
BODIES = [
    "collectives:shapes", "collectives:barrier", "collectives:objects",
    "reductions:bools_stay_bools", "reductions:not_dense", "reductions:large",
    "p2p:same_tag_keeps_order", "p2p:in_a_group", "p2p:batch_in_unlike_orders",
    "p2p:many_outstanding", "p2p:beside_a_collective",
    "work:wait_with_limit", "work:futures", "work:future_result", "work:collectives_in_callbacks",
    "work:tensors_stay_alive", "work:dropped_work", "work:waited_by_another_thread",
    "work:reverse_order",
    "groups:subsets", "groups:made_by_members_only", "groups:overlapping", "groups:subgroups",
    "groups:sequence_numbers",
    "spmd:dtensor", "spmd:dtensor_grid", "spmd:eager", "spmd:gradients",
    "gpu:both_devices", "gpu:life", "gpu:nobody_keeps_it", "gpu:two_of_many", "gpu:refused",
    "gpu:groups",
]  # fmt: skip


@every_type
@pytest.mark.parametrize("body", MOVES)
def test_bytes_are_moved(two_gpu_ranks: Ranks, body: str, dtype: str) -> None:
    two_gpu_ranks(f"collectives:{body}", dtype)


@every_type
@pytest.mark.parametrize("form", ["list", "tensor", "stacked"])
def test_all_gather(two_gpu_ranks: Ranks, dtype: str, form: str) -> None:
    two_gpu_ranks("collectives:all_gather", dtype, form)


@every_type
@pytest.mark.parametrize("uneven", [False, True])
def test_all_to_all_of_lists(two_gpu_ranks: Ranks, dtype: str, uneven: bool) -> None:
    two_gpu_ranks("collectives:all_to_all_lists", dtype, uneven)


@reductions
@pytest.mark.parametrize(
    "body", ["all_reduce", "reduce", "reduce_scatter_uneven", "coalesced",
             "reduce_scatter_coalesced"],
)  # fmt: skip
def test_reductions(two_gpu_ranks: Ranks, body: str, dtype: str, op: str) -> None:
    two_gpu_ranks(f"reductions:{body}", dtype, op)


@reductions
@pytest.mark.parametrize("form", ["list", "tensor", "stacked"])
def test_reduce_scatter(two_gpu_ranks: Ranks, dtype: str, op: str, form: str) -> None:
    two_gpu_ranks("reductions:reduce_scatter", dtype, op, form)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_premultiplied_sum(two_gpu_ranks: Ranks, dtype: str, as_tensor: bool) -> None:
    two_gpu_ranks("reductions:premul_sum", dtype, as_tensor)


@pytest.mark.parametrize("body", BODIES)
def test_bodies(gpu_ranks: Ranks, body: str) -> None:
    gpu_ranks(body)


@pytest.mark.parametrize("after_it", [False, True])
def test_a_receive_is_posted_long_before(gpu_ranks: Ranks, after_it: bool) -> None:
    gpu_ranks("p2p:across_a_collective", after_it)


@every_type
def test_messages(two_gpu_ranks: Ranks, dtype: str) -> None:
    two_gpu_ranks("p2p:blocking", dtype)


@pytest.mark.parametrize("receive_first", [False, True])
def test_a_batch_of_messages(gpu_ranks: Ranks, receive_first: bool) -> None:
    gpu_ranks("p2p:batch", receive_first, 100_003)


def test_several_threads(gpu_ranks: Ranks) -> None:
    gpu_ranks("work:threads", 4, 50)


@pytest.mark.parametrize("accumulate", [False, True])
def test_ddp(gpu_ranks: Ranks, accumulate: bool) -> None:
    gpu_ranks("training:ddp", {}, accumulate)


@pytest.mark.parametrize("reshard", [False, True])
def test_fsdp2(gpu_ranks: Ranks, reshard: bool) -> None:
    gpu_ranks("training:fsdp2", reshard, limit=60)


@of_threads
def test_waiting_orders_streams_and_not_the_host(
    fresh_ranks: Fresh, gpu_env: dict[str, str]
) -> None:
    env = {**gpu_env, "FAKE_GPU_DELAY_US": "100000"}
    expect_all_passed(fresh_ranks(2, "gpu:joined", ["slow_streams"], env=env).finish(60))


@of_threads
def test_memory_stays_while_a_slow_gpu_uses_it(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    env = {**gpu_env, "FAKE_GPU_DELAY_US": "1000"}
    expect_all_passed(fresh_ranks(2, "gpu:joined", ["nobody_keeps_it"], env=env).finish(60))


@pytest.mark.parametrize("size", [2, 4])
def test_two_hosts(fresh_ranks: Fresh, gpu_env: dict[str, str], size: int) -> None:
    """What moves between them are images of the GPUs' memory (native/src/lane/image)."""
    bodies = ["both_devices", "life", "nobody_keeps_it", "two_of_many", "groups"]
    expect_all_passed(fresh_ranks(size, "gpu:joined", bodies, 2, env=gpu_env).finish(90))


def test_who_does_not_come_is_named(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    values = expect_all_passed(fresh_ranks(3, "gpu:late", 1.5, env=gpu_env).finish(60))
    for text in filter(None, values):
        assert "rank 1" in text, text


def test_who_does_not_come_to_the_first_operation_is_named(
    fresh_ranks: Fresh, gpu_env: dict[str, str]
) -> None:
    values = expect_all_passed(fresh_ranks(2, "gpu:never_there", env=gpu_env).finish(60))
    assert values[0].count("rank 1 of the group did not come") == 2, values[0]


def test_a_call_has_a_limit_of_its_own(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    values = expect_all_passed(fresh_ranks(2, "gpu:late_by_one_call", env=gpu_env).finish(60))
    assert "has not ended within its time limit" in values[0]


def test_a_death_is_an_error(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    outcomes = fresh_ranks(3, "gpu:killed", env=gpu_env).finish(60)
    for rank in (0, 2):
        assert outcomes[rank].passed, outcomes[rank].value + outcomes[rank].output
        assert "rank 1" in outcomes[rank].value
    assert outcomes[1].status == -9


def test_survivors_go_on(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    outcomes = fresh_ranks(3, "gpu:shrinks", env=gpu_env).finish(60)
    for rank in (0, 2):
        assert outcomes[rank].passed, outcomes[rank].value + outcomes[rank].output


def test_a_bound_group_splits(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    expect_all_passed(fresh_ranks(4, "gpu:split", env=gpu_env).finish(60))


def test_abort_ends_what_waits(fresh_ranks: Fresh, gpu_env: dict[str, str]) -> None:
    expect_all_passed(fresh_ranks(2, "gpu:aborted", env=gpu_env).finish(60))


@of_threads
def test_calls_pass_through_for_the_gpu_alone(
    fresh_ranks: Fresh, gpu_env: dict[str, str], tmp_path: Path
) -> None:
    """The vendor is a second copy of this library that works on the GPU."""
    env = {**gpu_env, "FLEXLINK_DEVICE": "cuda", "FLEXLINK_PASS_THROUGH": "1",
           "FLEXLINK_NCCL_PATH": second_copy(tmp_path)}  # fmt: skip
    bodies = ["both_devices", "life", "nobody_keeps_it", "two_of_many"]
    expect_all_passed(fresh_ranks(2, "gpu:joined", bodies, env=env).finish(90))


def second_copy(folder: Path) -> str:
    """The library under another path, so that it is opened once more."""
    return str(shutil.copy(library_path(), folder / "libnccl.so.2"))
