# SPDX-License-Identifier: Apache-2.0
"""One rank of Gloo (torch.distributed, host tensors) in a comparison: see perf/src/worker.h.

Started by ``flexlink_perf --vs gloo`` in the virtual environment that prepare.py made.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

RANK = int(os.environ["FLPERF_RANK"])
RANKS = int(os.environ["FLPERF_RANKS"])
PAGE = Path(os.environ["FLPERF_PAGE"])


def pin() -> None:
    """One core for each rank where there are enough, before torch counts the cores."""
    cores = sorted(os.sched_getaffinity(0))
    if os.environ["FLPERF_PIN"] == "1" and len(cores) >= RANKS:
        os.sched_setaffinity(0, {cores[RANK]})


pin()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

TYPES = {
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
    "half": torch.float16,
    "float": torch.float32,
    "double": torch.float64,
    "bfloat16": torch.bfloat16,
}
OPS = {
    "sum": dist.ReduceOp.SUM,
    "prod": dist.ReduceOp.PRODUCT,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
}
IN_PLACE_ONLY = ("all_reduce", "broadcast", "reduce")
BLOCKED = ("all_gather", "reduce_scatter", "alltoall", "gather", "scatter")


def join() -> None:
    """Makes the process group; the store's port travels through the folder of the page."""
    torch.set_num_threads(1)
    port_file = PAGE.with_suffix(".port")
    if RANK == 0:
        store = dist.TCPStore("127.0.0.1", 0, RANKS, True, wait_for_workers=False)
        new = port_file.with_suffix(".new")
        new.write_text(str(store.port))
        new.rename(port_file)
    else:
        deadline = time.monotonic() + 120
        while not port_file.exists():
            if time.monotonic() > deadline:
                sys.exit("gloo.py: rank 0 did not write its port within 120 s")
            time.sleep(0.01)
        store = dist.TCPStore("127.0.0.1", int(port_file.read_text()), RANKS, False)
    dist.init_process_group(
        "gloo", store=store, rank=RANK, world_size=RANKS, timeout=timedelta(seconds=120)
    )


