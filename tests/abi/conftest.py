# SPDX-License-Identifier: Apache-2.0
"""What the ABI tests share: the library under test, a compiler, and the vendor's library.

FLEXLINK_LIBRARY names the library; without it the newest build/*/libflexlink.so is taken.
FLEXLINK_VENDOR_WHEEL names a wheel of nvidia-nccl-cu13 that is already on this machine; without it
pip is asked once (set FLEXLINK_VENDOR_WHEEL=none to go without).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from abi_header import INCLUDE, REPOSITORY, Compile

VENDOR_WHEEL = "nvidia-nccl-cu13==2.32.3"
FETCH_SECONDS = 100  # 305 MB; less than one test may take
VENDOR_CACHE = REPOSITORY / "build" / "vendor" / "nccl-2.32.3"


def _newest_build() -> Path | None:
    builds = sorted(
        (REPOSITORY / "build").glob("*/libflexlink.so"), key=lambda path: path.stat().st_mtime
    )
    return builds[-1] if builds else None


@pytest.fixture(scope="session")
def library() -> Path:
    """Path of the libflexlink.so under test."""
    named = os.environ.get("FLEXLINK_LIBRARY")
    path = Path(named) if named else _newest_build()
    if path is None or not path.is_file():
        pytest.fail(
            f"no library to test ({path}): build it (cmake -S native -B build/dev -G Ninja && "
            "ninja -C build/dev) or set FLEXLINK_LIBRARY"
        )
    return path.resolve()


@pytest.fixture(scope="session")
def second_copy(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second copy of the library, which stands in for the vendor."""
    path = tmp_path_factory.mktemp("vendor") / "libnccl.so.2"
    shutil.copy(library, path)
    return path


@pytest.fixture
def compile_c(tmp_path: Path) -> Compile:
    """compile_c(source, standard, flags): the program or object; fails with the compiler's words.

    `source` is C for a standard like c99 and C++ for one like c++20.
    """

    def compile_(
        source: str, standard: str = "c99", flags: Sequence[str] = (), name: str = "program"
    ) -> Path:
        plus = standard.startswith("c++")
        path = tmp_path / f"{name}.{'cc' if plus else 'c'}"
        path.write_text(source)
        output = tmp_path / name
        strict = ["-Wall", "-Wextra", "-pedantic", "-Werror", f"-std={standard}"]
        command = ["c++" if plus else "cc", *strict, str(path), "-o", str(output), *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            pytest.fail(f"{' '.join(command)}\n{done.stderr}")
        return output

    return compile_


@pytest.fixture(scope="session")
def include() -> str:
    """The compiler flag for our public headers."""
    return f"-I{INCLUDE}"


def _fetch_vendor_wheel() -> Path:
    named = os.environ.get("FLEXLINK_VENDOR_WHEEL", "")
    if named == "none":
        pytest.skip("FLEXLINK_VENDOR_WHEEL=none: not compared with the vendor's library")
    if named:
        return Path(named)
    VENDOR_CACHE.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", VENDOR_WHEEL]
    command += ["--dest", str(VENDOR_CACHE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{VENDOR_WHEEL} did not arrive within {FETCH_SECONDS} s")
    wheels = sorted(VENDOR_CACHE.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"{VENDOR_WHEEL} cannot be had from pip here: {reason}")
    return wheels[-1]


@pytest.fixture(scope="session")
def vendor() -> Path:
    """The folder of the vendor's NCCL: include/ and lib/libnccl.so.2. Skips when out of reach."""
    root = VENDOR_CACHE / "nvidia" / "nccl"
    if (root / "lib" / "libnccl.so.2").is_file():
        return root
    wheel = _fetch_vendor_wheel()
    wanted = ("nvidia/nccl/include/", "nvidia/nccl/lib/libnccl.so.2")
    unpacked = VENDOR_CACHE.with_name(f"{VENDOR_CACHE.name}.{os.getpid()}")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked, [n for n in archive.namelist() if n.startswith(wanted)])
    VENDOR_CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(VENDOR_CACHE / "nvidia", ignore_errors=True)
    (unpacked / "nvidia").rename(VENDOR_CACHE / "nvidia")
    shutil.rmtree(unpacked)
    return root
