# SPDX-License-Identifier: Apache-2.0
"""Groups: made, used, destroyed, many of them, in one process after the other."""

from __future__ import annotations

import os
import threading
import time
import warnings
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from bodies.common import Rank, fails, same

CPU = torch.device("cpu")


def check(group: dist.ProcessGroup | None, members: int, count: int = 1001) -> None:
    """The group adds up over its members."""
    x = torch.ones(count)
    dist.all_reduce(x, group=group)
    same(x, torch.full((count,), float(members)))


def subsets(rank: Rank) -> None:
    """Members in any order: torch sorts them; a group of one works; who is no member gets none."""
    for members in ([rank.size - 1, 0], [0], list(reversed(range(rank.size)))):
        group = dist.new_group(members)
        if rank.rank not in members:
            assert group == dist.GroupMember.NON_GROUP_MEMBER
            continue
        assert dist.get_process_group_ranks(group) == sorted(members)
        assert dist.get_group_rank(group, rank.rank) == sorted(members).index(rank.rank)
        check(group, len(members))
        x = torch.tensor([float(rank.rank)])
        dist.broadcast(x, src=members[0], group=group)
        same(x, torch.tensor([float(members[0])]))
        assert dist.get_backend(group) == dist.get_backend()
        dist.destroy_process_group(group)


def made_by_members_only(rank: Rank) -> None:
    """use_local_synchronization: only members call, and each pair of neighbours in an order of its
    own, beginning with its lower rank's."""
    if rank.rank >= 2:
        return
    groups = [dist.new_group([0, 1], use_local_synchronization=True) for _ in range(3)]
    for group in reversed(groups):
        check(group, 2)
    for group in groups:
        dist.destroy_process_group(group)


def overlapping(rank: Rank) -> None:
    """Rings of pairs, each rank in two of them, used at once."""
    pairs = [sorted((i, (i + 1) % rank.size)) for i in range(rank.size)]
    groups = [dist.new_group(pair, group_desc=f"pair {i}") for i, pair in enumerate(pairs)]
    mine = [(g, p) for g, p in zip(groups, pairs, strict=True) if rank.rank in p]
    assert len(mine) == 2
    works = []
    for group, _ in mine:
        x = torch.ones(5003)
        works.append((dist.all_reduce(x, group=group, async_op=True), x))
    for work, x in works:
        work.wait()
        same(x, torch.full((5003,), 2.0))
    for group, _ in mine:
        dist.destroy_process_group(group)


