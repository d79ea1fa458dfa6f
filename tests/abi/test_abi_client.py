# SPDX-License-Identifier: Apache-2.0
"""A program built entirely against the vendor's NCCL runs on ours without being touched.

Skipped where the vendor's wheel cannot be had. On the vendor's own library the program fails here,
for it has no GPU: so a success shows that ours was used.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from abi_header import STANDIN

SECONDS = 60


def _build(vendor: Path, output: Path, *linker: str) -> Path:
    source = Path(__file__).with_name("client_allreduce.c")
    headers = ["-isystem", str(vendor / "include"), "-isystem", str(STANDIN)]
    libraries = [str(vendor / "lib" / "libnccl.so.2"), *linker]
    command = ["cc", "-std=gnu11", "-Wall", "-Werror", *headers, str(source), "-o", str(output)]
    subprocess.run([*command, *libraries], check=True, timeout=120)
    return output


def _run(program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"FLEXLINK_DEVICE": "host"} | environment,
    )


def test_client_runs_on_ours_found_by_the_library_path(
    vendor: Path, library: Path, tmp_path: Path
) -> None:
    program = _build(vendor, tmp_path / "client")
    (tmp_path / "libnccl.so.2").symlink_to(library)
    done = _run(program, LD_LIBRARY_PATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("tags", ["--disable-new-dtags", "--enable-new-dtags"])
def test_client_with_its_own_path_to_the_vendor_runs_on_ours_preloaded(
    vendor: Path, library: Path, tmp_path: Path, tags: str
) -> None:
    # DT_RPATH, as in pip's torch, and DT_RUNPATH: only preloading comes before both.
    program = _build(vendor, tmp_path / "client", f"-Wl,{tags},-rpath,{vendor / 'lib'}")
    assert _run(program).returncode != 0, "the vendor's library needs a GPU"
    done = _run(program, LD_PRELOAD=str(library))
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
