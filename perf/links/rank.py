# SPDX-License-Identifier: Apache-2.0
"""One rank of a measurement between hosts: the same collective again and again, timed and checked.

argv: a JSON object {folder, rank, ranks, op, bytes, rounds, seconds}; prints one: {starts and
times in seconds of this host's clock, cpu: seconds of this process in the timed parts}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

JOB: dict[str, Any] = json.loads(sys.argv[1])
RANK, RANKS, FOLDER = JOB["rank"], JOB["ranks"], Path(JOB["folder"])
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "python" / "programs"))

import numpy  # noqa: E402
from meeting import meet  # noqa: E402


def main() -> None:
    """Warms up for a tenth of the rounds, then all ranks stop after the same round."""
    comm = meet(FOLDER, RANK, RANKS)
    count = max(JOB["bytes"] // 4, 1)
    gathers = JOB["op"] == "all_gather"
    data = numpy.empty(count // RANKS if gathers else count, "float32")
    out = numpy.empty((RANKS, count // RANKS), "float32") if gathers else data
    total = sum(range(1, RANKS + 1))
    over = numpy.zeros(1, "int32")
    starts: list[float] = []
    times: list[float] = []
    rounds, seconds = JOB.get("rounds", 10**9), JOB.get("seconds", 1e9)
    warm = max(3, min(rounds, 1000) // 10)
    cpu = began = 0.0
    turn = -warm
    while turn < rounds:
        if turn == 0:
            began = time.monotonic()
            (FOLDER / f"busy{RANK}").touch()
        data[:] = RANK + 1
        over[0] = 0
        comm.all_reduce(over)  # all begin together
        start, used = time.monotonic(), time.process_time()
        comm.all_gather(data, out=out) if gathers else comm.all_reduce(data)
        if turn >= 0:
            times.append(time.monotonic() - start)
            cpu += time.process_time() - used
            starts.append(start)
        if gathers:
            assert (out == numpy.arange(1, RANKS + 1, dtype="float32")[:, None]).all()
        else:
            assert (out == total).all()
        turn += 1
        if "seconds" in JOB and turn > 0:
            over[0] = time.monotonic() - began > seconds
            comm.all_reduce(over)
            if over[0]:
                break
    print(json.dumps({"starts": starts, "times": times, "cpu": cpu}))
    comm.close()


main()
