# SPDX-License-Identifier: Apache-2.0
"""The raw facts about a machine that the checks judge. Values only: reader.py fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flexlink.doctor.nics import Nic, Wish

UNLIMITED = -1


@dataclass(frozen=True)
class Trial:
    """One call that was tried in a child of its own.

    Attributes:
        call: its name. ok: it did what it should.
        problem: otherwise what came back: "EPERM", "killed by SIGSYS", "no answer in 5 s".
    """

    call: str
    ok: bool
    problem: str = ""


@dataclass(frozen=True)
class Limit:
    """A resource limit, soft and hard; UNLIMITED for none."""

    soft: int
    hard: int


@dataclass(frozen=True)
class Space:
    """A file system: bytes in all and free for this user."""

    total: int
    free: int


@dataclass(frozen=True)
class ProcessFacts:
    """Limits and rights of this process. locked memory in bytes; None: /proc does not say.

    seccomp: mode of /proc/self/status: 0 none, 2 a filter. yama: kernel.yama.ptrace_scope, None
    where the kernel has no Yama. locks_freely: CAP_IPC_LOCK.
    """

    memlock: Limit | None = None
    nofile: Limit | None = None
    yama: int | None = None
    seccomp: int = 0
    locks_freely: bool = False
    cma_off: bool = False  # FLEXLINK_CMA=0
    trials: Mapping[str, Trial] = field(default_factory=dict)


@dataclass(frozen=True)
class CpuFacts:
    """Online CPUs, those that this process may use, and the cgroup's quota in CPUs (None: none)."""

    online: int = 1
    allowed: int = 1
    quota: float | None = None
    quota_file: str = ""
    nodes: Mapping[int, str] = field(default_factory=dict)  # NUMA node: its CPUs as "0-3"


@dataclass(frozen=True)
class RunFolder:
    """The folder for probes. state: absent, folder, link, file or an errno's name.

    parent: "" if the folder can be made there, else why not. mode: permission bits.
    """

    path: str
    state: str
    owner: int = 0
    mode: int = 0
    user: int = 0
    parent: str = ""
    space: Space | None = None


@dataclass(frozen=True)
class RdmaPort:
    """One port of one RDMA device, as /sys/class/infiniband words it.

    software: rxe, siw or "" for hardware. netdev: the NIC that it belongs to, or "".
    verbs: the device's /dev/infiniband/uverbsN is there.
    """

    device: str
    port: int
    state: str
    rate: str
    layer: str
    software: str = ""
    netdev: str = ""
    verbs: bool = True


@dataclass(frozen=True)
class Gpu:
    """One GPU by NVML. 0 and "": not known.

    Attributes:
        width, generation: of PCIe, now. max_width: of the GPU itself. max_generation: of GPU and
            slot together. gpu_generation: of the GPU itself.
        bus: as NVML writes it, 00000000:4A:00.0.
        memory: bytes in all. compute_mode: default, exclusive process, prohibited, ...
        nvlinks, nvlinks_active: links that the GPU has, and those that are up.
        numa_node: None where the machine has one node or does not say.
        mig: how many MIG instances; None: MIG is off.
    """

    index: int
    name: str
    width: int = 0
    max_width: int = 0
    generation: int = 0
    max_generation: int = 0
    bus: str = ""
    gpu_generation: int = 0
    uuid: str = ""
    memory: int = 0
    compute_mode: str = ""
    nvlinks: int = 0
    nvlinks_active: int = 0
    nvlink_version: str = ""
    numa_node: int | None = None
    mig: int | None = None


@dataclass(frozen=True)
class GpuFacts:
    """driver: version of NVIDIA's kernel driver, "" where there is none.

    problem: why the GPUs could not be listed although there is a driver. cuda: the newest CUDA
    that the driver serves.
    """

    driver: str = ""
    problem: str = ""
    gpus: tuple[Gpu, ...] = ()
    cuda: str = ""


@dataclass(frozen=True)
class Facts:
    """All that one run of the doctor read. kernel: its release, as 6.1.0-13-amd64."""

    kernel: str
    nics: tuple[Nic, ...]
    wish: Wish
    process: ProcessFacts
    cpu: CpuFacts
    run_folder: RunFolder
    shm: Space | None  # of /dev/shm; None: not there
    rdma: tuple[RdmaPort, ...]
    gpu: GpuFacts
    links_problem: str = ""  # why the NICs could not be listed