class Case:
    """One collective with its buffers (1-d tensors of `count` or RANKS × count elements)."""

    def __init__(self, words: list[str], memory: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.name, type_name, self.op_name = words[0], words[1], words[2]
        self.root, size, in_place = max(int(words[3]), 0), int(words[4]), words[5] == "1"
        self.refusal = self.refuse(type_name, in_place)
        if self.refusal:
            return
        self.type = TYPES[type_name]
        width = self.type.itemsize
        self.count = size // width
        if self.name in BLOCKED:
            self.count = self.count // RANKS // max(16 // width, 1) * max(16 // width, 1)
        sent = self.count * (RANKS if self.name in ("reduce_scatter", "alltoall", "scatter") else 1)
        got = self.count * (RANKS if self.name in ("all_gather", "alltoall", "gather") else 1)
        self.send = memory[0][: sent * width].view(self.type)
        self.recv = memory[1][: got * width].view(self.type)
        if in_place:
            self.send = self.recv
        self.run = self.make()

    def refuse(self, type_name: str, in_place: bool) -> str:
        """Why torch's Gloo cannot run this, or an empty text."""
        if type_name not in TYPES:
            return f"no type {type_name} in torch's Gloo"
        if self.op_name not in (*OPS, "none"):
            return f"no op {self.op_name} in torch's Gloo"
        if in_place != (self.name in IN_PLACE_ONLY):
            return f"torch's {self.name} needs --inplace {int(not in_place)}"
        return ""

    def make(self) -> Callable[[], object]:
        """The call as a function without arguments, so that only it is timed."""
        send, recv, root = self.send, self.recv, self.root
        op = OPS.get(self.op_name, dist.ReduceOp.SUM)
        parts = list(recv.chunk(RANKS)) if self.name == "gather" and root == RANK else None
        pieces = list(send.chunk(RANKS)) if self.name == "scatter" and root == RANK else None

        def exchange() -> None:
            received = dist.irecv(recv, (RANK - 1) % RANKS)
            sent = dist.isend(send, (RANK + 1) % RANKS)
            sent.wait()
            received.wait()

        return {
            "all_reduce": lambda: dist.all_reduce(recv, op),
            "all_gather": lambda: dist.all_gather_into_tensor(recv, send),
            "broadcast": lambda: dist.broadcast(recv, root),
            "reduce_scatter": lambda: dist.reduce_scatter_tensor(recv, send, op),
            "reduce": lambda: dist.reduce(recv, root, op),
            "alltoall": lambda: dist.all_to_all_single(recv, send),
            "gather": lambda: dist.gather(send, parts, root),
            "scatter": lambda: dist.scatter(recv, pieces, root),
            "sendrecv": exchange,
        }[self.name]

    def term(self, rank: int, length: int, seed: int) -> torch.Tensor:
        """What `rank` puts in: small whole numbers (1 or 2 for products), exact in every type."""
        index = torch.arange(length, dtype=torch.int64)
        if self.op_name == "prod":
            return (index + rank + seed) % 2 + 1
        return (index * 7 + rank * 3 + seed) % 5

    def expected(self, seed: int) -> torch.Tensor | None:
        """The receive buffer as 64-bit integers; None where it is nobody's business."""
        block = slice(RANK * self.count, (RANK + 1) * self.count)
        terms = [self.term(rank, self.send.numel(), seed) for rank in range(RANKS)]
        if self.name in ("all_reduce", "reduce", "reduce_scatter"):
            stacked = torch.stack(terms)
            fold = {
                "sum": stacked.sum,
                "prod": stacked.prod,
                "min": stacked.amin,
                "max": stacked.amax,
            }
            result = fold[self.op_name](0)
            if self.name == "reduce" and self.root != RANK:
                return None
            return result[block] if self.name == "reduce_scatter" else result
        if self.name == "broadcast":
            return terms[self.root]
        if self.name == "scatter":
            return terms[self.root][block]
        if self.name == "sendrecv":
            return terms[RANK - 1]
        if self.name == "alltoall":
            return torch.cat([term[block] for term in terms])
        return None if self.name == "gather" and self.root != RANK else torch.cat(terms)

    def check(self, seed: int) -> int:
        """Wrong elements of one call."""
        self.recv.fill_(99)
        self.send.copy_(self.term(RANK, self.send.numel(), seed).to(self.type))
        wanted = self.expected(seed)
        self.run()
        return 0 if wanted is None else int((self.recv.to(torch.int64) != wanted).sum())


def timed(case: Case, iterations: int) -> float:
    """Seconds for each call, back to back, after a barrier and one call that does not count."""
    case.run()
    dist.barrier()
    run = case.run
    start = time.perf_counter()
    for _ in range(iterations):
        run()
    return (time.perf_counter() - start) / iterations


def serve(stream: socket.socket) -> None:
    """Answers commands until "quit"."""
    lines = stream.makefile("r")
    stream.sendall(f"hello {RANK} {os.getpid()} Gloo (torch {torch.__version__})\n".encode())
    case: Case | None = None
    memory = (torch.zeros(0, dtype=torch.uint8),) * 2
    for line in lines:
        verb, *words = line.split()
        if verb == "quit":
            return
        if verb == "buffers":
            memory = (
                torch.zeros(int(words[0]), dtype=torch.uint8),
                torch.zeros(int(words[0]), dtype=torch.uint8),
            )
            answer = "ok"
        elif verb == "case":
            case = Case(words, memory)
            answer = f"no {case.refusal}" if case.refusal else "ok"
        elif case is None:
            answer = f"no case before {verb}"
        elif verb == "run":
            answer = f"time {timed(case, int(words[0])):.12g}"
        else:
            answer = f"wrong {case.check(int(words[0]))}"
        stream.sendall(f"{answer}\n".encode())


def main() -> None:
    """Joins, serves, leaves."""
    warnings.filterwarnings("ignore", category=FutureWarning)  # newer names for the same calls
    join()
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(os.environ["FLPERF_SOCKET"])
    serve(stream)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
