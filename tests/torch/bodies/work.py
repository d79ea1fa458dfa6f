# SPDX-License-Identifier: Apache-2.0
"""What an asynchronous operation returns, and who may use it when."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from bodies.common import Rank, await_file, bits, fails, numbers, reduced, same

COUNT = 200_003


def start(rank: Rank, count: int = COUNT) -> tuple[torch.Tensor, dist.Work, torch.Tensor]:
    """An all_reduce on its way: its tensor, its Work, the result to come."""
    inputs = [numbers(torch.float32, count, i) for i in range(rank.size)]
    x = inputs[rank.rank].clone()
    return x, dist.all_reduce(x, async_op=True), reduced("SUM", inputs)


def life(rank: Rank) -> None:
    """Not complete while a peer is missing; complete later although nobody waits."""
    x, y = torch.ones(7), torch.ones(7)
    dist.all_reduce(x)
    if rank.rank == 0:
        work = dist.all_reduce(y, async_op=True)
        time.sleep(0.2)
        assert not work.is_completed()
        (rank.folder / "go").touch()
    else:
        await_file(rank, "go")
        work = dist.all_reduce(y, async_op=True)
    deadline = time.monotonic() + 10
    while not work.is_completed():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    same(y, torch.full((7,), float(rank.size)))
    assert work.wait() and work.wait()
    assert work.is_success() and work.exception() is None
    same(work.result()[0], y)


def wait_with_limit(rank: Rank) -> None:
    """A limit that is kept changes nothing."""
    x, work, wanted = start(rank)
    assert work.wait(timedelta(seconds=20))
    same(x, wanted)


def limit_passes(rank: Rank) -> None:
    """wait(limit) ends with an error soon after its limit when a peer does not come."""
    if rank.rank == rank.size - 1:
        await_file(rank, "done")
        return
    work = dist.all_reduce(torch.ones(5), async_op=True)
    began = time.monotonic()
    try:
        work.wait(timedelta(seconds=1))
    except RuntimeError as error:
        assert isinstance(error, dist.DistBackendError) or rank.backend == "gloo", type(error)
        took = time.monotonic() - began
        assert 0.99 <= took <= 3, took
    else:
        raise AssertionError("no error")
    (rank.folder / "done").touch()


def futures(rank: Rank) -> None:
    """The value is the list of tensors; then() sees it, its result goes on."""
    x, work, wanted = start(rank)
    future = work.get_future()
    values = future.wait()
    assert isinstance(values, list) and len(values) == 1
    same(values[0], wanted)
    assert values[0].data_ptr() == x.data_ptr() and future.done()
    x, work, wanted = start(rank)
    half = work.get_future().then(lambda f: f.value()[0] / 2).then(lambda f: f.value() + 1)
    same(half.wait(), wanted / 2 + 1)
    y = torch.ones(3)
    output = [torch.zeros(3) for _ in range(rank.size)]
    gathered = dist.all_gather(output, y, async_op=True).get_future().wait()
    flat = gathered[0] if isinstance(gathered[0], list) else gathered
    same(torch.cat([t.flatten() for t in flat]), torch.ones(3 * rank.size))
    dist.barrier(async_op=True).get_future().wait()
    dist.broadcast(y, src=0, async_op=True).get_future().wait()


def future_result(rank: Rank) -> None:
    """get_future_result() ends with WorkResult.SUCCESS."""
    x, work, wanted = start(rank)
    result = work.get_future_result().wait()
    assert result == int(torch._C._distributed_c10d.WorkResult.SUCCESS) or str(result).endswith(
        "SUCCESS"
    ), result
    same(x, wanted)


def questions(rank: Rank) -> None:
    """What else may be asked of a Work: kind, tensors, whom it came from, a boxed form."""
    x, work, wanted = start(rank)
    held = work.boxed()
    again = dist.Work.unbox(held)
    assert again.wait() and again.is_completed() and again.is_success()
    same(again.result()[0], wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work.synchronize()
    same(x, wanted)
    assert work._get_op_type() == dist.all_reduce(x, async_op=True)._get_op_type()
    gathered = dist.all_gather_into_tensor(torch.zeros(rank.size), torch.zeros(1), async_op=True)
    assert gathered._get_op_type() != work._get_op_type()
    gathered.wait()
    before, after = (rank.rank - 1) % rank.size, (rank.rank + 1) % rank.size
    sent, came = dist.isend(torch.ones(3), dst=after), dist.irecv(torch.zeros(3), src=before)
    sent.wait()
    came.wait()
    assert came._source_rank() == before
    fails(RuntimeError, ["only be called on work objects"], work._source_rank)
    fails(RuntimeError, ["getDuration"], work._get_duration)
    # There is no stream on the CPU; a torch that was built for CUDA looks for the driver first.
    fails(RuntimeError, ["StreamBlock", "driver"], work.block_current_stream)


def collectives_in_callbacks(rank: Rank) -> None:
    """then() may start the next collective and wait for it, as PowerSGD does, three deep."""
    group_x = torch.ones(1001)

    def again(future: Any) -> list[torch.Tensor]:
        tensor = future.value()[0]
        return dist.all_reduce(tensor, async_op=True).get_future().wait()

    future = dist.all_reduce(group_x, async_op=True).get_future()
    for _ in range(3):
        future = future.then(again)
    same(future.wait()[0], torch.full((1001,), float(rank.size**4)))
    same(group_x, torch.full((1001,), float(rank.size**4)))


def tensors_stay_alive(rank: Rank) -> None:
    """Nobody but the operation holds its tensors while it runs."""
    for repeat in range(4):
        outputs = [torch.zeros(COUNT) for _ in range(rank.size)]
        works = [
            dist.all_gather(outputs, bits(torch.float32, COUNT, rank.rank, repeat), async_op=True),
            dist.broadcast(bits(torch.float32, COUNT, 0, repeat), src=0, async_op=True),
        ]
        inputs = [numbers(torch.float32, COUNT, i) for i in range(rank.size)]
        future = dist.all_reduce(inputs[rank.rank].clone(), async_op=True).get_future()
        gc.collect()
        rubbish = [torch.full((COUNT,), -1.0) for _ in range(6)]  # takes what was let go
        value = future.wait()[0]
        for work in works:
            work.wait()
        del rubbish
        same(value, reduced("SUM", inputs))
        for other, output in enumerate(outputs):
            same(output, bits(torch.float32, COUNT, other, repeat), f"from {other}")


def dropped_work(rank: Rank) -> None:
    """The operation goes on when nobody keeps its Work, tensor or group's name."""
    for _ in range(20):
        dist.all_reduce(torch.ones(50_003), async_op=True)
    gc.collect()
    x = torch.ones(7)
    dist.all_reduce(x)
    same(x, torch.full((7,), float(rank.size)))


