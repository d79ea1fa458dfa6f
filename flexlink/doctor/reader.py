# SPDX-License-Identifier: Apache-2.0
"""Reads the facts from /proc, /sys and /dev below a root that tests replace. Judges nothing."""

from __future__ import annotations

import errno
import os
import platform
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from flexlink.doctor import gpu_reader, netlink, trials
from flexlink.doctor.facts import (
    UNLIMITED,
    CpuFacts,
    Facts,
    Limit,
    ProcessFacts,
    RdmaPort,
    RunFolder,
    Space,
    Trial,
)
from flexlink.doctor.nic_reader import number_of, read_nics, text_of
from flexlink.doctor.nics import Wish

_CAP_IPC_LOCK = 14
_SOFTWARE = ("rxe", "siw")

SpaceOf = Callable[[Path], "Space | None"]


def space_of(path: Path) -> Space | None:
    """The file system that `path` is on; None where the kernel does not say."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def cpu_count(ranges: str) -> int:
    """How many numbers are in "0-3,8"; 0 for "" and for what is no such list."""
    total = 0
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return 0
        total += int(last or first) - int(first) + 1
    return total


def _status(root: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in text_of(root / "proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _limit(text: str, name: str) -> Limit | None:
    """The row of /proc/self/limits that begins with `name`."""
    for line in text.splitlines():
        if line.startswith(name):
            words = line[len(name) :].split()[:2]
            values = [UNLIMITED if w == "unlimited" else int(w) for w in words if w.isalnum()]
            return Limit(*values) if len(values) == 2 else None
    return None


def read_process(root: Path, env: Mapping[str, str], tried: Mapping[str, Trial]) -> ProcessFacts:
    """Limits, capabilities and filters of this process."""
    limits, status = text_of(root / "proc/self/limits"), _status(root)
    seccomp = status.get("Seccomp", "0")
    return ProcessFacts(
        memlock=_limit(limits, "Max locked memory"),
        nofile=_limit(limits, "Max open files"),
        yama=number_of(root / "proc/sys/kernel/yama/ptrace_scope"),
        seccomp=int(seccomp) if seccomp.isdigit() else 0,
        locks_freely=bool(int(status.get("CapEff", "0") or "0", 16) >> _CAP_IPC_LOCK & 1),
        cma_off=env.get("FLEXLINK_CMA") == "0",
        trials=tried,
    )


def _quota_v2(folder: Path) -> float | None:
    words = text_of(folder / "cpu.max").split()
    if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
        return int(words[0]) / int(words[1])
    return None


def _quota_v1(folder: Path) -> float | None:
    quota, period = number_of(folder / "cpu.cfs_quota_us"), number_of(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 and period > 0 else None


def read_quota(root: Path) -> tuple[float | None, str]:
    """The smallest CPU quota of this process's cgroups in CPUs, and the file that says it."""
    best: tuple[float | None, str] = (None, "")
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers == "":
            mounts, file, read = ["", "unified"], "cpu.max", _quota_v2
        elif "cpu" in controllers.split(","):
            mounts, file, read = [controllers, "cpu"], "cpu.cfs_quota_us", _quota_v1
        else:
            continue
        for mount in mounts:
            base = root / "sys/fs/cgroup" / mount
            steps = [part for part in name.split("/") if part not in ("", "..")]
            # In a container the name may be the host's: then only the mount's own root is there.
            for depth in range(len(steps), -1, -1):
                folder = base.joinpath(*steps[:depth])
                quota = read(folder)
                if quota is not None and (best[0] is None or quota < best[0]):
                    best = (quota, "/" + str((folder / file).relative_to(root)))
    return best


def read_cpu(root: Path) -> CpuFacts:
    """CPUs, quota and NUMA nodes."""
    allowed = cpu_count(_status(root).get("Cpus_allowed_list", ""))
    online = cpu_count(text_of(root / "sys/devices/system/cpu/online")) or allowed or 1
    quota, file = read_quota(root)
    nodes = {
        int(path.name[4:]): text_of(path / "cpulist")
        for path in (root / "sys/devices/system/node").glob("node[0-9]*")
    }
    return CpuFacts(online, allowed or online, quota, file, dict(sorted(nodes.items())))


