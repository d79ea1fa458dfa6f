# SPDX-License-Identifier: Apache-2.0
"""The smallest whole program: every rank adds its numbers to those of all others.

flexlink run -n 4 -- python examples/all_reduce.py
torchrun --nproc-per-node 4 examples/all_reduce.py
mpirun -n 4 python examples/all_reduce.py
"""

from __future__ import annotations

import numpy

import flexlink


def main() -> None:
    """Sums 1 MiB in place on all ranks and checks it."""
    with flexlink.init() as comm:
        x = numpy.full(1 << 18, comm.rank + 1, "float32")
        comm.all_reduce(x)
        expected = comm.size * (comm.size + 1) // 2
        assert (x == expected).all()
        print(f"rank {comm.rank} of {comm.size}: every element is {expected}")


if __name__ == "__main__":
    main()
