# SPDX-License-Identifier: Apache-2.0
"""What an AllReduce of 8 bytes costs on each floor between a training script and the library.

flexlink run -n 2 -- python perf/torch_overhead.py [--turns 101] [--times 200]

Blocking calls of two ranks, all ways in turns; medians of rank 0 in microseconds:

  C API      ncclAllReduce in a loop in C
  nothing    c10d's call of a backend that does nothing (torch's own FakeProcessGroup)
  plugin     c10d's call of the plugin: backend.allreduce([x]).wait()
  group      the same through c10d's ProcessGroup, which looks the backend up
  torch      torch.distributed.all_reduce(x)

and the first and third also for a rank alone, which waits for nobody: what two ranks take beyond
that is that one of them comes later, now this and now that, as Python's loop has it. The last line
is what the plugin adds to the C API, and that without `nothing`, the loop and torch's binding.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FakeProcessGroup

import flexlink
from flexlink._native import library_path, native

Way = Callable[[int], None]  # calls so many times
LOOP = """
typedef int (*all_reduce)(const void*, void*, unsigned long, int, int, void*, void*);
int repeat(all_reduce call, void* data, void* comm, long times) {
  int code = 0;
  for (long i = 0; i < times && code == 0; ++i) code = call(data, data, 2, 7, 0, comm, 0);
  return code;
}
"""  # 2 of ncclFloat32, ncclSum, no stream: it returns when it is done


def compiled_loop() -> Callable[..., int]:
    """repeat() of LOOP."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "loop.c", Path(folder) / "loop.so"
        source.write_text(LOOP)
        command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, source]
        subprocess.run(command, check=True)
        loop = ctypes.CDLL(str(library)).repeat
    loop.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_long]
    return loop


def c_api(comm: flexlink.Communicator, x: torch.Tensor) -> Way:
    """The library without any Python in between."""
    loop = compiled_loop()
    ffi, _ = native()
    handle = int(ffi.cast("uintptr_t", comm._handle))
    call = ctypes.cast(ctypes.CDLL(str(library_path())).ncclAllReduce, ctypes.c_void_p)

    def way(times: int) -> None:
        code = loop(call, x.data_ptr(), handle, times)
        assert code == 0, code

    return way


def calls(one: Callable[[], object]) -> Way:
    """One Python call after the other."""

    def way(times: int) -> None:
        for _ in range(times):
            one()

    return way


def medians(ways: dict[str, Way], turns: int, times: int) -> dict[str, float]:
    """Microseconds of a call; turn 0 only warms up."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            dist.barrier()
            began = time.perf_counter()
            way(times)
            if turn > 0:
                seen[name].append((time.perf_counter() - began) / times * 1e6)
    return {name: statistics.median(each) for name, each in seen.items()}


def main() -> None:
    """What each rank runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=101)
    parser.add_argument("--times", type=int, default=200)
    options = parser.parse_args()
    dist.init_process_group("flexlink")
    rank, size = dist.get_rank(), dist.get_world_size()
    cpu = torch.device("cpu")
    group = dist.group.WORLD
    lonely = [dist.new_group([each]) for each in range(size)][rank]
    backend, alone = group._get_backend(cpu), lonely._get_backend(cpu)
    nothing = FakeProcessGroup._create_internal(rank, size, FakeProcessGroup.Options())
    key = [flexlink.unique_id() if rank == 0 else b""]
    dist.broadcast_object_list(key, 0)
    x = torch.zeros(2)
    connect = flexlink.Communicator.connect
    with connect(key[0], rank, size) as comm, connect(flexlink.unique_id(), 0, 1) as own:
        ways = {
            "C API": c_api(comm, x),
            "nothing": calls(lambda: nothing.allreduce([x]).wait()),
            "plugin": calls(lambda: backend.allreduce([x]).wait()),
            "group": calls(lambda: group.allreduce([x]).wait()),
            "torch": calls(lambda: dist.all_reduce(x)),
            "C API alone": c_api(own, x),
            "plugin alone": calls(lambda: alone.allreduce([x]).wait()),
        }
        took = medians(ways, options.turns, options.times)
    if rank == 0:
        print("| way | us |\n| --- | --- |")
        for name, each in took.items():
            print(f"| {name} | {each:.2f} |")
        for where in ("", " alone"):
            adds = took[f"plugin{where}"] - took[f"C API{where}"]
            own_part = adds - took["nothing"]
            print(f"plugin - C API{where}: {adds:.2f} us, without nothing: {own_part:.2f} us")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
