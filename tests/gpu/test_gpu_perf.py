# SPDX-License-Identifier: Apache-2.0
"""flexlink perf --device cuda on a real GPU: every element, and what passing through costs."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable

import pytest

from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(150)

COLLECTIVES = ("all_reduce", "all_gather", "broadcast", "reduce_scatter", "reduce", "alltoall",
               "gather", "scatter", "sendrecv")  # fmt: skip

Record = Callable[[str, object], None]


def perf(vendor: str, *words: str) -> str:
    done = subprocess.run(
        [find_program(), *words, "--device", "cuda", "--ranks", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "FLEXLINK_NCCL_PATH": vendor},
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_no_element_is_wrong(vendor: str, collective: str) -> None:
    text = perf(vendor, collective, "-b", "96", "-e", "98304", "-f", "32", "-n", "2", "-c", "2")
    assert "# Out of bounds values : 0 OK" in text


@pytest.mark.parametrize("words", [("--buffers", "ncclMemAlloc"), ("-R", "1"), ("-u", "1")])
def test_no_element_is_wrong_in_other_buffers(vendor: str, words: tuple[str, ...]) -> None:
    text = perf(vendor, "all_reduce", "-b", "64K", "-e", "64K", "-n", "2", *words)
    assert "# Out of bounds values : 0 OK" in text


def test_no_element_is_wrong_of_any_type_and_op(vendor: str) -> None:
    types = "int8 uint8 int32 uint32 int64 uint64 half float double bfloat16".split()
    for kind in types:  # 8-bit floats are reduced from sm_90 on
        text = perf(
            vendor, "all_reduce", "-b", "4K", "-e", "4K", "-n", "1", "-d", kind, "-o", "all"
        )
        assert "# Out of bounds values : 0 OK" in text, text


def test_passing_through_costs_little(vendor: str, record_property: Record) -> None:
    text = perf(vendor, "all_reduce", "-b", "8", "-e", "64M", "-f", "64", "--rounds", "31", "--csv",
                "--vs", vendor)  # fmt: skip
    rows = csv.DictReader(line for line in text.splitlines() if line.count(",") > 10)
    found = {int(r["size"]): (float(r["ours_us"]), float(r["theirs_us"])) for r in rows}
    assert sorted(found) == [8, 512, 32 << 10, 2 << 20]
    for size, (ours, theirs) in found.items():
        record_property(f"pass-through {size} B, us more", round(ours - theirs, 3))
        assert ours - theirs <= max(0.3, 0.01 * theirs), f"{size} B: {ours} us, alone {theirs} us"
