# SPDX-License-Identifier: Apache-2.0
"""What is a GPU's alone: streams, two devices in one group, memory in use, limits."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from bodies.common import Rank, await_file, bits, device_type, fails, numbers, reduced, same

COUNT = 100_003


def both_devices(rank: Rank) -> None:
    """Tensors on the CPU and on the GPU in one group, all under way at once."""
    team = rank.world()
    pairs = []
    for repeat in range(8):
        inputs = [numbers(torch.float32, COUNT, repeat + other) for other in range(team.size)]
        gpu, cpu = inputs[team.me].clone(), inputs[team.me].cpu()
        works = [dist.all_reduce(x, async_op=True) for x in (gpu, cpu)]
        pairs.append((works, gpu, cpu, reduced("SUM", inputs)))
    for works, gpu, cpu, wanted in pairs:
        for work in works:
            work.wait()
        assert gpu.device.type == device_type() and cpu.device.type == "cpu"
        same(gpu, wanted)
        same(cpu, wanted.cpu())


def slow_streams(rank: Rank) -> None:
    """An operation waits for what its stream holds, and what follows on the stream waits for it;
    the host waits for neither."""
    dist.all_reduce(torch.zeros(1))  # the ranks have met
    given = numbers(torch.float32, COUNT, rank.rank)
    x = torch.zeros_like(given)
    wanted = reduced("SUM", [numbers(torch.float32, COUNT, other) for other in range(rank.size)])
    dist.barrier()
    nothing = torch.zeros_like(given)
    start = time.monotonic()
    for _ in range(10):  # so that an operation that did not wait would long be over
        x.copy_(nothing)
    x.copy_(given)
    work = dist.all_reduce(x, async_op=True)
    work.wait()
    behind = torch.empty_like(x)
    behind.copy_(x)
    took = time.monotonic() - start
    assert not work.is_completed(), "the GPU was not slow"
    assert took < 0.2, took
    same(behind, wanted)
    dist.barrier()  # which does hold up the host until all that came before is done
    assert work.is_completed() and work.is_success() and work.exception() is None


def life(rank: Rank) -> None:
    """A Work of a GPU: its future is there at once and orders streams; it ends by itself."""
    x = numbers(torch.float32, COUNT, rank.rank)
    wanted = reduced("SUM", [numbers(torch.float32, COUNT, other) for other in range(rank.size)])
    work = dist.all_reduce(x, async_op=True)
    doubled = work.get_future().then(lambda future: future.value()[0] * 2)
    same(doubled.wait(), wanted * 2)
    work.wait()
    same(work.result()[0], wanted)
    same(x, wanted)
    work.block_current_stream()
    assert work.wait(datetime.timedelta(seconds=20)), "with a limit the host waits"
    assert work.is_completed() and work.is_success()
    assert work.get_future_result().wait() == 0  # SUCCESS
    before, after = (rank.rank - 1) % rank.size, (rank.rank + 1) % rank.size
    sent, came = dist.isend(torch.ones(3), dst=after), dist.irecv(torch.zeros(3), src=before)
    sent.wait()
    came.wait()
    assert came._source_rank() == before


def nobody_keeps_it(rank: Rank) -> None:
    """Tensors that only the operation still needs: memory that is given back too early ends the
    process, for CPUs and GPUs find nothing there."""
    outputs = []
    for repeat in range(12):
        output = torch.zeros(rank.size * 5000)
        given = bits(torch.float32, 5000, rank.rank, repeat % 10)
        dist.all_gather_into_tensor(output, given, async_op=True)
        del given
        parts = [torch.zeros(5000) for _ in range(rank.size)]
        dist.all_gather(parts, bits(torch.float32, 5000, rank.rank, repeat % 10), async_op=True)
        outputs.append((output, parts, repeat % 10))
    dist.barrier()
    for output, parts, key in outputs:
        for other in range(rank.size):
            wanted = bits(torch.float32, 5000, other, key)
            same(output.view(rank.size, -1)[other], wanted)
            same(parts[other], wanted)


def two_of_many(rank: Rank) -> None:
    """A message needs its two ranks and no others; both may send first."""
    group = dist.new_group(list(range(rank.size)))
    if rank.rank < 2:
        other = 1 - rank.rank
        x = torch.zeros(COUNT)
        works = [
            dist.isend(bits(torch.float32, COUNT, rank.rank), other, group=group),
            dist.irecv(x, other, group=group),
        ]
        for work in works:
            work.wait()
        same(x, bits(torch.float32, COUNT, other))
        (rank.folder / f"through.{rank.rank}").touch()
    for other in range(2):
        await_file(rank, f"through.{other}")
    dist.destroy_process_group(group)


def refused(rank: Rank) -> None:
    """What cannot be: both devices in one operation or batch, a message from anybody."""
    gpu, cpu = torch.ones(4), torch.ones(4, device="cpu")
    fails(RuntimeError, ["its tensors are on"],
          lambda: dist.all_gather_into_tensor(torch.zeros(4 * rank.size), cpu))  # fmt: skip
    fails(RuntimeError, ["sender must be named"], lambda: dist.recv(gpu))
    before, after = (rank.rank - 1) % rank.size, (rank.rank + 1) % rank.size

    def mixed() -> None:
        dist.batch_isend_irecv([
            dist.P2POp(dist.isend, gpu, after), dist.P2POp(dist.irecv, torch.zeros(4), before),
            dist.P2POp(dist.isend, cpu, after),
            dist.P2POp(dist.irecv, torch.zeros(4, device="cpu"), before),
        ])  # fmt: skip

    fails(RuntimeError, ["make it two"], mixed)
    dist.all_reduce(gpu)  # and it goes on
    same(gpu, torch.full((4,), float(rank.size)))
    backend = dist.group.WORLD._get_backend(gpu.device)
    assert not backend.supports_tensor_alloc(gpu.device)


def groups(rank: Rank) -> None:
    """Groups made and destroyed, each with communicators of its own on both devices."""
    for repeat in range(10):
        group = dist.new_group(list(range(rank.size)))
        x = torch.full((1001,), float(repeat))
        dist.all_reduce(x, group=group)
        same(x, torch.full((1001,), float(repeat * rank.size)))
        dist.destroy_process_group(group)


def split(rank: Rank) -> None:
    """split_group() of a world that is bound to its GPU from the start."""
    rank.join(device_id=torch.get_default_device())
    halves = [list(range(rank.size // 2)), list(range(rank.size // 2, rank.size))]
    group = dist.split_group(split_ranks=halves)
    members = halves[rank.rank * 2 // rank.size]
    for device in (torch.get_default_device(), torch.device("cpu")):
        x = torch.full((1001,), rank.rank + 1.0, device=device)
        dist.all_reduce(x, group=group)
        same(x, torch.full((1001,), sum(member + 1.0 for member in members), device=device))
    first = dist.split_group(split_ranks=[[0]])
    assert (first is not None) == (rank.rank == 0)
    dist.barrier()
    dist.destroy_process_group()


def begin(rank: Rank) -> torch.Tensor:
    """All ranks have met on the GPU and know it: what one does next is no end of the others'."""
    x = torch.ones(1001)
    dist.all_reduce(x)
    dist.barrier()
    (rank.folder / f"began.{rank.rank}").touch()
    for other in range(rank.size):
        await_file(rank, f"began.{other}")
    return x


