# SPDX-License-Identifier: Apache-2.0
"""The command `flexlink doctor` on this machine, and in a network of its own without a NIC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from doctor_support import DOCTOR, namespace
from support import PROGRAMS

CHECKS = {
    "network.default_set", "process.memlock", "process.open_files", "process.memfd_create",
    "process.futex", "process.pidfd_open", "process.process_vm_readv", "process.siblings",
    "cpu.allowed", "cpu.numa", "memory.dev_shm", "memory.run_folder", "memory.kernel",
}  # fmt: skip


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], capture_output=True, text=True, timeout=60)


def test_it_says_what_this_machine_has() -> None:
    done = run(*DOCTOR, "--json")
    said = json.loads(done.stdout)
    assert said["version"] == 1
    findings = {finding["check"]: finding for finding in said["findings"]}
    assert set(findings) >= CHECKS
    assert any(check.startswith("rdma.") for check in findings)
    assert any(check.startswith("gpu.") for check in findings)
    levels = ("ok", "note", "warning", "error")
    worst = max((f["level"] for f in said["findings"]), key=levels.index)
    assert (said["worst"], done.returncode) == (worst, 1 if worst == "error" else 0)
    for finding in said["findings"]:
        assert set(finding) == {"check", "level", "text", "evidence", "mend"}
        if finding["level"] in ("warning", "error"):
            assert finding["mend"], finding
    (lo,) = (nic for nic in said["nics"] if nic["kind"] == "loopback")
    assert (lo["default_set"], lo["name"]) == ("no", "lo")
    folder = os.environ["FLEXLINK_RUN_DIR"]
    assert findings["memory.run_folder"]["text"] == f"{folder} is ready for probes"
    assert said["kernel"] == os.uname().release
    assert set(said["gpus"]) == {"driver", "problem", "gpus", "cuda"}


def test_the_table_is_plain_text_where_it_is_not_a_terminal() -> None:
    done = run(*DOCTOR)
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split()[:5] == ["NIC", "kind", "speed", "MTU", "state"]
    assert {"network", "limits and system calls", "CPUs", "RDMA", "GPUs"} <= set(lines)
    assert lines[-1].endswith(" ok")


def test_a_run_folder_open_to_others_is_a_warning_with_its_command_and_status_0() -> None:
    folder = Path(os.environ["FLEXLINK_RUN_DIR"])
    folder.chmod(0o755)
    done = run(*DOCTOR)
    text = f"  warning  {folder} has mode 0755: others may enter, so probes are off:"
    assert text in done.stdout
    assert f"           mend: chmod 700 {folder}" in done.stdout.splitlines()
    assert done.returncode == 0, done.stdout


def test_without_any_interface_that_is_up_it_says_so_with_status_1() -> None:
    done = run(*namespace(), *DOCTOR)
    assert done.stderr == ""
    text = "no NIC but lo, and lo is down: ranks cannot meet, not even on this machine"
    assert f"  error    {text} [interfaces: lo (down)]" in done.stdout.splitlines()
    assert "           mend: sudo ip link set lo up" in done.stdout.splitlines()
    assert done.returncode == 1


def test_with_lo_alone_it_warns_and_names_no_nic_of_another_namespace() -> None:
    script = 'ip link set lo up && exec "$@"'
    done = run(*namespace(), "sh", "-c", script, "sh", *DOCTOR, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (lo,) = said["nics"]
    assert (lo["name"], lo["state"], lo["bootstrap"]) == ("lo", "up", True)
    network = [f for f in said["findings"] if f["check"].startswith("network.")]
    assert network == [
        {
            "check": "network.default_set",
            "level": "warning",
            "text": "no NIC but lo: only ranks of this machine can work together",
            "evidence": "interfaces: lo (up)",
            "mend": "give the container a network: docker run --network=host",
        }
    ]


def test_a_closed_door_for_netlink_is_a_warning() -> None:
    program = (
        "import sys, flexlink.doctor.netlink as n\n"
        "def refuse(): raise PermissionError(1, 'Operation not permitted')\n"
        "n.read_links = refuse\n"
        "from flexlink.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "network\n"
        "  warning  the kernel does not list its NICs [[Errno 1] Operation not permitted]\n"
        "           mend: allow AF_NETLINK sockets: docker run --security-opt seccomp=unconfined\n"
    )


def test_calls_that_a_seccomp_filter_kills_or_refuses_are_warnings() -> None:
    done = run(sys.executable, str(PROGRAMS / "doctor_filtered.py"))
    assert done.returncode == 0, done.stderr
    warnings = [f for f in json.loads(done.stdout)["findings"] if f["check"].startswith("process.")]
    assert [(f["text"], f["evidence"], f["mend"]) for f in warnings if f["level"] == "warning"] == [
        (
            "pidfd_open does not work: the death of a rank is found only by its closed socket",
            "pidfd_open: EPERM; seccomp mode 2",
            "docker run --security-opt seccomp=unconfined",
        ),
        (
            "process_vm_readv does not work: large messages are copied twice",
            "process_vm_readv: killed by SIGSYS; seccomp mode 2",
            "docker run --security-opt seccomp=unconfined",
        ),
    ]


def test_wrong_usage_is_status_2() -> None:
    for words, reason in (
        (["--peer", "h"], "--peer needs --token"),
        (["--listen", "70000"], "70000 is no port"),
        (["--listen", "0", "--token", "short"], "a token has 8 to 200 characters"),
        (["--listen", "0", "--peer", "h"], "not allowed with"),
    ):
        done = run(*DOCTOR, *words)
        assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
