# SPDX-License-Identifier: Apache-2.0
"""Limits and system calls of a process: read from fake roots, judged word for word; and tried."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest
from doctor_support import plant

from flexlink.doctor import reader, trials
from flexlink.doctor.facts import Trial
from flexlink.doctor.findings import Finding
from flexlink.doctor.process_checks import check_process

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max open files            {files}                 bytes
Max locked memory         {lock}                  bytes"""
SIBLINGS = trials.SIBLINGS


def process(root: Path, tried: dict[str, str] | None = None, **env: str) -> list[Finding]:
    calls = {call: Trial(call, not text, text) for call, text in (tried or {}).items()}
    return check_process(reader.read_process(root, env, calls), has_rdma=False)


def limits(root: Path, files: str = "4096 4096", lock: str = "unlimited unlimited") -> Path:
    return plant(root, **{"proc/self/limits": LIMITS.format(files=files, lock=lock)})


def test_good_limits_are_ok(tmp_path: Path) -> None:
    assert process(limits(tmp_path)) == [
        Finding("process.memlock", "ok", "memory can be locked without limit",
                "/proc/self/limits: max locked memory unlimited soft, unlimited hard"),
        Finding("process.open_files", "ok", "a process may open 4096 files",
                "/proc/self/limits: max open files 4096 soft, 4096 hard"),
    ]  # fmt: skip


def test_little_locked_memory_matters_where_there_is_rdma(tmp_path: Path) -> None:
    limits(tmp_path, lock="65536 unlimited")
    assert process(tmp_path)[0] == Finding(
        "process.memlock", "note", "only 64 KiB of memory can be locked; only RDMA needs more",
        "/proc/self/limits: max locked memory 65536 soft, unlimited hard", "ulimit -l unlimited",
    )  # fmt: skip
    limits(tmp_path, lock="8388608 8388608")
    (found, _) = check_process(reader.read_process(tmp_path, {}, {}), has_rdma=True)
    assert (found.level, found.text) == (
        "warning", "only 8 MiB of memory can be locked: RDMA can register no more",
    )  # fmt: skip
    assert found.mend == (
        "docker run --ulimit memlock=-1; outside containers: echo '* - memlock unlimited' | "
        "sudo tee /etc/security/limits.d/flexlink.conf, and log in again"
    )
    plant(tmp_path, **{"proc/self/status": "CapEff:\t0000000000004000"})
    assert process(tmp_path)[0].text == "memory can be locked without limit, by CAP_IPC_LOCK"


@pytest.mark.parametrize(
    ("files", "mend"),
    [
        ("256 4096", "ulimit -n 4096"),
        ("256 1048576", "ulimit -n 65536"),
        ("256 unlimited", "ulimit -n 65536"),
        ("256 256", "docker run --ulimit nofile=65536; else raise nofile in limits.d as root"),
    ],
)
def test_few_open_files_are_a_warning(tmp_path: Path, files: str, mend: str) -> None:
    found = process(limits(tmp_path, files=files))[1]
    assert (found.level, found.text, found.mend) == (
        "warning",
        "a process may open only 256 files; a rank needs several for each peer",
        mend,
    )


@pytest.mark.parametrize(
    ("call", "level", "meaning", "since"),
    [
        ("memfd_create", "error", "FlexLink cannot make memory that ranks share", "3.17"),
        ("futex", "error", "ranks cannot wake each other", "2.6"),
        ("pidfd_open", "warning", "the death of a rank is found only by its closed socket", "5.3"),
        ("process_vm_readv", "warning", "large messages are copied twice", "3.2"),
    ],
)
def test_a_call_that_fails_names_what_denies_it(
    tmp_path: Path, call: str, level: str, meaning: str, since: str
) -> None:
    text = f"{call} does not work: {meaning}"
    for mode, problem, mend in (
        (0, "ENOSYS", f"run a kernel of {since} or newer that has {call}"),
        (0, "EACCES", f"ask the administrator what denies {call} here (SELinux, AppArmor)"),
        (2, "EPERM", "docker run --security-opt seccomp=unconfined"),
        (2, "killed by SIGSYS", "docker run --security-opt seccomp=unconfined"),
    ):
        plant(tmp_path, **{"proc/self/status": f"Seccomp:\t{mode}"})
        evidence = f"{call}: {problem}; seccomp mode {mode}"
        assert process(tmp_path, {call: problem}) == [
            Finding(f"process.{call}", level, text, evidence, mend)
        ]


@pytest.mark.parametrize(
    ("scope", "mend"),
    [
        ("1", "sudo sysctl -w kernel.yama.ptrace_scope=0"),
        ("2", "sudo sysctl -w kernel.yama.ptrace_scope=0"),
        ("3", "set kernel.yama.ptrace_scope=0 in /etc/sysctl.d and reboot: 3 cannot be undone"),
        ("0", "docker run --cap-add=SYS_PTRACE"),
    ],
)
def test_siblings_that_cannot_be_read_are_a_warning(tmp_path: Path, scope: str, mend: str) -> None:
    plant(tmp_path, **{"proc/sys/kernel/yama/ptrace_scope": scope})
    assert process(tmp_path, {SIBLINGS: "EPERM"}) == [
        Finding(
            "process.siblings", "warning",
            "ranks cannot read each other's memory: large messages are copied twice, except in "
            "buffers of ncclMemAlloc",
            f"process_vm_readv between two children: EPERM; kernel.yama.ptrace_scope={scope}",
            mend,
        )
    ]  # fmt: skip
    assert process(tmp_path, {SIBLINGS: ""})[0].level == "ok"
    assert process(tmp_path, {SIBLINGS: ""}, FLEXLINK_CMA="0") == [
        Finding("process.siblings", "note",
                "ranks can read each other's memory, but FLEXLINK_CMA=0 forbids it",
                f"kernel.yama.ptrace_scope={scope}", "unset FLEXLINK_CMA"),
    ]  # fmt: skip


def test_the_trials_say_what_this_kernel_does() -> None:
    found = trials.try_calls()
    assert list(found) == [
        "memfd_create", "pidfd_open", "futex", "process_vm_readv", SIBLINGS,
    ]  # fmt: skip
    assert found["memfd_create"] == Trial("memfd_create", True)
    assert found["futex"] == Trial("futex", True)
    # Yama or a container may deny it; what is read is never of another process.
    assert found[SIBLINGS].problem in ("", "EPERM", "ENOSYS")
    for trial in found.values():
        assert trial.ok == (trial.problem == "")


def test_a_trial_that_refuses_dies_or_hangs_becomes_a_text() -> None:
    def refuse() -> str:
        raise OSError(errno.EPERM, "no")

    def die() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "not reached"

    def hang() -> str:
        time.sleep(60)
        return "too late"

    assert trials.in_child(refuse) == "EPERM"
    assert trials.in_child(die) == "killed by SIGKILL"
    start = time.monotonic()
    assert trials.in_child(hang, 0.2) == "no answer in 0.2 s"
    assert time.monotonic() - start < 10