def late(rank: Rank, limit: float) -> str | None:
    """One rank does not come: the others hear of it in time, and so does every later call."""
    rank.join(timeout=datetime.timedelta(seconds=limit))
    x = begin(rank)
    if rank.rank == 1:
        await_file(rank, "over")
        return None
    work = dist.all_reduce(x, async_op=True)
    work.wait()  # which says nothing, for it waits for nothing
    result = work.get_future_result()
    start = time.monotonic()
    assert result.wait() != 0
    took = time.monotonic() - start
    assert took < limit + 4, took
    text = fails(dist.DistBackendError, ["all_reduce"], work.wait)
    again = fails(dist.DistBackendError, [], lambda: dist.all_reduce(x))
    (rank.folder / "over").touch()
    return f"{text}\n{again}"


def never_there(rank: Rank) -> str | None:
    """One rank does not come to the first operation on the GPU."""
    rank.join(timeout=datetime.timedelta(seconds=1))
    if rank.rank == 1:
        await_file(rank, "over")
        return None
    text = fails(dist.DistBackendError, [], lambda: dist.all_reduce(torch.ones(3)))
    work = dist.isend(torch.ones(3), 1)
    text += fails(dist.DistBackendError, [], work.wait)
    (rank.folder / "over").touch()
    return text


