# SPDX-License-Identifier: Apache-2.0
"""Point-to-point: between neighbours on a ring, and between all pairs."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist

from bodies.common import SIZES, Rank, await_file, bits, dtype_of, fails, numbers, reduced, same

LARGE_BYTES = 8 << 20


def neighbours(rank: Rank) -> tuple[int, int]:
    """The ranks before and after on the ring."""
    return (rank.rank - 1) % rank.size, (rank.rank + 1) % rank.size


def blocking(rank: Rank, name: str) -> None:
    """Even ranks send first, odd ones receive first; all types and sizes."""
    dtype = dtype_of(name)
    before, after = neighbours(rank)
    for count in (*SIZES, LARGE_BYTES // dtype.itemsize if name == "float32" else 3):
        x = torch.zeros(count, dtype=dtype)
        for first in (0, 1):
            if rank.rank % 2 == first:
                dist.send(bits(dtype, count, rank.rank, count % 10), dst=after)
            else:
                assert dist.recv(x, src=before) == before
                same(x, bits(dtype, count, before, count % 10))


def all_pairs(rank: Rank) -> None:
    """Receives are posted in one order, sends in another, all in flight together."""
    others = [other for other in range(rank.size) if other != rank.rank]
    counts = (0, 5, 1001, LARGE_BYTES // 4)
    inputs = {o: [torch.zeros(count) for count in counts] for o in others}
    works = [
        dist.irecv(inputs[other][i], src=other, tag=i)
        for other in others
        for i in range(len(counts))
    ]
    works += [
        dist.isend(bits(torch.float32, count, rank.rank, other, i), dst=other, tag=i)
        for i, count in reversed(list(enumerate(counts)))
        for other in reversed(others)
    ]
    for work in works:
        work.wait()
    for other in others:
        for i, count in enumerate(counts):
            wanted = bits(torch.float32, count, other, rank.rank, i)
            same(inputs[other][i], wanted, f"{i} from {other}")


def tags(rank: Rank) -> None:
    """What is sent as 0, 1, 2, … is taken as the tags say, in the opposite order."""
    count = 20
    if rank.rank == 0:
        works = [dist.isend(torch.full((7,), float(i)), dst=1, tag=i) for i in range(count)]
        for work in works:
            work.wait()
    elif rank.rank == 1:
        for tag in reversed(range(count)):
            x = torch.zeros(7)
            dist.recv(x, src=0, tag=tag)
            same(x, torch.full((7,), float(tag)), f"tag {tag}")


def same_tag_keeps_order(rank: Rank) -> None:
    """Messages of one tag between two ranks arrive in the order in which they were sent."""
    before, after = neighbours(rank)
    sends = [dist.isend(torch.full((i,), i), dst=after) for i in range(100)]
    inputs = [torch.zeros(i, dtype=torch.int64) for i in range(100)]
    for work in [dist.irecv(x, src=before) for x in inputs]:
        work.wait()
    for work in sends:
        work.wait()
    for i, x in enumerate(inputs):
        same(x, torch.full((i,), i), f"message {i}")


def any_source(rank: Rank) -> None:
    """recv() without a source takes from each, and says from whom; tags still count."""
    if rank.rank != 0:
        works = [dist.isend(torch.tensor([rank.rank, i]), dst=0, tag=i) for i in range(3)]
        for work in works:
            work.wait()
        return
    for tag in (2, 0, 1):
        seen = set()
        for _ in range(1, rank.size):
            x = torch.zeros(2, dtype=torch.int64)
            source = dist.recv(x, tag=tag)
            same(x, torch.tensor([source, tag]), f"from {source}")
            seen.add(source)
        assert seen == set(range(1, rank.size))


def any_source_later(rank: Rank) -> None:
    """irecv() without a source, posted before anybody sends; its Work says from whom."""
    if rank.rank == 0:
        inputs = [torch.zeros(1, dtype=torch.int64) for _ in range(1, rank.size)]
        works = [dist.irecv(x) for x in inputs]
        dist.barrier()
        seen = set()
        for work, x in zip(works, inputs, strict=True):
            work.wait()
            assert x.item() == 100 + work._source_rank()
            seen.add(work._source_rank())
        assert seen == set(range(1, rank.size))
    else:
        dist.barrier()
        dist.send(torch.tensor([100 + rank.rank]), dst=0)


def leaver(rank: Rank, unread: int) -> None:
    """Rank 0 leaves a group with an offer to anybody that only one has answered; nobody is harmed:
    what it sent is read after that, and the others go on."""
    group = dist.new_group()
    if rank.rank == 0:
        x = torch.zeros(1, dtype=torch.int64)
        assert dist.recv(x, group=group) == 1
        work = dist.isend(torch.full((unread,), 7), dst=1, group=group)
        extra = dist.irecv(torch.zeros(1), group=group)  # nobody answers it
        dist.destroy_process_group(group)
        work.wait()
        fails(dist.DistBackendError, (), extra.wait)
        (rank.folder / "left").touch()
        return
    if rank.rank == 1:
        dist.send(torch.ones(1, dtype=torch.int64), dst=0, group=group)
    if rank.rank == 1 and unread > 100_000:  # so long that it leaves when that is read
        time.sleep(0.2)
    else:
        await_file(rank, "left")
        time.sleep(0.1)
    y = torch.zeros(unread, dtype=torch.int64)
    if rank.rank == 1:
        dist.recv(y, src=0, group=group)
        same(y, torch.full((unread,), 7))
    last = rank.size - 1
    if last != 1 and rank.rank == 1:
        time.sleep(0.3)  # the last one waits so long that it looks around
        dist.send(y, dst=last, group=group)
    elif last != 1 and rank.rank == last:
        dist.recv(y, src=1, group=group)
        same(y, torch.full((unread,), 7))
    dist.destroy_process_group(group)


def workers_leave(rank: Rank) -> None:
    """Rank 0 takes from anybody what each other rank has, who leaves when that is sent."""
    group = dist.new_group()
    if rank.rank != 0:
        for _ in range(rank.rank):
            dist.send(torch.tensor([rank.rank]), dst=0, group=group)
            time.sleep(0.05)
        dist.destroy_process_group(group)
        return
    counts = dict.fromkeys(range(1, rank.size), 0)
    x = torch.zeros(1, dtype=torch.int64)
    for _ in range(sum(counts)):
        source = dist.recv(x, group=group)
        assert x.item() == source
        counts[source] += 1
    assert counts == {each: each for each in counts}
    fails(dist.DistBackendError, ["has left"], lambda: dist.recv(x, group=group))
    fails(dist.DistBackendError, ["has left"], lambda: dist.recv(x, src=1, group=group))
    dist.destroy_process_group(group)


def in_a_group(rank: Rank) -> None:
    """Peers have the world's numbers, or the group's with group_dst and group_src."""
    team = rank.part()
    if team.size == 1:
        return
    before, after = (team.me - 1) % team.size, (team.me + 1) % team.size
    work = dist.isend(torch.tensor([team.me]), dst=team.ranks[after], group=team.group)
    x = torch.zeros(1, dtype=torch.int64)
    assert dist.recv(x, src=team.ranks[before], group=team.group) == team.ranks[before]
    same(x, torch.tensor([before]))
    work.wait()
    work = dist.isend(torch.tensor([10 + team.me]), group=team.group, group_dst=after)
    dist.recv(x, group=team.group, group_src=before)
    same(x, torch.tensor([10 + before]))
    work.wait()


def batch(rank: Rank, receive_first: bool, count: int) -> None:
    """batch_isend_irecv with the same order on all ranks: [send, recv] or [recv, send]."""
    before, after = neighbours(rank)
    for repeat in range(5):
        x = torch.zeros(count)
        given = bits(torch.float32, count, rank.rank, repeat)
        ops = [dist.P2POp(dist.isend, given, after), dist.P2POp(dist.irecv, x, before)]
        if receive_first:
            ops.reverse()
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        same(x, bits(torch.float32, count, before, repeat))


def batch_in_unlike_orders(rank: Rank) -> None:
    """An exchange of several tensors among all, shuffled in another way on each rank; between two
    ranks and in one direction the order stays."""
    generator = torch.Generator().manual_seed(rank.rank)
    others = [other for other in range(rank.size) if other != rank.rank]
    for repeat in range(5):
        queues = []
        inputs: dict[int, list[torch.Tensor]] = {}
        for other in others:
            inputs[other] = [torch.zeros(1000 * i + 1) for i in range(4)]
            queues.append([dist.P2POp(dist.irecv, x, other) for x in inputs[other]])
            given = [bits(torch.float32, 1000 * i + 1, rank.rank, other, i) for i in range(4)]
            queues.append([dist.P2POp(dist.isend, x, other) for x in given])
        ops = []
        while queues:
            place = int(torch.randint(len(queues), (1,), generator=generator, device="cpu"))
            ops.append(queues[place].pop(0))
            queues = [queue for queue in queues if queue]
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        for other in others:
            for i, x in enumerate(inputs[other]):
                same(x, bits(torch.float32, 1000 * i + 1, other, rank.rank, i), f"{repeat}, {i}")


def many_outstanding(rank: Rank) -> None:
    """500 in flight each way, waited for in the opposite order."""
    before, after = neighbours(rank)
    inputs = [torch.zeros(i % 50, dtype=torch.int32) for i in range(500)]
    receives = [dist.irecv(x, src=before, tag=i) for i, x in enumerate(inputs)]
    sends = [
        dist.isend(torch.full((i % 50,), 1000 * rank.rank + i, dtype=torch.int32), dst=after, tag=i)
        for i in range(500)
    ]
    for work in reversed(sends + receives):
        work.wait()
    for i, x in enumerate(inputs):
        same(x, torch.full((i % 50,), 1000 * before + i, dtype=torch.int32), f"message {i}")


def beside_a_collective(rank: Rank) -> None:
    """Messages are exchanged while an all_reduce of the same group is on its way."""
    before, after = neighbours(rank)
    count = 1 << 20
    inputs = [numbers(torch.float32, count, i) for i in range(rank.size)]
    for repeat in range(3):
        total = inputs[rank.rank].clone()
        big = dist.all_reduce(total, async_op=True)
        work = dist.isend(bits(torch.float32, 30_001, rank.rank, repeat), dst=after)
        x = torch.zeros(30_001)
        dist.recv(x, src=before)
        work.wait()
        same(x, bits(torch.float32, 30_001, before, repeat))
        big.wait()
        same(total, reduced("SUM", inputs))


def across_a_collective(rank: Rank, after_it: bool) -> None:
    """A receive posted before an all_reduce, whose peer sends before or after it."""
    before, after = neighbours(rank)
    for repeat in range(20):
        x, y = torch.zeros(1001), torch.ones(1001)
        receive = dist.irecv(x, src=before)
        if after_it:
            dist.all_reduce(y)
        send = dist.isend(bits(torch.float32, 1001, rank.rank, repeat), dst=after)
        if not after_it:
            dist.all_reduce(y)
        receive.wait()
        send.wait()
        same(x, bits(torch.float32, 1001, before, repeat))
        same(y, torch.full((1001,), float(rank.size)))
