# SPDX-License-Identifier: Apache-2.0
"""A Slurm cluster of one node, this host, for as long as a test lasts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

PROGRAMS = ("slurmctld", "slurmd", "srun")


def program(name: str) -> str | None:
    """Its path; the daemons are in a folder that users' PATHs lack."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def missing() -> list[str]:
    """What of Slurm is not installed."""
    return [name for name in PROGRAMS if program(name) is None]


def free_ports(count: int) -> list[int]:
    """Different TCP ports that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class OneNode:
    """Starts the two daemons with everything of theirs in `folder`; ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.daemons: list[subprocess.Popen[bytes]] = []

    def settings(self) -> str:
        """slurm.conf: no authentication, no cgroups, this host alone."""
        host = socket.gethostname().split(".")[0]
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout
        control, node = free_ports(2)
        cpus = len(os.sched_getaffinity(0))
        return f"""\
ClusterName=flexlink
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser={user.strip()}
SlurmdUser={user.strip()}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SwitchType=switch/none
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

    def __enter__(self) -> OneNode:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.config.write_text(self.settings())
        for name in ("slurmctld", "slurmd"):
            path = program(name)
            assert path is not None
            with open(self.folder / f"{name}.out", "wb") as out:
                command = [path, "-D", "-f", str(self.config)]
                self.daemons.append(subprocess.Popen(command, stdout=out, stderr=out))
        self._await_node()
        return self

    def _await_node(self) -> None:
        deadline = time.monotonic() + 30
        while self.srun(["-n", "1", "true"], seconds=5).returncode != 0:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.2)

    def logs(self) -> str:
        """What the daemons have said."""
        return "".join((self.folder / f"{name}.out").read_text() for name in PROGRAMS[:2])

    def srun(self, words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Runs srun in this cluster; a run that takes too long has status 124."""
        environment = {**os.environ, "SLURM_CONF": str(self.config)}
        command = ["timeout", str(seconds), "srun", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for daemon in self.daemons:
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
