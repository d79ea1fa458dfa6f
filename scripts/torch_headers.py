#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles the torch plugin against the oldest torch that it is for and the newest that pip finds.

Of each the wheel alone is downloaded, without what it depends on, into a temporary folder; its
headers are unpacked. Nothing is installed, linked or run. Prints a line for each source that
compiles and, last, "N passed".
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"
sys.path.insert(0, str(ROOT))

from flexlink.torch.build import FLAGS, OLDEST_TORCH, torch_includes  # noqa: E402

# The smallest of the wheels for Linux; what c10d declares is the same on all machines.
WHEEL = ("--only-binary=:all:", "--platform=manylinux_2_28_aarch64", "--python-version=3.11")


def download(wanted: str, folder: Path) -> tuple[str, Path]:
    """Version and headers of the torch that pip chooses for `wanted`, unpacked below `folder`."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *WHEEL]
    subprocess.run([*pip, f"--dest={folder}", wanted], check=True)
    [wheel] = folder.glob("torch-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder, [n for n in packed.namelist() if n.startswith("torch/include/")])
    wheel.unlink()
    return wheel.name.split("-")[1], folder / "torch"


def compiles(source: Path, torch: Path) -> str:
    """What the compiler says against this source; nothing: it compiles."""
    python = Path(sysconfig.get_paths()["include"])
    own = ROOT / "native" / "include"
    command = [os.environ.get("CXX", "c++"), *FLAGS, "-O0", *torch_includes(own, torch, python)]
    done = subprocess.run(
        [*command, "-c", str(source), "-o", os.devnull], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stderr[:4000] or f"exit code {done.returncode}"


def main() -> int:
    """Both ends of the range."""
    sources = sorted((ROOT / "plugins" / "torch").glob("*.cc"))
    passed = failed = 0
    for wanted in (f"torch=={OLDEST_TORCH[0]}.{OLDEST_TORCH[1]}.0", "torch"):
        with tempfile.TemporaryDirectory(prefix="flexlink-torch-headers-") as temporary:
            version, torch = download(wanted, Path(temporary))
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                said = list(pool.map(partial(compiles, torch=torch), sources))
        for source, errors in zip(sources, said, strict=True):
            print(f"torch {version}: {source.name} {errors and 'FAILED'}\n{errors}".rstrip())
            passed, failed = passed + (not errors), failed + bool(errors)
    print(f"{passed} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
