# SPDX-License-Identifier: Apache-2.0
"""Finds the plugin for the torch that is here, or compiles it: c10d's classes have no stable ABI.

setup.py puts it into the package where torch is installed already; else the first process group
compiles it into the user's cache. Either compiles once for each version of torch, Python, sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flexlink._native import package_file
from flexlink.errors import FlexlinkError

NAME = "flexlink_c10d"
OLDEST_TORCH = (2, 9)  # whose headers the sources compile against; scripts/soak takes it from here
FLAGS = ("-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-w")
LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python")


def plugin_path() -> Path:
    """Path of the compiled plugin for this torch; compiles it when there is none.

    Raises:
        FlexlinkError: no compiler, no headers, or the compiler failed; with its first errors.
    """
    packaged = package_file(".") / "torch" / file_name()
    return packaged if packaged.exists() else compiled(package_file("torch_source"), _user_cache())


def compiled(sources: Path, cache: Path) -> Path:
    """Path of the plugin made of these sources, somewhere below `cache`, where it stays.

    Args:
        sources: as for compile_plugin().
        cache: a folder; others may compile into it at the same time.
    Raises:
        FlexlinkError: as compile_plugin().
    """
    folder = cache / f"{file_name()}-{_digest(sources)}"
    path = folder / file_name()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The kernel drops the lock with its holder: a killed rank blocks nobody.
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _say(f"compiling the plugin for torch {_torch_version()} into {folder} (once)")
                compile_plugin(sources, path)
    return path


def file_name() -> str:
    """Name of the plugin for this torch and this Python."""
    return f"{NAME}-torch{_torch_version()}-{sys.implementation.cache_tag}.so"


def compile_plugin(sources: Path, output: Path) -> None:
    """Compiles all C++ files of `sources` against the torch that can be imported.

    Args:
        sources: a folder with *.cc, *.h and include/flexlink/*.h.
        output: the file to make; it appears whole or not at all.
    Raises:
        FlexlinkError: what is missing, or what the compiler said.
    """
    _check_torch()
    command = [*_compiler(), *FLAGS, *_includes(sources)]
    with tempfile.TemporaryDirectory(prefix="flexlink-torch-") as temporary:
        objects = Path(temporary)

        def compile_one(source: Path) -> Path:
            target = objects / f"{source.stem}.o"
            _run([*command, "-c", str(source), "-o", str(target)])
            return target

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            made = list(pool.map(compile_one, sorted(sources.glob("*.cc"))))
        linked = objects / "linked.so"
        libraries = [f"-l{name}" for name in LIBRARIES]
        folder = f"-L{_torch_folder() / 'lib'}"
        _run([_compiler()[-1], "-shared", *map(str, made), folder, *libraries, "-o", str(linked)])
        partial = output.with_suffix(f".{os.getpid()}")
        shutil.copy2(linked, partial)
        partial.replace(output)


def _torch_folder() -> Path:
    import torch

    return Path(torch.__file__).resolve().parent


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def _check_torch() -> None:
    have = tuple(map(int, _torch_version().split(".")[:2]))
    if have < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise FlexlinkError(
            f'the backend "flexlink" needs torch {oldest} or newer, and this is torch '
            f"{_torch_version()}; pip install 'torch>={oldest}'"
        )


def _compiler() -> list[str]:
    """The C++ compiler, behind ccache where that is installed."""
    wanted = os.environ.get("CXX", "c++")
    found = shutil.which(wanted)
    if found is None:
        raise FlexlinkError(
            f"the torch plugin must be compiled for torch {_torch_version()}, and there is no C++ "
            f"compiler {wanted!r} on PATH. Install one (Debian: apt-get install g++), set CXX, or "
            "install flexlink with torch present and --no-build-isolation"
        )
    cache = shutil.which("ccache")
    return [cache, found] if cache else [found]


def _includes(sources: Path) -> list[str]:
    python = Path(sysconfig.get_paths()["include"])
    if not (python / "Python.h").exists():
        raise FlexlinkError(
            f"the torch plugin must be compiled, and {python / 'Python.h'} is not there. "
            "Debian: apt-get install python3-dev"
        )
    return torch_includes(sources / "include", _torch_folder(), python)


def torch_includes(own: Path, torch: Path, python: Path) -> list[str]:
    """The compiler's flags for folders of headers: flexlink's, below torch's package, Python's."""
    include = torch / "include"
    system = [include, include / "torch" / "csrc" / "api" / "include", python]
    return [f"-I{own}", *(f"-isystem{path}" for path in system)]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        errors = "\n".join(done.stderr.splitlines()[:20])
        raise FlexlinkError(
            f"the torch plugin does not compile for torch {_torch_version()}: "
            f"{' '.join(command)}\n{errors}"
        )


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flexlink" / "torch"


def _digest(sources: Path) -> str:
    from flexlink import __version__

    digest = hashlib.sha256(" ".join([__version__, *FLAGS]).encode())
    for path in sorted(sources.rglob("*.[ch]*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _say(text: str) -> None:
    print(f"flexlink: {text}", file=sys.stderr, flush=True)
