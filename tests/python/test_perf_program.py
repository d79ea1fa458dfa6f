# SPDX-License-Identifier: Apache-2.0
"""flexlink_perf with real ranks on this host: text, JSON, CSV, checks, launchers, comparisons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexlink._native import library_path
from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(120)

COLLECTIVES = {
    "all_reduce": (True, False),  # name: (has an op, has a root)
    "all_gather": (False, False),
    "broadcast": (False, True),
    "reduce_scatter": (True, False),
    "reduce": (True, True),
    "alltoall": (False, False),
    "gather": (False, True),
    "scatter": (False, True),
    "sendrecv": (True, False),
}


def perf(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program(), *words],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "FLEXLINK_LIBRARY": str(library_path()), **environment},
        stdin=subprocess.DEVNULL,
    )


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def good_rows(*words: str) -> list[list[str]]:
    done = perf(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# Out of bounds values : 0 OK\n" in done.stdout
    return rows(done.stdout)


@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("ranks", ["1", "2", "3"])
def test_table_has_13_columns_and_no_wrong_element(collective: str, ranks: str) -> None:
    table = good_rows(
        collective, "--ranks", ranks, "-b", "96", "-e", "98304", "-f", "32", "-n", "2"
    )
    has_op, has_root = COLLECTIVES[collective]
    assert len(table) == 3
    for row in table:
        assert len(row) == 13
        assert int(row[0]) % (int(row[1]) * 4) == 0
        assert row[2:5] == ["float", "sum" if has_op else "none", "0" if has_root else "-1"]
        assert row[8] == "0"
        assert row[12] == ("N/A" if collective in ("alltoall", "sendrecv") else "0")


def test_table_of_every_type_and_op_has_no_wrong_element() -> None:
    table = good_rows(
        "all_reduce", "--ranks", "3", "-b", "4K", "-e", "4K", "-d", "all", "-o", "all"
    )
    assert len(table) == 12 * 6
    assert {row[8] for row in table} == {row[12] for row in table} == {"0"}


def test_text_has_the_lines_of_nccl_tests_in_order() -> None:
    done = perf(
        "all_reduce", "--ranks", "2", "-b", "1K", "-e", "2K", "-f", "2", "-n", "3", "-w", "2"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "# nccl-tests version 2.19.6 nccl-headers=23203 nccl-library=23203"
    assert lines[1] == "# Collective test starting: all_reduce_perf"
    assert lines[2] == (
        "# nThread 1 nGpus 1 minBytes 1024 maxBytes 2048 step: 2(factor) warmup iters: 2 iters: 3 "
        "agg iters: 1 validation: 1 graph: 0 unalign: 0"
    )
    assert lines[3:5] == ["#", "# Using devices"]
    assert lines[5].startswith("#  Rank  0 Group  0 Pid ")
    assert lines[6].startswith("#  Rank  1 Group  0 Pid ")
    head = next(i for i, line in enumerate(lines) if "out-of-place" in line)
    assert lines[head] == f"# {'':61}out-of-place{'':23}in-place{'':10}"
    assert lines[head + 1] == (
        "#       size         count      type   redop    root     time   algbw   busbw  #wrong"
        "     time   algbw   busbw  #wrong "
    )
    assert lines[head + 2] == (
        "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)        "
        "     (us)  (GB/s)  (GB/s)         "
    )
    assert [len(line) for line in lines[head + 3 : head + 5]] == [118, 118]
    assert lines[head + 5] == "# Out of bounds values : 0 OK"
    assert lines[head + 6].startswith("# Avg bus bandwidth    : ")
    assert lines[head + 7 : head + 9] == ["#", "# Collective test concluded: all_reduce_perf"]


def test_busbw_of_all_reduce_on_3_ranks_is_four_thirds_of_algbw() -> None:
    done = perf("all_reduce", "--ranks", "3", "-b", "1M", "-e", "1M", "--csv")
    assert done.returncode == 0, done.stderr
    header, *lines = [
        line.split(",") for line in done.stdout.splitlines() if line[:1] != "#" and line
    ]
    for line in lines:
        row = dict(zip(header, line, strict=True))
        assert float(row["busbw"]) == pytest.approx(float(row["algbw"]) * 4 / 3, abs=2e-6)
        assert float(row["algbw"]) == pytest.approx(1048.576 / float(row["time_us"]), rel=1e-3)


JSON_KEYS = {
    "file": "version start_time args env nccl_version config devices results out_of_bounds "
    "average_bus_bandwidth end_time",
    "config": "nthreads ngpus minimum_bytes maximum_bytes step_bytes warmup_iters iterations "
    "aggregated_iterations validation graph blocking_collectives per_iter_timing per_iter_skip "
    "parallel_init",
    "device": "rank group pid hostname device device_hex device_info",
    "row": "size count type redop root out_of_place out_of_place_per_iter in_place "
    "in_place_per_iter actual_iterations experiment_name",
    "half": "time alg_bw bus_bw nwrong",
}


def test_json_has_the_keys_of_file_version_3(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    words = ["reduce", "--ranks", "2", "-b", "1K", "-e", "1K", "-n", "4", "-I", "1"]
    words += ["-J", str(target)]
    done = perf(*words, SOME_SECRET="hush")
    assert done.returncode == 0, done.stderr
    report = json.loads(target.read_text())
    (row,) = report["results"]
    assert " ".join(report) == JSON_KEYS["file"]
    assert " ".join(report["config"]) == JSON_KEYS["config"]
    assert " ".join(report["devices"][0]) == JSON_KEYS["device"]
    assert " ".join(row) == JSON_KEYS["row"]
    assert " ".join(row["out_of_place"]) == JSON_KEYS["half"]
    assert (report["version"], report["nccl_version"]) == (3, 23203)
    assert report["args"][1:] == words
    assert "SOME_SECRET=***" in report["env"]
    assert "hush" not in target.read_text()
    assert [device["rank"] for device in report["devices"]] == [0, 1]
    assert (row["size"], row["count"], row["type"], row["root"]) == (1024, 256, "float", "     0")
    assert len(row["in_place_per_iter"]["times_us"]) == 4
    assert report["out_of_bounds"] == {"count": 0, "okay": "true"}
    assert report["average_bus_bandwidth"]["okay"] == "unchecked"


def test_json_never_overwrites_a_file(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("mine")
    done = perf("all_reduce", "--ranks", "1", "-b", "8", "-e", "8", "-J", str(target))
    assert done.returncode == 0
    assert target.read_text() == "mine"
    assert json.loads((tmp_path / "out.json.0").read_text())["version"] == 3


def test_minimum_bandwidth_that_is_not_reached_fails_the_run() -> None:
    words = ["all_reduce", "--ranks", "2", "-b", "8", "-e", "8"]
    slow = perf(*words, NCCL_TESTS_MIN_BW="1e9")
    assert slow.returncode == 1
    assert slow.stdout.split("Avg bus bandwidth")[1].splitlines()[0].endswith(" FAILED")
    fine = perf(*words, NCCL_TESTS_MIN_BW="1e-9")
    assert fine.returncode == 0
    assert fine.stdout.split("Avg bus bandwidth")[1].splitlines()[0].endswith(" OK")


@pytest.mark.parametrize(
    "words",
    [
        ["--ranks", "2", "-t", "2"],
        ["-t", "3"],
        ["-t", "2", "-g", "2"],
        ["--ranks", "2", "--buffers", "ncclMemAlloc"],
        ["--ranks", "2", "-R", "1"],
        ["--ranks", "2", "--buffers", "ncclMemAlloc", "-R", "2"],
        ["--ranks", "2", "--async"],
        ["--ranks", "2", "-m", "4", "-z", "3"],
        ["--ranks", "2", "-u", "1", "-c", "3"],
        ["--ranks", "2", "--no-pin", "-a", "0", "-T", "60", "-p", "1", "-V", "4", "-G", "0"],
    ],
    ids=" ".join,
)
def test_every_way_to_run_gives_right_results(words: list[str]) -> None:
    table = good_rows("all_reduce", *words, "-b", "8", "-e", "2M", "-f", "64", "-n", "3")
    assert [row[8] for row in table] == [row[12] for row in table] == ["0"] * 4


def test_bound_adds_one_column_for_each_half() -> None:
    (row,) = good_rows("all_reduce", "--ranks", "2", "-b", "1M", "-e", "1M", "--bound")
    assert len(row) == 15
    assert float(row[13]) > 0


def test_each_root_has_rows_of_its_own_with_root_minus_1() -> None:
    table = good_rows("broadcast", "--ranks", "3", "-b", "64", "-e", "64", "-r", "-1")
    assert [row[4] for row in table] == ["0", "1", "2"]


def test_root_outside_the_job_is_refused() -> None:
    done = perf("broadcast", "--ranks", "2", "-r", "2", "-b", "8", "-e", "8")
    assert done.returncode == 1
    assert "-r 2: there are only 2 ranks" in done.stderr


def test_library_that_is_not_there_is_named() -> None:
    done = perf("all_reduce", "--ranks", "2", "--library", "/nowhere/libnccl.so")
    assert done.returncode == 1
    assert "/nowhere/libnccl.so" in done.stderr
    assert "--library PATH or FLEXLINK_LIBRARY" in done.stderr


LIAR = r"""
#include <stddef.h>
/* A libnccl that spoils one element on one rank; all else is the real library's. */
int pncclAllReduce(const void*, void*, size_t, int, int, void*, void*);
int ncclCommUserRank(void*, int*);
int ncclAllReduce(const void* in, void* out, size_t n, int type, int op, void* comm, void* stream) {
  int result = pncclAllReduce(in, out, n, type, op, comm, stream), rank = 0;
  ncclCommUserRank(comm, &rank);
  if (rank == 1 && n > 5) ((unsigned char*)out)[4 * 5] ^= 1;
  return result;
}
"""


def test_single_wrong_element_on_another_rank_is_found(tmp_path: Path) -> None:
    source, target, real = tmp_path / "liar.c", tmp_path / "libliar.so", Path(library_path())
    source.write_text(LIAR)
    command = ["cc", "-shared", "-fPIC", "-w", str(source), "-o", str(target), str(real)]
    # The loader looks for the real one by its SONAME.
    (tmp_path / "libnccl.so.2").symlink_to(real)
    subprocess.run([*command, f"-Wl,-rpath,{tmp_path}"], check=True, timeout=60)
    done = perf("all_reduce", "--ranks", "2", "-b", "64", "-e", "64", "--library", str(target))
    assert done.returncode == 1, done.stderr
    (row,) = rows(done.stdout)
    assert (row[8], row[12]) == ("1", "1")
    assert "# Out of bounds values : 2 FAILED" in done.stdout


def test_processes_of_a_launcher_meet_by_a_file(tmp_path: Path) -> None:
    command = [str(find_program()), "all_reduce", "-b", "64", "-e", "64"]
    environment = {**os.environ, "FLEXLINK_LIBRARY": str(library_path()), "TMPDIR": str(tmp_path)}
    ranks = [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=60)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert len(rows(outputs[0])) == 1
    assert outputs[1] == ""
    assert list(tmp_path.glob("flexlink-perf-*/*")) == []


def test_flexlink_perf_is_the_same_program() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flexlink",
            "perf",
            "all_reduce",
            "--ranks",
            "2",
            "-b",
            "8",
            "-e",
            "8",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows(done.stdout)) == 1


def test_comparison_of_the_library_with_itself_prints_both_sides_and_a_ratio() -> None:
    words = ["all_reduce", "--vs", str(library_path()), "-b", "1K", "-e", "1M", "-f", "1024"]
    done = perf(*words, "--rounds", "3", "-n", "5")
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    assert [row[0] for row in table] == ["1024", "ratio:", "1048576", "ratio:"]
    for row, ratio in zip(table[::2], table[1::2], strict=True):
        assert len(row) == 14
        assert (row[8], row[11]) == ("0", "0")
        assert float(ratio[1]) > 0


def test_comparison_with_a_library_that_dies_ends_with_a_text_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    before = set(Path("/dev/shm").glob("flexlink-perf-*"))
    done = perf("all_reduce", "--vs", "/nowhere/libnccl.so", "-b", "8", "-e", "8")
    assert done.returncode == 1
    assert "theirs: process" in done.stderr
    assert set(Path("/dev/shm").glob("flexlink-perf-*")) <= before
