# SPDX-License-Identifier: Apache-2.0
"""Turns facts into findings, and findings into the text and the JSON of `flexlink doctor`. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from flexlink.doctor import device_checks, gpu_checks, host_checks, nic_checks, process_checks
from flexlink.doctor.facts import Facts
from flexlink.doctor.findings import ERROR, LEVELS, NOTE, OK, WARNING, Finding, worst
from flexlink.doctor.nics import classify

AREAS = {
    "network": "network",
    "process": "limits and system calls",
    "cpu": "CPUs",
    "memory": "memory and kernel",
    "rdma": "RDMA",
    "gpu": "GPUs",
    "peer": "peer",
}
_COLOURS = {OK: "32", NOTE: "36", WARNING: "33", ERROR: "31"}
JSON_VERSION = 1


def examine(facts: Facts) -> list[Finding]:
    """Every check on the facts of one machine."""
    if facts.links_problem:
        text = "the kernel does not list its NICs"
        mend = "allow AF_NETLINK sockets: docker run --security-opt seccomp=unconfined"
        network = [Finding("network.list", WARNING, text, facts.links_problem, mend)]
    else:
        network = nic_checks.check_nics(facts.nics, facts.wish)
    return [
        *network,
        *process_checks.check_process(facts.process, bool(facts.rdma)),
        *host_checks.check_cpu(facts.cpu),
        *host_checks.check_shm(facts.shm),
        *host_checks.check_run_folder(facts.run_folder),
        *host_checks.check_kernel(facts.kernel),
        *device_checks.check_rdma(facts.rdma),
        *gpu_checks.check_gpus(facts.gpu),
    ]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines; every row has as many cells as the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def findings_text(findings: Sequence[Finding], colour: bool) -> list[str]:
    """A heading for each area, a line for each finding, and under it what is seen and to do."""
    lines: list[str] = []
    for area, title in AREAS.items():
        own = [finding for finding in findings if finding.area == area]
        if own:
            lines += ["", title, *(line for f in own for line in _lines(f, colour))]
    return lines[1:]


def _lines(finding: Finding, colour: bool) -> list[str]:
    word = finding.level.ljust(max(map(len, LEVELS)))
    if colour:
        word = f"\x1b[{_COLOURS[finding.level]}m{word}\x1b[0m"
    indent = " " * (2 + max(map(len, LEVELS)) + 2)
    seen = f" [{finding.evidence}]" if finding.evidence else ""
    lines = [f"  {word}  {finding.text}{seen}"]
    if finding.mend:
        lines.append(f"{indent}mend: {finding.mend}")
    return lines


def sum_text(findings: Sequence[Finding]) -> str:
    """2 errors, 1 warning, 3 notes, 9 ok."""
    counts = {level: sum(f.level == level for f in findings) for level in LEVELS}
    words = [
        f"{counts[level]} {level}" + ("" if counts[level] == 1 else "s")
        for level in (ERROR, WARNING, NOTE)
    ]
    return ", ".join([*words, f"{counts[OK]} ok"])


def machine_text(facts: Facts, findings: Sequence[Finding], colour: bool) -> str:
    """The whole output for people."""
    lines: list[str] = []
    if facts.nics:
        places = classify(facts.nics, facts.wish)
        rows = [nic_checks.row(*pair) for pair in zip(facts.nics, places, strict=True)]
        lines = [*table([nic_checks.HEADINGS, *rows]), ""]
    return "\n".join([*lines, *findings_text(findings, colour), "", sum_text(findings)])


def as_json(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    """The object of --json; docs/doctor.md names the fields."""
    places = classify(facts.nics, facts.wish)
    return {
        "version": JSON_VERSION,
        "worst": worst(findings),
        "kernel": facts.kernel,
        "nics": [nic_checks.as_json(*pair) for pair in zip(facts.nics, places, strict=True)],
        "gpus": dataclasses.asdict(facts.gpu),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }
