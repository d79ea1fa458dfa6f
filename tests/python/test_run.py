# SPDX-License-Identifier: Apache-2.0
"""`flexlink run`: variables, pinning, output, signals, statuses, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Run

from flexlink.launch import describe
from flexlink.placement import place


def shell(text: str) -> tuple[str, ...]:
    return ("bash", "-c", text)


def start(ranks: int, script: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flexlink", "run", "-n", str(ranks), *options, "--", *shell(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def running(mark: str) -> list[int]:
    """Processes with `mark` in their command line, but for this one and launchers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark in words and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def mark() -> str:
    """A word that no other process has in its command line."""
    return f"mark-{uuid.uuid4().hex}"


def test_ranks_get_torchruns_variables(flexlink_run: Run) -> None:
    script = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT"
    done = flexlink_run(2, *shell(script), options=("--no-prefix",))
    lines = sorted(done.stdout.splitlines())
    port = lines[0].split()[-1]
    assert 1024 <= int(port) <= 65535
    assert lines == [f"{rank} 2 {rank} 2 127.0.0.1 {port}" for rank in (0, 1)]
    assert (done.returncode, done.stderr) == (0, "")


def test_hosts_share_out_the_ranks_and_meet_where_they_are_told(flexlink_run: Run) -> None:
    script = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR:$MASTER_PORT"
    where = ("--hosts", "3", "--host-rank", "2", "--master", "[2001:db8::7]:29500")
    done = flexlink_run(2, *shell(script), options=("--no-prefix", *where))
    expected = [f"{4 + rank} 6 {rank} 2 2001:db8::7:29500" for rank in (0, 1)]
    assert sorted(done.stdout.splitlines()) == expected, done.stderr


def test_each_line_names_its_rank_and_its_stream_is_kept(flexlink_run: Run) -> None:
    done = flexlink_run(2, *shell("echo out; echo; printf cut; echo err >&2"))
    for rank in (0, 1):
        mine = [line for line in done.stdout.splitlines() if line.startswith(f"[{rank}]")]
        assert mine == [f"[{rank}] out", f"[{rank}] ", f"[{rank}] cut"]
    assert sorted(done.stderr.splitlines()) == ["[0] err", "[1] err"]


def test_long_output_arrives_whole(flexlink_run: Run) -> None:
    done = flexlink_run(2, *shell("seq 1 50000"), options=("--no-prefix",))
    numbers = [int(line) for line in done.stdout.split()]
    assert sorted(numbers) == sorted([*range(1, 50001)] * 2)


def test_ranks_are_pinned_to_one_core_each_where_they_fit(flexlink_run: Run) -> None:
    script = (sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))")
    allowed = sorted(os.sched_getaffinity(0))
    plain = flexlink_run(1, *script, options=("--no-prefix", "--no-pin"))
    assert plain.stdout == f"{allowed}\n"
    if len(allowed) > 1:
        pinned = flexlink_run(2, *script, options=("--no-prefix",)).stdout.splitlines()
        assert len(set(pinned)) == 2
        assert all(line.count(",") == 0 for line in pinned)
    many = flexlink_run(len(allowed) + 1, *script, options=("--no-prefix",))
    assert set(many.stdout.splitlines()) == {str(allowed)}


def test_placement_takes_one_thread_of_each_core_before_siblings() -> None:
    cpus = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}
    assert place(2, cpus) == [0, 1]
    assert place(3, cpus) == [0, 1, 2]
    assert place(4, cpus) == [0, 1, 2, 3]
    assert place(5, cpus) is None


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)]
)
def test_the_status_is_that_of_the_rank_that_failed(
    flexlink_run: Run, script: str, status: int
) -> None:
    done = flexlink_run(2, *shell(f"[ $RANK = 0 ] || {{ {script}; }}"))
    assert done.returncode == status
    assert (describe(status) in done.stderr) == (status != 0)


def test_the_others_are_ended_when_one_dies(flexlink_run: Run, mark: str) -> None:
    start_time = time.monotonic()
    done = flexlink_run(3, *shell(f"[ $RANK = 1 ] && exit 5; exec sleep 60 # {mark}"))
    assert time.monotonic() - start_time < 4
    assert done.returncode == 5
    assert "ended with status 5; ending the other 2 rank(s)" in done.stderr
    assert running(mark) == []


def test_keep_going_lets_survivors_finish(flexlink_run: Run) -> None:
    script = "[ $RANK = 1 ] && exit 5; sleep 0.5; echo survived"
    done = flexlink_run(2, *shell(script), options=("--keep-going",))
    assert done.returncode == 5
    assert done.stdout == "[0] survived\n"


def test_a_rank_that_ignores_sigterm_is_killed_after_the_grace(mark: str) -> None:
    script = f"trap '' TERM; echo up; while :; do sleep 0.05; done # {mark}"
    process = start(2, script, "--grace", "0.5")
    assert process.stdout is not None
    assert {process.stdout.readline(), process.stdout.readline()} == {"[0] up\n", "[1] up\n"}
    begin = time.monotonic()
    process.terminate()
    assert process.wait(timeout=10) == 137
    assert 0.4 < time.monotonic() - begin < 3
    assert running(mark) == []


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGTERM"])
def test_signals_reach_every_rank_and_its_children(name: str) -> None:
    script = f"trap 'echo got; exit 0' {name}; echo up; while :; do sleep 0.02; done"
    process = start(2, script)
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert sorted(out.splitlines()) == ["[0] got", "[1] got"], err
    assert process.returncode == 0


@pytest.mark.parametrize("how", ["own group", "own session", "orphan"])
@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGKILL"])
def test_no_process_is_left_whatever_ends_the_launcher(how: str, end: str, mark: str) -> None:
    sleeper = f"bash -c 'sleep 60; : {mark}'"
    begin = {
        "own group": f"{sleeper} & echo up",
        "own session": f"setsid {sleeper} & echo up",
        "orphan": f"(setsid {sleeper} &) ; echo up",
    }[how]
    process = start(2, f"{begin}; {'sleep 0.2' if end == 'exit' else 'sleep 60'}")
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    wait_until(lambda: len(running(mark)) >= 2)
    if end != "exit":
        process.send_signal(getattr(signal, end))
    process.wait(timeout=10)
    wait_until(lambda: running(mark) == [])


def test_rank_0_reads_a_piped_input_and_the_others_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flexlink", "run", "-n", "2", "--", "cat"],
        input="a line\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "[0] a line\n")


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["-n", "2", "--", "/no/such/program"], 127, "cannot start /no/such/program"),
        (["-n", "2", "--", "/"], 126, "cannot start /"),
        (["-n", "0", "--", "true"], 2, "-n 0: 1 to 4096 ranks"),
        (["-n", "2"], 2, "no command"),
        (["--", "true"], 2, "-n/--ranks"),
        (["-n", "2", "--hosts", "2", "--", "true"], 2, "--master HOST:PORT"),
        (["-n", "2", "--master", "a:1", "--", "true"], 2, "belong together"),
        (["-n", "2", "--hosts", "2", "--master", "a", "--", "true"], 2, "server0:29500"),
        (["-n", "2", "--hosts", "2", "--host-rank", "2", "--", "true"], 2, "0 to H-1"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    command: list[str], status: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flexlink", "run", *command],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
