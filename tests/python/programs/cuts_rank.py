# SPDX-License-Identifier: Apache-2.0
"""A rank that AllReduces and AllGathers until it is told to stop, and checks every element.

argv: a folder, rank, ranks, seed. Operations, sizes and values follow from the seed. How many
rounds are over stands in turn<rank> of the folder; `stop` there ends all ranks. Prints that number.
"""

import random
import sys
from pathlib import Path

import numpy
from meeting import meet

FOLDER, RANK, RANKS, SEED = Path(sys.argv[1]), *(int(word) for word in sys.argv[2:])
LARGEST = 256 << 10  # elements of 4 bytes


def values(rank: int, turn: int, count: int) -> numpy.ndarray:
    """What this rank brings to this round: no two elements near each other are the same."""
    return numpy.arange(count, dtype="int32") * 2654435 + (turn * 7919 + rank * 104729)


def main() -> None:
    comm = meet(FOLDER, RANK, RANKS)
    source = random.Random(SEED)
    stop = numpy.zeros(1, "int32")
    turn = 0
    with (FOLDER / f"turn{RANK}").open("wb", buffering=0) as progress:
        while True:
            count = int(LARGEST ** source.uniform(0, 1))
            data = values(RANK, turn, count)
            everyone = [values(rank, turn, count) for rank in range(RANKS)]
            if source.random() < 0.5:
                assert (comm.all_reduce(data) == sum(everyone)).all(), (turn, count)
            else:
                assert (comm.all_gather(data) == numpy.concatenate(everyone)).all(), (turn, count)
            turn += 1
            progress.seek(0)
            progress.write(b"%d" % turn)
            stop[0] = (FOLDER / "stop").exists()
            if comm.all_reduce(stop)[0]:
                break
    print(turn)
    comm.close()


main()
