# SPDX-License-Identifier: Apache-2.0
"""The process that imports torch once and forks every rank of these tests, in milliseconds.

It has one thread and no process group, so that its children are as good as new processes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import pickle
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """No rank outlives the tests, however they end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def redirect(log: str) -> None:
    """What a rank prints is kept in a file, also what the C library prints."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def call(target: str, rank: Any, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """Runs `module:function` of bodies/; (True, what it returned) or (False, its traceback)."""
    module, function = target.split(":")
    try:
        return True, getattr(importlib.import_module(f"bodies.{module}"), function)(rank, *args)
    except Exception:
        return False, traceback.format_exc()


def serve(rank: Any, path: str) -> None:
    """A rank of a pool: has a process group, runs what it is told until the pool goes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        connection = Connection(client.detach())
    try:
        rank.join(init_method=f"file://{path}.store")
        answer: tuple[bool, Any] = (True, None)
    except Exception:
        answer = False, traceback.format_exc()
    connection.send((rank.rank, *answer))
    while True:
        try:
            target, args, folder = connection.recv()
        except EOFError:
            os._exit(0)
        rank.folder = Path(folder)
        connection.send((rank.rank, *call(target, rank, args)))


def be_rank(spec: dict[str, Any], number: int) -> int:
    """A forked child's whole life; it ends as a Python program ends."""
    from bodies.common import Rank

    os.environ.update(spec["env"])
    os.environ.update(RANK=str(number), WORLD_SIZE=str(spec["size"]), LOCAL_RANK=str(number))
    os.chdir(spec["folder"])
    redirect(f"{spec['folder']}/log.{number}")
    if gpu := os.environ.get("FLEXLINK_TEST_TORCH_GPU"):
        importlib.import_module("bodies.gpu_device").use(gpu)
    rank = Rank(number, spec["size"], spec["backend"], Path(spec["folder"]))
    if "pool" in spec:
        serve(rank, spec["pool"])
    passed, value = call(spec["target"], rank, spec["args"])
    Path(f"{spec['folder']}/result.{number}").write_bytes(pickle.dumps((passed, value)))
    return 0 if passed else 1


def main() -> int:
    """Forks and reaps on demand until the tests close the connection."""
    die_with(int(sys.argv[2]))
    connection = Connection(int(sys.argv[1]))
    for name in sys.argv[3:]:
        importlib.import_module(name)
    connection.send("ready")
    while True:
        try:
            what, value = connection.recv()
        except EOFError:
            return 0
        if what == "reap":
            done, status = os.waitpid(value, os.WNOHANG)
            connection.send(os.waitstatus_to_exitcode(status) if done else None)
            continue
        pids, parent = [], os.getpid()
        for number in range(value["size"]):
            pid = os.fork()
            if pid == 0:
                die_with(parent)
                connection.close()
                return be_rank(value, number)
            pids.append(pid)
        connection.send(pids)


if __name__ == "__main__":
    sys.exit(main())
