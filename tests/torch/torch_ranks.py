# SPDX-License-Identifier: Apache-2.0
"""Ranks of the torch tests as the test process sees them: a pool that stays, and fresh ones."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch_support import BACKEND

HERE = Path(__file__).resolve().parent
# Imported before any rank is forked: what most bodies need. None of them starts a thread.
PRELOADED = (
    "torch.distributed", "torch.nn.parallel", "torch.distributed.fsdp", "torch.distributed.tensor",
    "torch.distributed.checkpoint", "bodies.common",
)  # fmt: skip
GRACE = 5.0  # seconds for the others once one rank has failed
LOG_TAIL = 4000  # characters of a rank's output in a report


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """The variables that every rank has beside those of the test."""
    return {
        "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def descendants(pid: int) -> list[int]:
    """A process and all that it and its children have started."""
    found = [pid]
    for each in found:  # which grows
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue  # it has ended
        found += [int(word) for word in children.split()]
    return found


def run_command(
    command: Sequence[str], seconds: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A launcher to its end; it and all that it has started are killed when it lasts longer."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment(), **(env or {})}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        for pid in descendants(process.pid):  # torchrun's ranks have sessions of their own
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        out, err = process.communicate()
        error.add_note(f"{out[-LOG_TAIL:]}\n{err[-LOG_TAIL:]}")
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Zygote:
    """The process that has torch imported, see torch_zygote.py."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        program = str(HERE / "torch_zygote.py")
        self.process = subprocess.Popen(
            [sys.executable, program, str(theirs.fileno()), str(os.getpid()), *PRELOADED],
            pass_fds=[theirs.fileno()], env={**os.environ, **environment()},
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        assert self.connection.poll(60) and self.connection.recv() == "ready"

    def fork(self, spec: dict[str, Any]) -> list[int]:
        """Starts the ranks of a specification, returns their process ids."""
        self.connection.send(("fork", spec))
        pids: list[int] = self.connection.recv()
        return pids

    def reap(self, pid: int) -> int | None:
        """The exit status, negative for a signal, of a rank that has ended. A rank keeps its
        process id until then."""
        self.connection.send(("reap", pid))
        status: int | None = self.connection.recv()
        return status

    def close(self) -> None:
        """Ends it and, through their parent-death signal, all that it has forked."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


@dataclass
class Outcome:
    """How a fresh rank ended: `value` is what the body returned, or its traceback."""

    status: int | None
    passed: bool
    value: Any
    output: str


class FreshRanks:
    """Processes of their own for a body that kills, times out or tears down."""

    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        size: int,
        target: str,
        args: Sequence[object],
        env: Mapping[str, str],
    ) -> None:
        self.zygote, self.folder = zygote, folder
        common = {**environment(), "MASTER_PORT": str(free_port())}
        common["FLEXLINK_RUN_DIR"] = os.environ["FLEXLINK_RUN_DIR"]
        self.pids = zygote.fork({
            "size": size, "backend": BACKEND, "folder": str(folder), "target": target,
            "args": tuple(args), "env": {**common, **env},
        })  # fmt: skip
        self.statuses: list[int | None] = [None] * size
        self.ended = False

    def signal(self, rank: int, number: int) -> None:
        """Sends a signal to a rank."""
        if self.statuses[rank] is None and not self.ended:
            os.kill(self.pids[rank], number)

    def finish(self, limit: float) -> list[Outcome]:
        """Waits for all; one that lasts longer is killed, its status is None then."""
        deadline = time.monotonic() + limit
        try:
            while not (self.ended or self._all_ended()) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            if not self.ended:
                self._end()
        return [self._outcome(rank) for rank in range(len(self.pids))]

    def _all_ended(self) -> bool:
        for rank, pid in enumerate(self.pids):
            if self.statuses[rank] is None:
                self.statuses[rank] = self.zygote.reap(pid)
        return None not in self.statuses

    def _end(self) -> None:
        self.ended = True
        late = [rank for rank, status in enumerate(self.statuses) if status is None]
        for rank in late:
            os.kill(self.pids[rank], signal.SIGUSR1)  # it says where it is
        time.sleep(0.3 if late else 0)
        for rank in late:
            os.kill(self.pids[rank], signal.SIGKILL)
            while self.zygote.reap(self.pids[rank]) is None:
                time.sleep(0.01)

    def _outcome(self, rank: int) -> Outcome:
        log = (self.folder / f"log.{rank}").read_text(errors="replace")
        result = self.folder / f"result.{rank}"
        passed, value = pickle.loads(result.read_bytes()) if result.exists() else (False, "no end")
        return Outcome(self.statuses[rank], passed, value, log)


def expect_all_passed(outcomes: Sequence[Outcome]) -> list[Any]:
    """What the ranks returned; fails with all they said unless each passed and ended with 0."""
    report = [
        f"--- rank {rank}: status {seen.status}\n{'' if seen.passed else seen.value}\n"
        f"{seen.output[-LOG_TAIL:]}"
        for rank, seen in enumerate(outcomes)
    ]
    assert all(seen.passed and seen.status == 0 for seen in outcomes), "\n".join(report)
    return [seen.value for seen in outcomes]


class Pool:
    """Ranks with a process group that run one body after the other."""

    def __init__(self, zygote: Zygote, size: int, extra: Mapping[str, str]) -> None:
        self.zygote, self.size = zygote, size
        self.folder = Path(tempfile.mkdtemp(prefix="flexlink-pool-"))
        self.connections: list[Connection] = []
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{self.folder}/pool")
            server.listen(size)
            server.settimeout(20)
            (self.folder / "run").mkdir(mode=0o700)
            env = {**environment(), "FLEXLINK_RUN_DIR": f"{self.folder}/run", **extra}
            self.pids = zygote.fork({
                "size": size, "backend": BACKEND, "folder": str(self.folder),
                "pool": f"{self.folder}/pool", "env": env,
            })  # fmt: skip
            self.connections = [Connection(server.accept()[0].detach()) for _ in range(size)]
        self.starts = [0] * size
        try:
            self.collect(60)
        except BaseException:
            self.close()
            raise

    def run(self, target: str, args: Sequence[object], folder: Path, limit: float) -> list[Any]:
        """What each rank returned; an AssertionError with the ranks' tracebacks if one failed."""
        self.starts = [(self.folder / f"log.{i}").stat().st_size for i in range(self.size)]
        for connection in self.connections:
            connection.send((target, tuple(args), str(folder)))
        return self.collect(limit)

    def collect(self, limit: float) -> list[Any]:
        """Waits for every rank's answer, or until `limit` seconds have gone."""
        deadline = time.monotonic() + limit
        answers: dict[int, tuple[bool, Any]] = {}
        waiting: list[Any] = list(self.connections)
        while waiting and time.monotonic() < deadline:
            for ready in wait(waiting, max(0, deadline - time.monotonic())):
                waiting.remove(ready)
                try:
                    rank, passed, value = ready.recv()  # type: ignore[union-attr]
                except (EOFError, ConnectionError):
                    passed = False  # it is dead, and the report says so
                else:
                    answers[rank] = (passed, value)
                if not passed:
                    deadline = min(deadline, time.monotonic() + GRACE)
        if len(answers) == self.size and all(passed for passed, _ in answers.values()):
            return [answers[rank][1] for rank in range(self.size)]
        raise AssertionError(self._report(answers))

    def _report(self, answers: dict[int, tuple[bool, Any]]) -> str:
        states: dict[int, str] = {}
        for rank, pid in enumerate(self.pids):
            status = self.zygote.reap(pid)
            if status is not None:
                states[rank] = f"ended with {status}"
                self.pids[rank] = 0
            elif rank in answers:
                states[rank] = "passed" if answers[rank][0] else str(answers[rank][1])
            else:
                os.kill(pid, signal.SIGUSR1)
                states[rank] = "gave no answer in time"
        if any("in time" in state for state in states.values()):
            time.sleep(0.3)  # for the stacks to be written
        parts = []
        for rank, state in states.items():
            with open(self.folder / f"log.{rank}", errors="replace") as log:
                log.seek(self.starts[rank])
                parts.append(f"--- rank {rank}: {state}\n{log.read()[-LOG_TAIL:]}")
        return "\n".join(parts)

    def close(self) -> None:
        """Kills all ranks and returns when they are gone."""
        for pid in filter(None, self.pids):
            os.kill(pid, signal.SIGKILL)
            while self.zygote.reap(pid) is None:
                time.sleep(0.001)
        for connection in self.connections:
            connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Pools:
    """One pool for each world size, made when first asked for, replaced when a case failed."""

    def __init__(self, zygote: Zygote, env: Mapping[str, str] | None = None) -> None:
        self.zygote, self.env = zygote, env or {}
        self.pools: dict[int, Pool] = {}

    def run(self, size: int, target: str, args: Sequence[object], folder: Path,
            limit: float, fresh: bool) -> list[Any]:  # fmt: skip
        """Runs `target` on `size` ranks; `fresh`: in a pool that no other case has used or will."""
        if fresh:
            self.drop(size)
        if size not in self.pools:
            self.pools[size] = Pool(self.zygote, size, self.env)
        try:
            values = self.pools[size].run(target, args, folder, limit)
        except BaseException:
            self.drop(size)
            raise
        if fresh:
            self.drop(size)
        return values

    def drop(self, size: int) -> None:
        """Ends the pool of that size, if there is one."""
        pool = self.pools.pop(size, None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """Ends them all."""
        for size in list(self.pools):
            self.drop(size)


class Ranks:
    """ranks("module:function", *args, limit=30, fresh=False): what each of the ranks returned."""

    def __init__(self, pools: Pools, size: int, folder: Path) -> None:
        self.pools, self.size, self.folder = pools, size, folder

    def __call__(
        self, target: str, *args: object, limit: float = 30, fresh: bool = False
    ) -> list[Any]:
        return self.pools.run(self.size, target, args, self.folder, limit, fresh)


Fresh = Callable[..., FreshRanks]
