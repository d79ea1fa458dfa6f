# SPDX-License-Identifier: Apache-2.0
"""The same script under every launcher: flexlink run, torchrun, three MPIs, srun, variables."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mpi_packages
import pytest
import slurm
from support import PROGRAMS, Run

HELLO = str(PROGRAMS / "hello.py")
BIN = Path(sys.executable).parent


def expect(ranks: int, output: str) -> None:
    total = ranks * (ranks + 1) // 2
    lines = [f"rank {rank} of {ranks}: sum {total}" for rank in range(ranks)]
    # Launchers pass output on by pieces: two ranks may share a line.
    assert sorted(re.findall(r"rank \d+ of \d+: sum \d+?(?=rank|\s|$)", output)) == lines


def launch(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_flexlink_run_starts_the_script(flexlink_run: Run) -> None:
    done = flexlink_run(3, sys.executable, HELLO, options=("--no-prefix",))
    assert done.returncode == 0, done.stderr
    expect(3, done.stdout)


@pytest.mark.parametrize("port", ["0", "static"])
def test_torchrun_starts_the_script(port: str) -> None:
    torchrun = shutil.which("torchrun", path=str(BIN))
    assert torchrun is not None, "torch is in tests/requirements.txt"
    place = ["--standalone"] if port == "0" else ["--master-port", free_port()]
    output = launch([torchrun, *place, "--nproc-per-node", "2", HELLO])
    expect(2, output)


def test_torchrun_starts_the_script_without_torch_in_it() -> None:
    program = (
        "import sys, runpy\nsys.modules['torch'] = None\n"
        f"sys.argv = ['hello']\nrunpy.run_path({HELLO!r}, run_name='__main__')\n"
    )
    script = Path("without_torch.py")
    script.write_text(program)
    torchrun = [str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2", str(script)]
    expect(2, launch(torchrun))


@pytest.mark.parametrize("argument", ["mpi", "world", "no-mpi"])
def test_mpirun_starts_the_script(argument: str) -> None:
    mpirun = [str(BIN / "mpirun"), "--oversubscribe", "-n", "3"]
    env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    expect(3, launch([*mpirun, sys.executable, HELLO, argument], env))


# mpi4py is there, and loads Open MPI ("world": init() finds out), or it is not ("no-mpi").
@pytest.mark.parametrize("argument", ["world", "no-mpi"])
@pytest.mark.parametrize(
    ("package", "program"), [("mpich", "mpiexec"), ("impi", "mpirun"), ("impi", "mpiexec")]
)
def test_other_mpis_start_the_script(package: str, program: str, argument: str) -> None:
    started_by = mpi_packages.launcher(package, program)
    env = {"PATH": f"{started_by.parent}:{os.environ['PATH']}"}  # Intel's mpirun is a script
    expect(3, launch([str(started_by), "-n", "3", sys.executable, HELLO, argument], env))


def test_srun_starts_the_script(tmp_path: Path) -> None:
    if slurm.missing():
        pytest.skip(f"srun is not installed: no {', '.join(slurm.missing())}")
    with slurm.OneNode(tmp_path) as cluster:
        done = cluster.srun(["-n", "2", "--overcommit", sys.executable, HELLO], seconds=60)
        assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    expect(2, done.stdout)


@pytest.mark.parametrize(
    ("rank", "size", "extra"),
    [
        ("SLURM_PROCID", "SLURM_NTASKS", {"SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}),
        ("PMI_RANK", "PMI_SIZE", {"MPI_LOCALNRANKS": "2"}),
        ("RANK", "WORLD_SIZE", {"LOCAL_WORLD_SIZE": "2"}),
        ("RANK", "WORLD_SIZE", {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "free"}),
        ("RANK", "WORLD_SIZE", {"NCCL_COMM_ID": "free"}),
    ],
)
def test_the_variables_of_a_launcher_are_enough(
    rank: str, size: str, extra: dict[str, str]
) -> None:
    port = free_port()
    values = {"MASTER_PORT": port, "NCCL_COMM_ID": f"127.0.0.1:{port}"}
    extra = {k: values[k] if v == "free" else v for k, v in extra.items()}
    started = [
        subprocess.Popen(
            [sys.executable, HELLO, "no-mpi"],
            env={**os.environ, rank: str(number), size: "2", **extra},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    expect(2, "".join(outputs))
    leftovers = [p for p in Path(os.environ["FLEXLINK_RUN_DIR"]).iterdir() if p.name[:2] == "id"]
    assert leftovers == []
