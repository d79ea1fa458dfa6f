# SPDX-License-Identifier: Apache-2.0
"""A rank on a host of its own: rank 1 waits in an AllReduce for rank 0, which comes late.

argv: directory for the id, rank, elements, seconds. Prints rank 0: when it came; rank 1: its CPU
seconds of the wait and when it was through (CLOCK_MONOTONIC, which both share here).
"""

import os
import sys
import time
from pathlib import Path

folder, rank, count, late = Path(sys.argv[1]), *(float(word) for word in sys.argv[2:])
os.environ["FLEXLINK_HOSTID"] = f"host{rank}"

import numpy  # noqa: E402

import flexlink  # noqa: E402

place = folder / "id"
if rank == 0:
    (folder / "id.part").write_bytes(flexlink.unique_id())
    (folder / "id.part").rename(place)
while not place.exists():
    time.sleep(0.01)
comm = flexlink.Communicator.connect(place.read_bytes(), int(rank), 2)
data = numpy.ones(int(count), "float32")
for _ in range(5):
    comm.all_reduce(data)
if rank == 0:
    time.sleep(late)
began, cpu = time.monotonic(), time.process_time()
comm.all_reduce(data)
cpu, ended = time.process_time() - cpu, time.monotonic()
assert (data == 2**6).all()
print(began if rank == 0 else f"{cpu} {ended}")
comm.close()
