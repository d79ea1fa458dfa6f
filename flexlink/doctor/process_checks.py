# SPDX-License-Identifier: Apache-2.0
"""Limits, rights and system calls of a process: findings from facts. All pure."""

from __future__ import annotations

from flexlink.doctor.facts import UNLIMITED, Limit, ProcessFacts, Trial
from flexlink.doctor.findings import ERROR, NOTE, OK, WARNING, Finding, size
from flexlink.doctor.trials import SIBLINGS

_FEW_FILES = 1024
_ENOUGH_FILES = 65536
_UNFILTERED = "docker run --security-opt seccomp=unconfined"

# call: (level where it fails, what that means, first kernel that has it)
_NEEDED = {
    "memfd_create": (ERROR, "FlexLink cannot make memory that ranks share", "3.17"),
    "futex": (ERROR, "ranks cannot wake each other", "2.6"),
    "pidfd_open": (WARNING, "the death of a rank is found only by its closed socket", "5.3"),
    "process_vm_readv": (WARNING, "large messages are copied twice", "3.2"),
}


def check_process(facts: ProcessFacts, has_rdma: bool) -> list[Finding]:
    """All findings about this process. has_rdma: memory will be pinned for NICs."""
    calls = [_call_finding(facts.trials[call], facts) for call in _NEEDED if call in facts.trials]
    return [
        *_memlock_finding(facts, has_rdma),
        *_files_finding(facts.nofile),
        *calls,
        *_siblings_finding(facts),
    ]


def _memlock_finding(facts: ProcessFacts, has_rdma: bool) -> list[Finding]:
    check, limit = "process.memlock", facts.memlock
    if limit is None:
        return []
    evidence = f"/proc/self/limits: max locked memory {_amount(limit)}"
    if limit.soft == UNLIMITED:
        return [Finding(check, OK, "memory can be locked without limit", evidence)]
    if facts.locks_freely:
        text = "memory can be locked without limit, by CAP_IPC_LOCK"
        return [Finding(check, OK, text, evidence)]
    mend = "ulimit -l unlimited"
    if limit.hard != UNLIMITED:
        mend = (
            "docker run --ulimit memlock=-1; outside containers: echo '* - memlock unlimited' | "
            "sudo tee /etc/security/limits.d/flexlink.conf, and log in again"
        )
    text = f"only {size(limit.soft)} of memory can be locked"
    if has_rdma:
        return [Finding(check, WARNING, f"{text}: RDMA can register no more", evidence, mend)]
    return [Finding(check, NOTE, f"{text}; only RDMA needs more", evidence, mend)]


def _amount(limit: Limit) -> str:
    words = ("unlimited" if v == UNLIMITED else str(v) for v in (limit.soft, limit.hard))
    return " soft, ".join(words) + " hard"


def _files_finding(limit: Limit | None) -> list[Finding]:
    check = "process.open_files"
    if limit is None:
        return []
    evidence = f"/proc/self/limits: max open files {_amount(limit)}"
    if limit.soft == UNLIMITED or limit.soft >= _FEW_FILES:
        amount = "any number of" if limit.soft == UNLIMITED else str(limit.soft)
        return [Finding(check, OK, f"a process may open {amount} files", evidence)]
    text = f"a process may open only {limit.soft} files; a rank needs several for each peer"
    if limit.hard == UNLIMITED or limit.hard >= _FEW_FILES:
        wanted = _ENOUGH_FILES if limit.hard == UNLIMITED else min(limit.hard, _ENOUGH_FILES)
        mend = f"ulimit -n {wanted}"
    else:
        mend = f"docker run --ulimit nofile={_ENOUGH_FILES}; else raise nofile in limits.d as root"
    return [Finding(check, WARNING, text, evidence, mend)]


def _cause(trial: Trial, facts: ProcessFacts, since: str) -> tuple[str, str]:
    """(evidence, mend) of a call that failed."""
    evidence = f"{trial.call}: {trial.problem}; seccomp mode {facts.seccomp}"
    refused = trial.problem in ("EPERM", "EACCES", "killed by SIGSYS")
    if facts.seccomp and (refused or trial.problem == "ENOSYS"):
        return evidence, _UNFILTERED
    if trial.problem == "ENOSYS":
        return evidence, f"run a kernel of {since} or newer that has {trial.call}"
    if trial.problem == "EMFILE":
        return evidence, f"ulimit -n {_ENOUGH_FILES}"
    return evidence, f"ask the administrator what denies {trial.call} here (SELinux, AppArmor)"


def _call_finding(trial: Trial, facts: ProcessFacts) -> Finding:
    check = f"process.{trial.call}"
    if trial.ok:
        return Finding(check, OK, f"{trial.call} works", f"seccomp mode {facts.seccomp}")
    level, meaning, since = _NEEDED[trial.call]
    evidence, mend = _cause(trial, facts, since)
    return Finding(check, level, f"{trial.call} does not work: {meaning}", evidence, mend)


def _siblings_finding(facts: ProcessFacts) -> list[Finding]:
    """Whether one rank may read another's memory: what large messages in ordinary buffers need."""
    check, trial = "process.siblings", facts.trials.get(SIBLINGS)
    if trial is None:
        return []
    scope = "no Yama" if facts.yama is None else f"kernel.yama.ptrace_scope={facts.yama}"
    if trial.ok:
        text = "ranks can read each other's memory"
        if facts.cma_off:
            text = f"{text}, but FLEXLINK_CMA=0 forbids it"
            return [Finding(check, NOTE, text, scope, "unset FLEXLINK_CMA")]
        return [Finding(check, OK, text, scope)]
    own = facts.trials.get("process_vm_readv")
    if own is not None and not own.ok:
        return []  # that finding says it all
    text = (
        "ranks cannot read each other's memory: large messages are copied twice, except in "
        "buffers of ncclMemAlloc"
    )
    evidence = f"process_vm_readv between two children: {trial.problem}; {scope}"
    if facts.yama in (1, 2):
        mend = "sudo sysctl -w kernel.yama.ptrace_scope=0"
    elif facts.yama == 3:
        mend = "set kernel.yama.ptrace_scope=0 in /etc/sysctl.d and reboot: 3 cannot be undone"
    else:
        mend = "docker run --cap-add=SYS_PTRACE"
    return [Finding(check, WARNING, text, evidence, mend)]
