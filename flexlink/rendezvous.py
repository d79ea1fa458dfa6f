# SPDX-License-Identifier: Apache-2.0
"""How the ranks of a job get the same unique id: one step after the other, the first that fits.

Decides from the environment which step fits (pure), then runs it. What moves is 128 bytes, once;
everything after that is the library's own bootstrap. How bytes move over TCP is in id_exchange.py.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flexlink import id_exchange
from flexlink.errors import FlexlinkError, RendezvousError
from flexlink.process_life import start_time

LIMIT_SECONDS = 120.0
_POLL_SECONDS = 0.01

# (launcher, rank, size, ranks on this host): the first whose rank and size are set counts.
_LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    ("srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS"),
)
_JOB_NAMES = ("TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE", "PMI_JOBID", "SLURM_JOB_ID", "SLURM_STEP_ID")

_calls = itertools.count()  # the n-th init() of one rank meets the n-th of the others


class World(NamedTuple):
    """What the launcher says: this rank, all ranks, those on this host (0: it does not say)."""

    launcher: str
    rank: int
    size: int
    local_size: int


def world(env: Mapping[str, str]) -> World:
    """Reads the launcher's variables.

    Raises:
        RendezvousError: no launcher's variables are there, or they contradict themselves.
    """
    for launcher, rank, size, local_size in _LAUNCHERS:
        if rank in env and size in env:
            found = World(
                launcher,
                _number(env, rank),
                _number(env, size),
                _local_size(env, launcher, local_size),
            )
            if not 0 <= found.rank < found.size:
                raise RendezvousError(
                    f"{rank}={found.rank} and {size}={found.size} do not fit: ranks are 0 to size-1"
                )
            return found
    pairs = ", ".join(f"{rank} and {size}" for _, rank, size, _ in _LAUNCHERS)
    raise RendezvousError(
        f"no launcher found: looked for {pairs}. Start it with 'flexlink run -n N -- ...', "
        "torchrun, mpirun or srun, pass comm=MPI.COMM_WORLD, or use "
        "flexlink.Communicator.connect(unique_id, rank, size)"
    )


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except ValueError:
        raise RendezvousError(f"{name}={env[name]!r} is not a number") from None


def _local_size(env: Mapping[str, str], launcher: str, name: str) -> int:
    if launcher == "srun" and env.get("SLURM_NNODES", "1") != "1":
        return 0
    return _number(env, name) if name in env else 0


def step(where: World, env: Mapping[str, str], has: Callable[[str], bool]) -> str:
    """Name of the step that fits: "alone", "comm-id", "store", "root", "mpi", "file" or "none".

    Args:
        has: says of a module whether it could be imported.
    """
    agent_store = env.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() in ("true", "1")
    address = "MASTER_ADDR" in env and "MASTER_PORT" in env
    if where.size == 1:
        return "alone"
    if "NCCL_COMM_ID" in env:
        return "comm-id"
    if address and agent_store and has("torch"):
        return "store"
    if address and not agent_store:  # an agent's store would hold the port
        return "root"
    one_host = where.local_size == where.size
    if where.launcher == "srun" and one_host:  # MPI may not know of Slurm's ranks
        return "file"
    if where.launcher != "torchrun" and has("mpi4py"):
        return "mpi"
    return "file" if one_host else "none"


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def meet(make_id: Callable[[], bytes], env: Mapping[str, str] | None = None) -> tuple[bytes, World]:
    """(unique id, world) of this job, the same id on every rank.

    Args:
        make_id: makes a fresh unique id, 128 bytes; called on rank 0 (with NCCL_COMM_ID on all).
        env: the environment; None: this process's.
    Raises:
        RendezvousError: nothing fits, or not all ranks came within 120 s; says what to do.
    """
    env = os.environ if env is None else env
    where = world(env)
    ordinal = next(_calls)
    chosen = step(where, env, _importable)
    if chosen in ("alone", "comm-id"):
        return make_id(), where
    if chosen == "store":
        return _through_store(make_id, where, env, ordinal), where
    if chosen == "root":
        return _through_root(make_id, where, env, ordinal), where
    if chosen == "mpi":
        mpi = _mpi_world(where)
        if mpi is not None:
            return through_mpi(make_id, mpi), where
        chosen = "file"
    if chosen == "file":
        return _through_file(make_id, where, env, ordinal), where
    raise RendezvousError(
        f"rank {where.rank} of {where.size} ({where.launcher}) has no way to the others: set "
        "MASTER_ADDR and MASTER_PORT (a free port on rank 0's host), or NCCL_COMM_ID=host:port, "
        "or install mpi4py"
    )


def _mpi_world(where: World) -> Any | None:
    """mpi4py's world; None: its MPI is another than the launcher's, but a file will do."""
    from mpi4py import MPI

    size = MPI.COMM_WORLD.Get_size()
    if size == where.size:
        return MPI.COMM_WORLD
    if where.local_size == where.size:
        return None
    raise RendezvousError(
        f"{where.launcher} has started {where.size} ranks, but mpi4py knows {size}: it was built "
        "for another launcher. Set MASTER_ADDR and MASTER_PORT (a free port on rank 0's host)"
    )


def through_mpi(make_id: Callable[[], bytes], comm: Any) -> bytes:
    """Broadcasts the id over `comm`, an mpi4py communicator; rank 0's failure reaches all."""
    outcome: tuple[bytes, str] | None = None
    if comm.Get_rank() == 0:
        try:
            outcome = make_id(), ""
        except FlexlinkError as error:
            outcome = b"", str(error)
    unique_id, problem = comm.bcast(outcome, root=0)
    if problem:
        raise RendezvousError(f"rank 0 could not make the id: {problem}")
    return bytes(unique_id)


