# SPDX-License-Identifier: Apache-2.0
"""CPUs, memory, kernel and the folder for probes: findings from facts. All pure."""

from __future__ import annotations

import re

from flexlink.doctor.facts import CpuFacts, RunFolder, Space
from flexlink.doctor.findings import ERROR, NOTE, OK, WARNING, Finding, plain, size
from flexlink.probe_layout import FILE_BYTES

_DOCKERS_SHM = 64 << 20
_OLDEST_KERNEL = (3, 17)


def check_cpu(facts: CpuFacts) -> list[Finding]:
    """Affinity, quota and NUMA nodes."""
    found = []
    evidence = f"{facts.allowed} of {facts.online} CPUs by affinity or cpuset"
    cpus = f"{facts.allowed} {'CPU' if facts.allowed == 1 else 'CPUs'}"
    if facts.allowed < facts.online:
        text = f"this process may use {cpus} of {facts.online}"
        mend = f"docker run --cpuset-cpus=0-{facts.online - 1}; or taskset -c 0-{facts.online - 1}"
        found.append(Finding("cpu.allowed", NOTE, text, evidence, mend))
    else:
        found.append(Finding("cpu.allowed", OK, f"this process may use {cpus}", evidence))
    if facts.quota is not None:
        if facts.quota < facts.allowed:
            text = (
                f"the cgroup grants the time of {facts.quota:g} CPUs, and {facts.allowed} are "
                "visible: ranks that wait for each other are stopped in mid-operation"
            )
            most = max(1, int(facts.quota))
            ranks = "1 rank" if most == 1 else f"{most} ranks"
            mend = f"docker run --cpus={facts.allowed}; or at most {ranks}"
            found.append(Finding("cpu.quota", WARNING, text, facts.quota_file, mend))
        else:
            text = f"the cgroup's quota of {facts.quota:g} CPUs limits nothing"
            found.append(Finding("cpu.quota", OK, text, facts.quota_file))
    nodes = ", ".join(f"node {node}: CPUs {cpus or 'none'}" for node, cpus in facts.nodes.items())
    if len(facts.nodes) > 1:
        text = f"{len(facts.nodes)} NUMA nodes"
        found.append(Finding("cpu.numa", OK, text, nodes))
    elif facts.nodes:
        found.append(Finding("cpu.numa", OK, "one NUMA node", nodes))
    else:
        text = "the kernel names no NUMA nodes"
        found.append(Finding("cpu.numa", NOTE, text, "/sys/devices/system/node"))
    return found


def check_shm(space: Space | None) -> list[Finding]:
    """/dev/shm. FlexLink's own segments are memfds and need no room there; the probes may."""
    check = "memory.dev_shm"
    mend = "docker run --shm-size=8g"
    if space is None:
        text = "there is no /dev/shm; FlexLink shares memory by memfd, other libraries need it"
        return [Finding(check, NOTE, text, "statvfs /dev/shm failed", mend)]
    evidence = f"/dev/shm: {size(space.total)}, {size(space.free)} free"
    if space.total <= _DOCKERS_SHM:
        text = (
            f"/dev/shm has only {size(space.total)}: enough for FlexLink, which shares memory by "
            "memfd; NCCL, Gloo and data loaders fail with it"
        )
        return [Finding(check, NOTE, text, evidence, mend)]
    return [Finding(check, OK, f"/dev/shm has {size(space.free)} free", evidence)]


def check_run_folder(facts: RunFolder) -> list[Finding]:
    """The folder for probes. Without it jobs run, but cannot be looked at or diagnosed."""
    check, path = "memory.run_folder", plain(facts.path)
    away = "export FLEXLINK_RUN_DIR=/dev/shm/flexlink-mine"
    off = "so probes are off: flexlink links and diagnosis see nothing"

    def bad(text: str, evidence: str, mend: str) -> list[Finding]:
        return [Finding(check, WARNING, f"{text}, {off}", evidence, mend)]

    if facts.state == "absent" and facts.parent:
        parent = path.rpartition("/")[0] or "/"
        mend = f"mkdir -p -m 700 {path}" if facts.parent == "is not there" else away
        return bad(f"{path} is missing and {parent} {facts.parent}", f"stat {path}: ENOENT", mend)
    if facts.state not in ("absent", "folder"):
        what = {"link": "is a link", "file": "is not a folder"}.get(
            facts.state, f"cannot be looked at ({facts.state})"
        )
        mend = f"rm {path}" if facts.state in ("link", "file") else away
        return bad(f"{path} {what}", f"lstat {path}", mend)
    if facts.state == "folder" and facts.owner != facts.user:
        text = f"{path} belongs to user {facts.owner}, not to user {facts.user}"
        return bad(text, f"stat {path}", away)
    if facts.state == "folder" and facts.mode & 0o077:
        text = f"{path} has mode {facts.mode:04o}: others may enter"
        return bad(text, f"stat {path}", f"chmod 700 {path}")
    if facts.state == "folder" and facts.mode & 0o700 != 0o700:
        text = f"{path} has mode {facts.mode:04o}: its owner may not use it"
        return bad(text, f"stat {path}", f"chmod 700 {path}")
    if facts.space is not None and facts.space.free < FILE_BYTES:
        evidence = f"one rank needs {size(FILE_BYTES)}"
        return bad(f"{path} has only {size(facts.space.free)} left", evidence, away)
    room = "" if facts.space is None else f", {size(facts.space.free)} free"
    if facts.state == "absent":
        return [Finding(check, OK, f"{path} will be made by the first rank", f"ENOENT{room}")]
    return [Finding(check, OK, f"{path} is ready for probes", f"mode {facts.mode:04o}{room}")]


def check_kernel(release: str) -> list[Finding]:
    """What the kernel's version says; what it can really do is tried in process_checks."""
    check = "memory.kernel"
    found = re.match(r"(\d+)\.(\d+)", release)
    shown = f"kernel {plain(release)}"
    if found is None:
        return [Finding(check, NOTE, "the kernel's version is not a number", shown)]
    version = (int(found.group(1)), int(found.group(2)))
    if version < _OLDEST_KERNEL:
        text = f"{shown} is too old: memfd_create came with 3.17"
        return [Finding(check, ERROR, text, shown, "run a kernel of 5.14 or newer")]
    if version < (5, 14):
        text = (
            f"{shown} lacks MADV_POPULATE_WRITE (5.14): shared pages are filled at their first "
            "use, so first operations take longer"
        )
        return [Finding(check, NOTE, text, shown, "run a kernel of 5.14 or newer")]
    return [Finding(check, OK, f"{shown} has MADV_POPULATE_WRITE and pidfd", shown)]