def subgroups(rank: Rank) -> None:
    """new_subgroups and new_subgroups_by_enumeration."""
    mine, groups = dist.new_subgroups(group_size=rank.size // 2)
    assert len(groups) == 2
    check(mine, rank.size // 2)
    halves = [list(range(0, rank.size, 2)), list(range(1, rank.size, 2))]
    mine, _ = dist.new_subgroups_by_enumeration(halves)
    check(mine, rank.size // 2)
    assert dist.get_process_group_ranks(mine) == halves[rank.rank % 2]


def holdings() -> dict[str, int]:
    """What this process has open."""
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "mappings": len(Path("/proc/self/maps").read_text().splitlines()),
    }


def make_and_destroy(rank: Rank, count: int) -> None:
    """Groups that are used once."""
    for _ in range(count):
        group = dist.new_group()
        check(group, rank.size, 101)
        dist.destroy_process_group(group)


def many(rank: Rank, count: int) -> tuple[dict[str, int], dict[str, int]]:
    """What is open after 10 groups and what after `count` more; what closes late has 5 s."""
    make_and_destroy(rank, 10)
    dist.barrier()
    before = holdings()
    make_and_destroy(rank, count)
    deadline = time.monotonic() + 5
    while (after := holdings()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return before, after


def alive_together(rank: Rank, count: int) -> None:
    """Many groups that live at once all work."""
    groups = [dist.new_group() for _ in range(count)]
    works = []
    for group in groups:
        x = torch.ones(11)
        works.append((dist.all_reduce(x, group=group, async_op=True), x))
    for work, x in reversed(works):
        work.wait()
        same(x, torch.full((11,), float(rank.size)))
    for group in groups:
        dist.destroy_process_group(group)


def again_and_again(rank: Rank) -> None:
    """destroy_process_group, then init in the same process. Each time with a store of its own: a
    rank that is early would meet the old one's server on the same port."""
    for round_number in range(5):
        rank.join(init_method=f"file://{rank.folder}/store{round_number}")
        assert dist.get_world_size() == rank.size
        group = dist.new_group()
        check(None, rank.size)
        check(group, rank.size)
        if round_number % 2:
            dist.destroy_process_group(group)
        dist.barrier()
        dist.destroy_process_group()
        assert not dist.is_initialized()


def with_string(rank: Rank, backend: str) -> None:
    """The usual life of a program with this backend string."""
    dist.init_process_group(backend)
    if ":" not in backend:
        assert dist.get_backend() == backend
    check(None, rank.size)
    seen: list[object] = [None] * rank.size
    dist.all_gather_object(seen, rank.rank)
    assert seen == list(range(rank.size))
    group = dist.new_group([0, 1])
    if rank.rank < 2:
        check(group, 2)
    dist.barrier()
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1, bias=False))
    model(torch.full((1, 3), float(rank.rank))).sum().backward()
    mean = sum(range(rank.size)) / rank.size
    same(model.module.weight.grad, torch.full((1, 3), mean))
    mesh = dist.device_mesh.init_device_mesh("cpu", (rank.size,))
    check(mesh.get_group(), rank.size)
    dist.destroy_process_group()


def detail(rank: Rank) -> str:
    """TORCH_DISTRIBUTED_DEBUG=DETAIL: the usual things work, and unlike calls are found."""
    dist.set_debug_level_from_env()  # torch read it when it was imported
    assert dist.get_debug_level() == dist.DebugLevel.DETAIL
    dist.init_process_group(rank.backend)
    kind = type(dist.group.WORLD._get_backend(CPU)).__name__
    assert "Wrapper" in kind, kind
    check(None, rank.size)
    group = dist.new_group()
    check(group, rank.size)
    output = torch.zeros(3 * rank.size)
    dist.all_gather_into_tensor(output, torch.ones(3))
    same(output, torch.ones(3 * rank.size))
    x = torch.ones(4)
    call = (lambda: dist.all_reduce(x)) if rank.rank == 0 else (lambda: dist.broadcast(x, src=1))
    return fails(RuntimeError, ["mismatch"], call)


def sequence_numbers(rank: Rank) -> None:
    """One more for each collective, the same on all ranks, for each group its own. Only the
    backend's object tells: torch 2.13 refuses to ask a plugin by the group, which is pinned."""
    group = dist.new_group()
    backend, world = group._get_backend(CPU), dist.group.WORLD._get_backend(CPU)
    check(group, rank.size)
    before = backend._get_sequence_number_for_group()
    others = world._get_sequence_number_for_group()
    for _ in range(3):
        check(group, rank.size)
    dist.barrier(group=group)
    assert backend._get_sequence_number_for_group() == before + 4
    assert world._get_sequence_number_for_group() == others
    if rank.backend != "gloo":
        fails(RuntimeError, ["sequence numbers"], group._get_sequence_number_for_group)
    seen: list[object] = [None] * rank.size
    dist.all_gather_object(seen, before)
    assert seen == [before] * rank.size
    dist.destroy_process_group(group)


def set_timeout(rank: Rank) -> None:
    """A new limit through the backend's object counts for the next collective."""
    backend = dist.group.WORLD._get_backend(CPU)
    check(None, rank.size)
    backend.set_timeout(timedelta(seconds=1))
    if rank.rank == 0:
        began = time.monotonic()
        fails(RuntimeError, (), lambda: dist.all_reduce(torch.ones(3)))
        assert 0.99 <= time.monotonic() - began <= 3, time.monotonic() - began
        (rank.folder / "done").touch()
        return
    deadline = time.monotonic() + 20
    while not (rank.folder / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def monitored_barrier(rank: Rank) -> None:
    """By the group: passes when all come, and names who did not."""
    group = dist.group.WORLD
    group.monitored_barrier(timedelta(seconds=20))
    group.monitored_barrier(timedelta(seconds=20), wait_all_ranks=True)
    if rank.rank == rank.size - 1:
        return
    began = time.monotonic()
    words = [f"rank {rank.size - 1}"] if rank.rank == 0 else []
    fails(RuntimeError, words, lambda: group.monitored_barrier(timedelta(seconds=1)))
    assert time.monotonic() - began < 5


def pinned(rank: Rank) -> None:
    """What torch 2.13 does not let a plugin do (traps 5, 6 and 7); when it does, tell the users."""
    check(None, rank.size)
    fails(ValueError, ["only implemented for GLOO"], dist.monitored_barrier)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=9))
    assert any("only supported for either nccl or gloo" in str(w.message) for w in caught)
    split = partial(dist.split_group, split_ranks=[list(range(rank.size))])
    fails(RuntimeError, ["No device associated"], split)
    dist.group.WORLD.bound_device_id = torch.device("cpu", 0)  # which no user can say
    if not torch.accelerator.is_available():
        fails(RuntimeError, ["does not support splitting"], split)
    dist.group.WORLD.bound_device_id = None
    check(None, rank.size)


