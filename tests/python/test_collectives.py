# SPDX-License-Identifier: Apache-2.0
"""The Communicator on real ranks. What each rank does and checks is in programs/."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from support import PROGRAMS, Run


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_every_operation_gives_exact_values(run_program: Run, ranks: int) -> None:
    run_program(ranks, "collectives.py")


def test_handles_limits_gil_and_ctrl_c_while_a_peer_is_late(run_program: Run) -> None:
    run_program(2, "waiting.py")


@pytest.mark.parametrize("kind", ["numpy", "bfloat16", "bytes", "torch", "shared"])
def test_every_kind_of_buffer_carries_its_elements(run_program: Run, kind: str) -> None:
    run_program(2, "kinds.py", kind)


@pytest.mark.parametrize("case", ["bad_arguments", "mismatch", "abort_from_thread"])
def test_a_wrong_call_is_an_error_that_says_what_to_do(run_program: Run, case: str) -> None:
    run_program(2, "faults.py", case, options=("--keep-going",))


def test_survivors_of_a_killed_rank_get_an_error_and_go_on_without_it(flexlink_run: Run) -> None:
    program = str(PROGRAMS / "faults.py")
    done = flexlink_run(3, sys.executable, program, "dead_peer", options=("--keep-going",))
    assert done.returncode == 137, done.stderr
    assert done.stderr.count("was ended by SIGKILL") == 1
    assert "Traceback" not in done.stderr, done.stderr


def test_a_python_error_in_one_rank_ends_the_others_calls(flexlink_run: Run) -> None:
    script = (
        "import flexlink\n"
        "with flexlink.init() as comm:\n"
        "    if comm.rank == 0: raise KeyError('first')\n"
        "    comm.barrier()\n"
    )
    done = flexlink_run(2, sys.executable, "-c", script, options=("--keep-going",), timeout=30)
    assert done.returncode == 1
    assert "KeyError: 'first'" in done.stderr
    assert "[1] flexlink.errors.RemoteError" in done.stderr, done.stderr


@pytest.mark.parametrize("how", ["sys.exit(0)", "pass", "os._exit(0)"])
def test_leaving_without_closing_neither_hangs_nor_fails(flexlink_run: Run, how: str) -> None:
    script = (
        "import flexlink, numpy, os, sys\n"
        "comm = flexlink.init()\n"
        "handle = comm.all_reduce(numpy.ones(1 << 20), async_=True)\n"
        f"handle.wait(30); {how}\n"
    )
    done = flexlink_run(2, sys.executable, "-c", script, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_two_communicators_of_one_world_do_not_mix(flexlink_run: Run) -> None:
    script = (
        "import flexlink, numpy\n"
        "with flexlink.init() as one, flexlink.init() as two:\n"
        "    first = one.all_reduce(numpy.full(3, 1), async_=True)\n"
        "    second = two.all_reduce(numpy.full(3, 10))\n"
        "    assert (first.wait(10) == 2).all() and (second == 20).all()\n"
    )
    done = flexlink_run(2, sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_the_wait_for_ranks_that_do_not_come() -> None:
    script = (
        "import flexlink, signal\n"
        # A background job of a shell begins with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "key = flexlink.unique_id()\n"
        "print('waiting', flush=True)\n"
        "flexlink.Communicator.connect(key, 0, 2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - begin < 3
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
