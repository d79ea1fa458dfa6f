# SPDX-License-Identifier: Apache-2.0
"""The probe of a real job: two ranks, seen from outside, running and after they were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flexlink import links, probe
from flexlink.probe_model import Call, Communicator, Process

# Seven AllReduce of 1000 float32; then it stays until it is killed.
PROGRAM = """
import numpy, pathlib, time, flexlink
comm = flexlink.init()
for _ in range(7):
    comm.all_reduce(numpy.ones(1000, "float32"))
pathlib.Path(f"done-{comm.rank}").touch()
time.sleep(100)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Two ranks that have done their work and sleep, under `flexlink run`."""
    command = [sys.executable, "-m", "flexlink", "run", "-n", "2", "--"]
    with subprocess.Popen([*command, sys.executable, "-c", PROGRAM], cwd=tmp_path) as running:
        try:
            wait_for(lambda: (tmp_path / "done-0").exists() and (tmp_path / "done-1").exists())
            yield running
        finally:
            running.terminate()
            running.wait(timeout=30)


def ranks() -> list[tuple[Process, Communicator]]:
    """(process, communicator) of the only communicator, by rank."""
    seen = probe.snapshot()
    assert seen.unreadable == ()
    found = [(process, comm) for process in seen.processes for comm in process.communicators]
    return sorted(found, key=lambda pair: pair[1].rank)


@pytest.mark.usefixtures("job")
def test_running_job_is_seen_with_its_operations_and_bytes() -> None:
    found = ranks()
    assert [(comm.rank, comm.ranks, comm.state) for _, comm in found] == [
        (0, 2, "ready"),
        (1, 2, "ready"),
    ]
    assert len({comm.id for _, comm in found}) == 1
    for process, comm in found:
        assert (process.life, process.unrecorded, process.clock.steady) == ("alive", 0, True)
        assert (comm.operations, comm.completed, comm.failures, comm.bytes) == (7, 7, 0, 28000)
        assert [(lane.lane, lane.now) for lane in comm.lanes] == [("memory", None)]
        with probe.ProbeReader(process.path) as reader:
            got = reader.records(comm.slot)
        assert (got.missed, got.next) == (0, 7)
        for number, record in enumerate(got.records):
            assert (record.seq, record.bytes, record.result) == (number, 4000, 0)
            assert record.call == Call("AllReduce", "float32", "sum", None, 1000)
            assert record.start_ns is not None and record.end_ns is not None
            assert process.clock.first_ns <= record.start_ns <= record.end_ns <= process.read_ns


def test_killed_rank_leaves_what_it_did(
    job: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    process, comm = ranks()[1]
    os.kill(process.pid, signal.SIGKILL)
    job.wait(timeout=30)
    wait_for(lambda: all(process.life == "dead" for process, _ in ranks()))
    assert ranks()[1][1].operations == comm.operations == 7
    assert links.main(["--all"]) == 0
    out = capsys.readouterr().out
    assert f"communicator {comm.id}: 2 ranks" in out
    assert out.count("ready, process dead") == 2