def not_carried(rank: Rank) -> None:
    """What c10d asks of a backend and this one has not says so (trap 19), and harms nothing."""
    world = dist.group.WORLD
    backend = world._get_backend(CPU)
    assert not backend.supports_time_estimate
    can = (backend.supports_coalescing, backend.supports_shrinking, backend.supports_splitting)
    assert can == (True, True, True)
    for words, call in (
        ("enableCollectivesTiming", world._enable_collectives_timing),
        ("onCompletion hook", lambda: world._register_on_completion_hook(print)),
        ("waitForPendingWorks", world._wait_for_pending_works),
        ("does not support suspend", backend.suspend),
        ("does not support resume", backend.resume),
        ("does not support getMemoryStats", backend.memory_stats),
        ("implementation of merge", lambda: world.merge_remote_group(dist.HashStore(), 9)),
    ):
        fails(RuntimeError, [words], call)
    assert not world._has_hooks()
    backend.eager_connect_single_device(CPU)  # it is connected from its creation on
    check(None, rank.size)


def split(rank: Rank) -> None:
    """The group's own split_group(), which asks for no accelerator: all call it, some belong."""
    world = dist.group.WORLD
    for members in ([0, 1], list(range(rank.size)), [rank.size - 1]):
        part = world.split_group(members)
        assert (part is None) == (rank.rank not in members)
        if part is None:
            continue
        assert part.size() == len(members) and part.rank() == members.index(rank.rank)
        x = torch.full((1001,), rank.rank + 1.0)
        part.allreduce([x]).wait()
        same(x, torch.full((1001,), sum(member + 1.0 for member in members)))
        part.shutdown()
    check(None, rank.size)


def abort(rank: Rank) -> None:
    """_abort_process_group ends what waits in another thread, and the process can begin again."""
    dist.init_process_group(rank.backend)
    check(None, rank.size)
    if rank.rank == 0:
        ended: list[float] = []

        def hang() -> None:
            try:
                dist.all_reduce(torch.ones(3))
            except RuntimeError:
                ended.append(time.monotonic())

        thread = threading.Thread(target=hang)
        thread.start()
        time.sleep(0.3)
        began = time.monotonic()
        dist.distributed_c10d._abort_process_group()
        thread.join(10)
        assert ended and ended[0] - began < 2, ended
    else:
        time.sleep(0.5)
        dist.distributed_c10d._abort_process_group()
    assert not dist.is_initialized()
    rank.join(init_method=f"file://{rank.folder}/store")
    check(None, rank.size)
    dist.destroy_process_group()


def shrink_living(rank: Rank) -> None:
    """A group of all loses its last member, who does not take part; the world goes on."""
    dist.init_process_group(rank.backend)
    group = dist.new_group()
    check(group, rank.size)
    last = rank.size - 1
    if rank.rank != last:
        smaller = dist.shrink_group([last], group=group)
        assert smaller.size() == last and smaller.rank() == rank.rank
        check(smaller, last)
        dist.destroy_process_group(smaller)
    else:
        time.sleep(0.2)
    check(None, rank.size)
    dist.destroy_process_group()
