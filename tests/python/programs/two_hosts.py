# SPDX-License-Identifier: Apache-2.0
"""A rank that does every collective with exact results, then AllReduces for a while.

argv: directory for the id and flags, rank, ranks, elements, rounds. Prints "seconds BEST".
"""

import sys
import time
from pathlib import Path

import numpy
from meeting import meet

folder, rank, ranks, count, rounds = Path(sys.argv[1]), *(int(word) for word in sys.argv[2:])
comm = meet(folder, rank, ranks)
mine = numpy.arange(ranks * 1000, dtype="int64") + rank * 7
everyone = [numpy.arange(ranks * 1000, dtype="int64") + r * 7 for r in range(ranks)]
total = numpy.sum(everyone, axis=0)
part = slice(rank * 1000, (rank + 1) * 1000)
root = ranks - 1
assert (comm.all_reduce(mine.copy()) == total).all()
assert (comm.reduce_scatter(mine) == total[part]).all()
assert (comm.all_gather(mine).reshape(-1) == numpy.concatenate(everyone)).all()
assert (comm.broadcast(mine.copy(), root=root) == everyone[root]).all()
assert (comm.all_to_all(mine) == numpy.concatenate([one[part] for one in everyone])).all()
reduced = comm.reduce(mine.copy(), root=root)
assert rank != root or (reduced == total).all()
gathered = comm.gather(mine, root=root)
assert rank != root or (gathered.reshape(-1) == numpy.concatenate(everyone)).all()

data = numpy.full(count, rank + 1, "float32")
best = float("inf")
longest = 0.0
for turn in range(rounds):
    data[:] = rank + 1 + turn
    began = time.perf_counter()
    comm.all_reduce(data)
    best = min(best, time.perf_counter() - began)
    longest = max(longest, time.perf_counter() - began)
    assert (data == sum(r + 1 + turn for r in range(ranks))).all()
    if turn == 2:
        (folder / f"busy{rank}").touch()
print("seconds", best, longest)
comm.close()
