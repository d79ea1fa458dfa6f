# SPDX-License-Identifier: Apache-2.0
"""send, recv and their relatives: any order, any tag, any number in flight."""

from __future__ import annotations

import pytest
from torch_ranks import Ranks
from torch_support import beyond_gloo, only_flexlink


@pytest.mark.parametrize(
    "dtype",
    [
        "float32", "bool", "int64", "bfloat16",
        *(beyond_gloo(name) for name in ("complex64", "int16", "float8_e4m3fn")),
    ],
)  # fmt: skip
def test_blocking_send_and_recv(ranks: Ranks, dtype: str) -> None:
    ranks("p2p:blocking", dtype)


def test_all_pairs_at_once_in_unlike_orders(ranks: Ranks) -> None:
    ranks("p2p:all_pairs")


def test_tags_are_taken_out_of_order(ranks: Ranks) -> None:
    ranks("p2p:tags")


def test_messages_of_one_tag_keep_their_order(ranks: Ranks) -> None:
    ranks("p2p:same_tag_keeps_order")


def test_any_source(ranks: Ranks) -> None:
    ranks("p2p:any_source")


def test_any_source_posted_early(ranks: Ranks) -> None:
    ranks("p2p:any_source_later")


@only_flexlink
@pytest.mark.parametrize("unread", [1, 1 << 20])
def test_who_leaves_with_an_unanswered_receive_harms_nobody(ranks: Ranks, unread: int) -> None:
    ranks("p2p:leaver", unread)


@only_flexlink
def test_any_source_while_ranks_leave(ranks: Ranks) -> None:
    ranks("p2p:workers_leave")


def test_in_a_group(ranks: Ranks) -> None:
    ranks("p2p:in_a_group")


@pytest.mark.parametrize("count", [0, 1001, 2 << 20])
@pytest.mark.parametrize("receive_first", [False, True])
def test_a_batch_in_the_same_order_on_all_ranks(
    ranks: Ranks, receive_first: bool, count: int
) -> None:
    ranks("p2p:batch", receive_first, count)


def test_a_batch_in_unlike_orders(ranks: Ranks) -> None:
    ranks("p2p:batch_in_unlike_orders")


def test_five_hundred_outstanding(ranks: Ranks) -> None:
    ranks("p2p:many_outstanding")


def test_messages_beside_a_collective_of_the_same_group(ranks: Ranks) -> None:
    ranks("p2p:beside_a_collective")


@pytest.mark.parametrize("after_it", [False, True])
def test_a_receive_that_is_posted_before_a_collective(ranks: Ranks, after_it: bool) -> None:
    ranks("p2p:across_a_collective", after_it)
