# SPDX-License-Identifier: Apache-2.0
"""CPUs, memory, kernel and devices: read from fake roots, judged word for word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from doctor_support import plant

from flexlink.doctor import reader
from flexlink.doctor.facts import CpuFacts, RdmaPort, RunFolder, Space
from flexlink.doctor.findings import Finding
from flexlink.doctor.host_checks import check_cpu, check_kernel, check_run_folder, check_shm

GIB = 1 << 30


def cpu(root: Path, cgroup: str, **files: str) -> CpuFacts:
    status = {"proc/self/status": "Cpus_allowed_list:\t0-3,8"}
    plant(root, **{"proc/self/cgroup": cgroup, "sys/devices/system/cpu/online": "0-15"}, **status)
    return reader.read_cpu(plant(root, **files))


def test_the_smallest_quota_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/"
    files = {base + "a/cpu.max": "150000 100000", base + "a/b/cpu.max": "250000 100000"}
    assert cpu(tmp_path / "v2", "0::/a/b", **files) == CpuFacts(
        16, 5, 1.5, "/sys/fs/cgroup/a/cpu.max"
    )
    files = {base + "a/cpu.max": "300000 100000", base + "a/b/cpu.max": "max 100000"}
    assert cpu(tmp_path / "up", "0::/a/b", **files).quota == 3.0
    files = {base + "a/cpu.max": "300000 100000", base + "a/b/cpu.max": "200000 100000"}
    assert cpu(tmp_path / "low", "0::/a/b", **files).quota == 2.0
    base += "cpu,cpuacct/"
    files = {base + "cpu.cfs_quota_us": "400000", base + "cpu.cfs_period_us": "100000"}
    assert cpu(tmp_path / "v1", "4:cpu,cpuacct:/docker/x\n1:name=systemd:/", **files) == CpuFacts(
        16, 5, 4.0, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"
    )
    assert cpu(tmp_path / "none", "0::/").quota is None


def test_cpus_are_judged() -> None:
    assert check_cpu(CpuFacts(16, 5, 1.5, "/f", {0: "0-7", 1: "8-15"})) == [
        Finding("cpu.allowed", "note", "this process may use 5 CPUs of 16",
                "5 of 16 CPUs by affinity or cpuset",
                "docker run --cpuset-cpus=0-15; or taskset -c 0-15"),
        Finding("cpu.quota", "warning",
                "the cgroup grants the time of 1.5 CPUs, and 5 are visible: ranks that wait for "
                "each other are stopped in mid-operation",
                "/f", "docker run --cpus=5; or at most 1 rank"),
        Finding("cpu.numa", "ok", "2 NUMA nodes", "node 0: CPUs 0-7, node 1: CPUs 8-15"),
    ]  # fmt: skip
    assert check_cpu(CpuFacts(1, 1, 2.0, "/f")) == [
        Finding("cpu.allowed", "ok", "this process may use 1 CPU",
                "1 of 1 CPUs by affinity or cpuset"),
        Finding("cpu.quota", "ok", "the cgroup's quota of 2 CPUs limits nothing", "/f"),
        Finding("cpu.numa", "note", "the kernel names no NUMA nodes", "/sys/devices/system/node"),
    ]  # fmt: skip


def test_lists_of_cpus_are_counted() -> None:
    assert [reader.cpu_count(text) for text in ("0", "0-3,8,10-11", "", "x-3", "1-")] == [
        1, 7, 0, 0, 1,
    ]  # fmt: skip


def test_a_small_dev_shm_is_noted() -> None:
    assert check_shm(Space(64 << 20, 60 << 20)) == [
        Finding("memory.dev_shm", "note",
                "/dev/shm has only 64 MiB: enough for FlexLink, which shares memory by memfd; "
                "NCCL, Gloo and data loaders fail with it",
                "/dev/shm: 64 MiB, 60 MiB free", "docker run --shm-size=8g"),
    ]  # fmt: skip
    assert check_shm(None)[0].text == (
        "there is no /dev/shm; FlexLink shares memory by memfd, other libraries need it"
    )
    assert check_shm(Space(8 * GIB, 4 * GIB)) == [
        Finding("memory.dev_shm", "ok", "/dev/shm has 4 GiB free", "/dev/shm: 8 GiB, 4 GiB free")
    ]


OFF = ", so probes are off: flexlink links and diagnosis see nothing"
AWAY = "export FLEXLINK_RUN_DIR=/dev/shm/flexlink-mine"


@pytest.mark.parametrize(
    ("facts", "text", "mend"),
    [
        (RunFolder("/r/f", "absent", parent="is not there"),
         "/r/f is missing and /r is not there", "mkdir -p -m 700 /r/f"),
        (RunFolder("/r/f", "absent", parent="cannot be written to"),
         "/r/f is missing and /r cannot be written to", AWAY),
        (RunFolder("/r/f", "link"), "/r/f is a link", "rm /r/f"),
        (RunFolder("/r/f", "file"), "/r/f is not a folder", "rm /r/f"),
        (RunFolder("/r/f", "EACCES"), "/r/f cannot be looked at (EACCES)", AWAY),
        (RunFolder("/r/f", "folder", 1, 0o700, 7),
         "/r/f belongs to user 1, not to user 7", AWAY),
        (RunFolder("/r/f", "folder", 7, 0o755, 7),
         "/r/f has mode 0755: others may enter", "chmod 700 /r/f"),
        (RunFolder("/r/f", "folder", 7, 0o750, 7),
         "/r/f has mode 0750: others may enter", "chmod 700 /r/f"),
        (RunFolder("/r/f", "folder", 7, 0o500, 7),
         "/r/f has mode 0500: its owner may not use it", "chmod 700 /r/f"),
        (RunFolder("/r/f", "folder", 7, 0o700, 7, "", Space(GIB, 64 << 10)),
         "/r/f has only 64 KiB left", AWAY),
    ],
)  # fmt: skip
def test_a_run_folder_that_turns_probes_off(facts: RunFolder, text: str, mend: str) -> None:
    (found,) = check_run_folder(facts)
    assert (found.level, found.text, found.mend) == ("warning", text + OFF, mend)


def test_the_run_folder_is_read_as_it_is(tmp_path: Path) -> None:
    user, root = os.geteuid(), tmp_path / "root"
    space = Space(GIB, GIB)

    def read(**env: str) -> RunFolder:
        return reader.read_run_folder(root, env, user, lambda _: space)

    default = f"/dev/shm/flexlink-{user}"
    assert read() == RunFolder(default, "absent", user=user, parent="is not there", space=space)
    (root / "dev/shm").mkdir(parents=True)
    assert read() == RunFolder(default, "absent", user=user, space=space)
    (root / "run").mkdir()
    (root / "run/flexlink").mkdir(mode=0o700)
    found = read(XDG_RUNTIME_DIR="/run")
    assert found == RunFolder("/run/flexlink", "folder", user, 0o700, user, "", space)
    assert [f.level for f in check_run_folder(found)] == ["ok"]
    (root / "mine").symlink_to("run")
    assert read(FLEXLINK_RUN_DIR="/mine/").state == "link"


def test_kernels_are_judged_by_version() -> None:
    found = [check_kernel(release)[0] for release in ("6.1.0-13", "5.10.0", "3.10.0-el7", "odd")]
    assert [(f.level, f.text) for f in found] == [
        ("ok", "kernel 6.1.0-13 has MADV_POPULATE_WRITE and pidfd"),
        ("note", "kernel 5.10.0 lacks MADV_POPULATE_WRITE (5.14): shared pages are filled at "
         "their first use, so first operations take longer"),
        ("error", "kernel 3.10.0-el7 is too old: memfd_create came with 3.17"),
        ("note", "the kernel's version is not a number"),
    ]  # fmt: skip


def test_rdma_devices_are_read_and_soft_roce_is_known(tmp_path: Path) -> None:
    def port(device: str, number: int, state: str, **more: str) -> None:
        base = f"sys/class/infiniband/{device}/"
        own = {"state": state, "rate": "100 Gb/sec (4X EDR)", "link_layer": "Ethernet"}
        files = {f"{base}ports/{number}/{name}": text for name, text in own.items()}
        plant(tmp_path, **files, **{base + name: text for name, text in more.items()})

    port("mlx5_0", 1, "4: ACTIVE", **{"device/net/eth1/mtu": "1500"})
    port("rxe0", 1, "1: DOWN", parent="eth0")
    plant(tmp_path, **{"sys/class/infiniband_verbs/uverbs0/ibdev": "mlx5_0",
                       "dev/infiniband/uverbs0": ""})  # fmt: skip
    rate = "100 Gb/sec (4X EDR)"
    assert reader.read_rdma(tmp_path) == (
        RdmaPort("mlx5_0", 1, "ACTIVE", rate, "Ethernet", "", "eth1", True),
        RdmaPort("rxe0", 1, "DOWN", rate, "Ethernet", "rxe", "eth0", False),
    )
    assert reader.read_rdma(tmp_path / "nothing") == ()
