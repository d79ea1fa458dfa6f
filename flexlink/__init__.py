# SPDX-License-Identifier: Apache-2.0
"""FlexLink: collective communication with NCCL's C API, also on host memory.

>>> import flexlink, numpy
>>> comm = flexlink.init()                    # under flexlink run, torchrun, mpirun or srun
>>> x = numpy.ones(4, "float32")
>>> comm.all_reduce(x)                        # in place; blocks; every rank holds the sum

Importing this opens no library, no socket and starts no thread.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flexlink.errors import (
    CudaError,
    FlexlinkError,
    InternalError,
    InvalidArgument,
    InvalidUsage,
    RemoteError,
    RendezvousError,
    SystemError_,
    TimeoutError_,
)

if TYPE_CHECKING:
    from flexlink.buffers import empty
    from flexlink.communicator import Communicator
    from flexlink.handle import Handle, group
    from flexlink.operations import PreMulSum

# What is imported on first use: torch imports this package in every program that imports torch.
_HOMES = {
    "Communicator": "communicator",
    "Handle": "handle",
    "PreMulSum": "operations",
    "empty": "buffers",
    "group": "handle",
}

__version__ = "0.1.0"

__all__ = [
    "Communicator",
    "CudaError",
    "FlexlinkError",
    "Handle",
    "InternalError",
    "InvalidArgument",
    "InvalidUsage",
    "PreMulSum",
    "RemoteError",
    "RendezvousError",
    "SystemError_",
    "TimeoutError_",
    "empty",
    "group",
    "init",
    "unique_id",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def unique_id(device: str | None = None) -> bytes:
    """128 fresh bytes that name a communicator to be; hold a secret: treat them like a password.

    One rank makes them, and stays alive until all ranks have called Communicator.connect.

    Args:
        device: the communicator's, as in init().
    """
    from flexlink._native import check, library, native

    ffi, _ = native()
    key = ffi.new("ncclUniqueId*")
    check(library(device).ncclGetUniqueId(key))
    return bytes(ffi.buffer(key))


def init(comm: Any = None, device: str | None = None) -> Communicator:
    """The communicator of all ranks of this job; a collective call.

    Args:
        comm: an mpi4py communicator, whose ranks and size count. None: the launcher's environment
            says who is there (RANK and WORLD_SIZE of `flexlink run` and torchrun, Open MPI's,
            MPICH's, Slurm's). The ranks meet through the first of these that is there:
            NCCL_COMM_ID, torchrun's store, rank 0 on MASTER_ADDR:MASTER_PORT, mpi4py, a file on
            this host.
        device: where its arrays lie, "host" or "cuda", the same on all ranks. None: on GPUs where
            calls pass through to NVIDIA's NCCL or FLEXLINK_DEVICE=cuda, else in host memory. A
            process may have communicators on both.
    Raises:
        RendezvousError: no launcher, no way to the others, or ranks that did not come in 120 s.
        FlexlinkError: the library's own error, with its text.
    """
    from functools import partial

    from flexlink import rendezvous
    from flexlink.communicator import Communicator

    make_id = partial(unique_id, device)
    if comm is not None:
        key = rendezvous.through_mpi(make_id, comm)
        return Communicator.connect(key, comm.Get_rank(), comm.Get_size(), device)
    key, where = rendezvous.meet(make_id)
    return Communicator.connect(key, where.rank, where.size, device)