def late_by_one_call(rank: Rank) -> str | None:
    """The limit of one call, of which the library knows nothing."""
    rank.join()
    x = begin(rank)
    if rank.rank == 1:
        await_file(rank, "over")
        return None
    options = dist.AllreduceOptions()
    options.timeout = datetime.timedelta(seconds=1)
    work = dist.group.WORLD.allreduce([x], options)
    start = time.monotonic()
    assert work.get_future_result().wait() == 1  # TIMEOUT
    assert 0.9 < time.monotonic() - start < 4
    text = fails(dist.DistBackendError, ["all_reduce"], work.wait)
    (rank.folder / "over").touch()
    return text


def killed(rank: Rank) -> str | None:
    """One rank dies while the others wait on the GPU: an error within seconds, which names it."""
    rank.join()
    x = begin(rank)
    if rank.rank == 1:
        os.kill(os.getpid(), 9)
    work = dist.all_reduce(x, async_op=True)
    start = time.monotonic()
    text = fails(dist.DistBackendError, [], lambda: work.wait(datetime.timedelta(seconds=20)))
    assert time.monotonic() - start < 5
    fails(dist.DistBackendError, [], lambda: dist.all_reduce(x))
    return text


def shrinks(rank: Rank) -> None:
    """The survivors of a death go on, on the GPU, too."""
    rank.join()
    begin(rank)
    if rank.rank == 1:
        os.kill(os.getpid(), 9)
    work = dist.all_reduce(torch.ones(1001), async_op=True)
    fails(dist.DistBackendError, [], lambda: work.wait(datetime.timedelta(seconds=20)))
    group = dist.shrink_group([1], shrink_flags=1)
    # Torch gives the new group the backend of "cuda" or "cpu" and of no other device.
    for device in {"cpu", "cuda"} & {"cpu", device_type()}:
        x = torch.ones(1001, device=device)
        dist.all_reduce(x, group=group)
        same(x, torch.full((1001,), float(rank.size - 1), device=device))
    dist.destroy_process_group()


def aborted(rank: Rank) -> None:
    """abort() ends what waits on the GPU."""
    rank.join()
    x = begin(rank)
    if rank.rank != 0:
        await_file(rank, "aborted")
        return
    work = dist.all_reduce(x, async_op=True)
    assert not work.is_completed()
    dist.group.WORLD.abort()
    fails(dist.DistBackendError, ["abort"], work.wait)
    fails(dist.DistBackendError, ["abort"], lambda: dist.all_reduce(x))
    (rank.folder / "aborted").touch()


def joined(rank: Rank, bodies: list[str], hosts: int = 1) -> None:
    """Some of these in a world of their own; on several hosts ranks take turns."""
    if hosts > 1:
        os.environ["FLEXLINK_HOSTID"] = f"host{rank.rank % hosts}"
    rank.join()
    for name in bodies:
        body: Callable[[Rank], None] = globals()[name]
        body(rank)
    dist.destroy_process_group()