def threads(rank: Rank, count: int, collectives: int) -> None:
    """Each thread has a group of its own and does not care about the others."""
    groups = [dist.new_group() for _ in range(count)]
    errors: list[BaseException] = []

    def use(index: int) -> None:
        try:
            for i in range(collectives):
                length = 1 + (i * 977) % 5000
                inputs = [numbers(torch.float32, length, index + r) for r in range(rank.size)]
                x = inputs[rank.rank].clone()
                if i % 3:
                    dist.all_reduce(x, group=groups[index])
                else:
                    dist.all_reduce(x, group=groups[index], async_op=True).wait()
                same(x, reduced("SUM", inputs), f"thread {index}, {i}")
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=use, args=(i,)) for i in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(20)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    for group in groups:
        dist.destroy_process_group(group)


def waited_by_another_thread(rank: Rank) -> None:
    """Works of one thread, waited for in several others."""
    started = [start(rank, 10_007) for _ in range(8)]
    seen: list[bool] = []
    running = [
        threading.Thread(target=lambda w=work: seen.append(w.wait())) for _, work, _ in started
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(20)
    assert seen == [True] * 8
    for x, _, wanted in started:
        same(x, wanted)


def reverse_order(rank: Rank) -> None:
    """300 outstanding collectives of two groups, waited for from the last to the first."""
    team = rank.part()
    started = []
    for i in range(150):
        started.append(start(rank, i))
        y = torch.ones(i)
        work = dist.all_reduce(y, group=team.group, async_op=True)
        started.append((y, work, torch.full((i,), float(team.size))))
    for x, work, wanted in reversed(started):
        work.wait()
        same(x, wanted)
