# SPDX-License-Identifier: Apache-2.0
"""The same script for every launcher: meets, sums, prints one line.

Argument `mpi`: pass mpi4py's world; `no-mpi`: as if mpi4py were not installed.
"""

import sys

import numpy

import flexlink


def main() -> None:
    """Entry of each rank."""
    world = None
    if sys.argv[1:] == ["mpi"]:
        from mpi4py import MPI

        world = MPI.COMM_WORLD
    if sys.argv[1:] == ["no-mpi"]:
        sys.modules["mpi4py"] = None  # type: ignore[assignment]
    for _ in range(2):  # a second communicator of the same world works as well
        with flexlink.init(comm=world) as comm:
            total = comm.all_reduce(numpy.full(1000, comm.rank + 1, "float64"))
            assert (total == comm.size * (comm.size + 1) / 2).all()
    print(f"rank {comm.rank} of {comm.size}: sum {total[0]:.0f}", flush=True)


main()
