# SPDX-License-Identifier: Apache-2.0
"""A rank on a host of its own: rank 1 waits in an AllReduce for rank 0, which comes late.

argv: directory for the id, rank, elements, seconds. Prints rank 0: when it came; rank 1: its CPU
seconds of the wait and when it was through (CLOCK_MONOTONIC, which both share here).
"""

import sys
import time
from pathlib import Path

import numpy
from meeting import meet

folder, rank, count, late = Path(sys.argv[1]), *(float(word) for word in sys.argv[2:])
comm = meet(folder, int(rank), 2)
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