def _through_root(
    make_id: Callable[[], bytes], where: World, env: Mapping[str, str], ordinal: int
) -> bytes:
    place = (env["MASTER_ADDR"], _number(env, "MASTER_PORT"))
    job = id_exchange.Job(where.rank, where.size, ordinal, env.get("FLEXLINK_SECRET", "").encode())
    deadline = time.monotonic() + LIMIT_SECONDS
    if where.rank == 0:
        return id_exchange.serve(make_id, job, place, deadline)
    return id_exchange.ask(job, place, deadline)


def _through_store(
    make_id: Callable[[], bytes], where: World, env: Mapping[str, str], ordinal: int
) -> bytes:
    """Uses the store that torchrun's agent keeps on MASTER_PORT."""
    from datetime import timedelta

    from torch.distributed import TCPStore

    prefix = f"flexlink/{env.get('TORCHELASTIC_RESTART_COUNT', '0')}/{ordinal}"
    try:
        store: Any = TCPStore(
            env["MASTER_ADDR"],
            _number(env, "MASTER_PORT"),
            is_master=False,
            timeout=timedelta(seconds=LIMIT_SECONDS),
        )
        if where.rank == 0:
            unique_id = make_id()
            store.set(f"{prefix}/id", unique_id)
            return unique_id
        return bytes(store.get(f"{prefix}/id"))
    except RuntimeError as error:  # torch's DistStoreError and DistNetworkError are RuntimeErrors
        raise RendezvousError(
            f"torchrun's store at {env['MASTER_ADDR']}:{env['MASTER_PORT']} did not give rank "
            f"{where.rank} the id within {LIMIT_SECONDS:.0f} s: {error}. Is rank 0 running?"
        ) from error


def job_name(env: Mapping[str, str], parent: int) -> str:
    """A name that the ranks of one job on one host share and no other job has."""
    named = [env[name] for name in _JOB_NAMES if name in env]
    text = "-".join([*named, env.get("MASTER_PORT", ""), str(parent), str(start_time(parent))])
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in text)


def run_folder(env: Mapping[str, str]) -> Path:
    """The user's own folder for files of running jobs, made with mode 0700.

    Raises:
        RendezvousError: it belongs to somebody else or others can write into it.
    """
    if "FLEXLINK_RUN_DIR" in env:
        folder = Path(env["FLEXLINK_RUN_DIR"])
    elif "XDG_RUNTIME_DIR" in env:
        folder = Path(env["XDG_RUNTIME_DIR"]) / "flexlink"
    else:
        folder = Path(f"/dev/shm/flexlink-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise RendezvousError(
            f"cannot make {folder}: {error}. Set FLEXLINK_RUN_DIR to a folder of your own"
        ) from error
    if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode) or facts.st_mode & 0o077:
        raise RendezvousError(
            f"{folder} must be a folder of uid {os.getuid()} with mode 0700, it has uid "
            f"{facts.st_uid} and mode {stat.S_IMODE(facts.st_mode):o}. Set FLEXLINK_RUN_DIR"
        )
    return folder


def _through_file(
    make_id: Callable[[], bytes], where: World, env: Mapping[str, str], ordinal: int
) -> bytes:
    """Rank 0 leaves the id in a file of the run folder. The last rank to read it removes it."""
    path = run_folder(env) / f"id-{job_name(env, os.getppid())}-{ordinal}"
    if where.rank == 0:
        unique_id = make_id()
        draft = path.with_name(f"{path.name}.draft")
        draft.write_bytes(unique_id)
        draft.replace(path)
    else:
        unique_id = _wait_for_file(path, where)
    seen = path.with_name(f"{path.name}.seen")
    with seen.open("ab") as file:
        file.write(b".")
    if seen.stat().st_size == where.size:
        path.unlink(missing_ok=True)
        seen.unlink(missing_ok=True)
    return unique_id


def _wait_for_file(path: Path, where: World) -> bytes:
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            time.sleep(_POLL_SECONDS)
    raise RendezvousError(
        f"rank {where.rank} of {where.size}: rank 0 did not write {path} within "
        f"{LIMIT_SECONDS:.0f} s. Is it running on this host? Else set MASTER_ADDR and MASTER_PORT"
    )
