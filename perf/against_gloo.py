# SPDX-License-Identifier: Apache-2.0
"""Through torch.distributed: FlexLink and Gloo on groups of the same ranks, in turns.

flexlink run -n 2 -- python perf/against_gloo.py [--sizes 8,1024,...] [--turns 7] [--shared]

Prints one Markdown row for each operation and size: medians of a blocking call in microseconds
(timed on rank 0), and ratio = Gloo's time over ours; above 1, we are faster. Tensors have one
thread for each rank unless OMP_NUM_THREADS says otherwise. The last rows are the call without
torch's Python (`pg.allreduce`), and the same through flexlink's own Python.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.distributed as dist

SIZES = "8,1024,65536,1048576,16777216,67108864"


def ones(count: int, group: dist.ProcessGroup, shared: bool) -> torch.Tensor:
    """float32, in torch's memory or in the backend's."""
    if not shared:
        return torch.ones(count)
    cpu = torch.device("cpu")
    return group._get_backend(cpu).allocate_tensor(count, dtype=torch.float32, device=cpu).fill_(1)


def operations(
    count: int, group: dist.ProcessGroup, shared: bool
) -> dict[str, Callable[[], object]]:
    """Blocking calls on `count` float32 in all; results are not looked at here."""
    size = dist.get_world_size()
    part = max(1, count // size)
    x, y = ones(max(1, count), group, shared), ones(part, group, shared)
    whole, other = (ones(part * size, group, shared) for _ in range(2))
    return {
        "all_reduce": lambda: dist.all_reduce(x, group=group),
        "all_gather": lambda: dist.all_gather_single(whole, y, group=group),
        "reduce_scatter": lambda: dist.reduce_scatter_single(y, whole, group=group),
        "broadcast": lambda: dist.broadcast(x, 0, group=group),
        "all_to_all": lambda: dist.all_to_all_single(other, whole, group=group),
    }


def seconds(call: Callable[[], object], times: int) -> float:
    """Of one call, the mean over `times` calls that follow each other."""
    dist.barrier()
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def repeats(size: int) -> int:
    """Calls in one turn: about as long for all sizes."""
    return max(3, min(500, (8 << 20) // max(size, 1)))


def compare(calls: dict[str, Callable[[], object]], size: int, turns: int) -> dict[str, float]:
    """Median seconds by name; turn 0 only warms up."""
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            took = seconds(call, repeats(size))
            if turn > 0:
                seen[name].append(took)
    return {name: statistics.median(each) for name, each in seen.items()}


def overhead(group: dist.ProcessGroup, turns: int) -> None:
    """8 bytes: c10d's own call, and the library through flexlink's Python."""
    import flexlink

    x = torch.ones(2)
    key = [flexlink.unique_id() if dist.get_rank() == 0 else b""]
    dist.broadcast_object_list(key, 0)
    flat = x.numpy()
    with flexlink.Communicator.connect(key[0], dist.get_rank(), dist.get_world_size()) as comm:
        calls: dict[str, Callable[[], object]] = {
            "pg.allreduce": lambda: group.allreduce([x]).wait(),
            "flexlink": lambda: comm.all_reduce(flat),
        }
        took = compare(calls, 8, turns)
    if dist.get_rank() == 0:
        for name, each in took.items():
            print(f"| {name} | 8 | {each * 1e6:.1f} | | |", flush=True)


def main() -> None:
    """What each rank runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    dist.init_process_group("gloo")
    groups = {"gloo": dist.group.WORLD, "flexlink": dist.new_group(backend="flexlink")}
    if dist.get_rank() == 0:
        print(
            "| operation | bytes | Gloo us | FlexLink us | ratio |\n| --- | --- | --- | --- | --- |"
        )
    for size in map(int, options.sizes.split(",")):
        both = {
            name: operations(size // 4, group, options.shared and name == "flexlink")
            for name, group in groups.items()
        }
        for operation in both["gloo"]:
            took = compare({name: both[name][operation] for name in both}, size, options.turns)
            if dist.get_rank() == 0:
                gloo, ours = took["gloo"], took["flexlink"]
                row = f"{gloo * 1e6:.1f} | {ours * 1e6:.1f} | {gloo / ours:.2f}"
                print(f"| {operation} | {size} | {row} |", flush=True)
    overhead(groups["flexlink"], options.turns)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