def run_folder_path(env: Mapping[str, str], user: int, owns: Callable[[str], bool]) -> str:
    """Where the core puts its probes: the same choice as in native/src/probe/run_folder.cc."""
    path = env.get("FLEXLINK_RUN_DIR", "")
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if not path and runtime.startswith("/") and owns(runtime):
        path = runtime + "/flexlink"
    return (path or f"/dev/shm/flexlink-{user}").rstrip("/") or "/"


def read_run_folder(
    root: Path, env: Mapping[str, str], user: int, space: SpaceOf = space_of
) -> RunFolder:
    """The folder for probes as it is now; it is not made."""

    def below(path: str) -> Path:
        return root / path.lstrip("/") if path.startswith("/") else Path(path)

    def owns(path: str) -> bool:
        try:
            found = below(path).stat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == user

    path = run_folder_path(env, user, owns)
    real = below(path)
    try:
        found = os.lstat(real)
    except FileNotFoundError:
        parent = real.parent
        why = "" if os.access(parent, os.W_OK | os.X_OK) else "cannot be written to"
        if not parent.is_dir():
            why = "is not there"
        return RunFolder(path, "absent", user=user, parent=why, space=space(parent))
    except OSError as error:
        return RunFolder(path, errno.errorcode.get(error.errno or 0, "unknown"), user=user)
    kind = "folder" if stat.S_ISDIR(found.st_mode) else "file"
    if stat.S_ISLNK(found.st_mode):
        kind = "link"
    mode = stat.S_IMODE(found.st_mode)
    return RunFolder(path, kind, found.st_uid, mode, user, "", space(real))


def _software(device: Path) -> tuple[str, str]:
    """(rxe, siw, software or "", NIC below) of an RDMA device."""
    below = text_of(device / "parent")  # rxe alone has it
    if below:
        return "rxe", below
    nets = device / "device/net"
    names = sorted(os.listdir(nets)) if nets.is_dir() else []
    word = next((word for word in _SOFTWARE if device.name.startswith(word)), "")
    if not word and not (device / "device").exists():
        word = "software"  # hardware hangs on a bus
    return word, names[0] if names else ""


def read_rdma(root: Path) -> tuple[RdmaPort, ...]:
    """Every port of every RDMA device."""
    verbs = {text_of(path) for path in (root / "sys/class/infiniband_verbs").glob("uverbs*/ibdev")
             if (root / "dev/infiniband" / path.parent.name).exists()}  # fmt: skip
    found = []
    for device in sorted((root / "sys/class/infiniband").glob("*")):
        software, netdev = _software(device)
        for port in sorted((device / "ports").glob("[0-9]*"), key=lambda p: int(p.name)):
            own = text_of(port / "gid_attrs/ndevs/0")
            found.append(RdmaPort(
                device=device.name, port=int(port.name),
                state=text_of(port / "state").partition(":")[2].strip() or "unknown",
                rate=text_of(port / "rate"), layer=text_of(port / "link_layer"),
                software=software, netdev=own or netdev, verbs=device.name in verbs,
            ))  # fmt: skip
    return tuple(found)


def read_facts(root: Path, env: Mapping[str, str]) -> Facts:
    """Everything. Trials, netlink and NVML speak of the real machine whatever the root."""
    links: tuple[netlink.Link, ...] = ()
    problem = ""
    try:
        links = netlink.read_links()
    except OSError as error:
        problem = str(error)
    return Facts(
        kernel=text_of(root / "proc/sys/kernel/osrelease") or platform.release(),
        nics=read_nics(root, links),
        wish=Wish.of(env),
        process=read_process(root, env, trials.try_calls()),
        cpu=read_cpu(root),
        run_folder=read_run_folder(root, env, os.geteuid()),
        shm=space_of(root / "dev/shm"),
        rdma=read_rdma(root),
        gpu=gpu_reader.read_gpus(root),
        links_problem=problem,
    )
