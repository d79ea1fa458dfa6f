# SPDX-License-Identifier: Apache-2.0
"""A rank that takes part in some AllReduces and then leaves; rank 0 does so a while later.

argv: a folder, rank, seconds that rank 0 stays.
"""

import sys
import time
from pathlib import Path

import numpy
from meeting import meet

folder, rank, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
comm = meet(folder, rank, 2)
for _ in range(5):
    assert (comm.all_reduce(numpy.ones(1 << 20, "int32")) == 2).all()
if rank == 0:
    time.sleep(seconds)
comm.close()
