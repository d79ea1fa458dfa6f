# SPDX-License-Identifier: Apache-2.0
"""The installed package: what is in it, what importing costs, what the small commands print."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import flexlink

BIN = Path(sys.executable).parent


def output(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_holds_library_program_and_types() -> None:
    package = Path(flexlink.__file__).parent
    assert "site-packages" in str(package)
    for name in ("lib/libflexlink.so", "lib/flexlink_perf", "py.typed"):
        assert (package / name).is_file(), name
    assert [path.name for path in package.glob("_cffi*")] == ["_cffi.abi3.so"]
    assert os.access(package / "lib" / "flexlink_perf", os.X_OK)


def test_importing_opens_no_library_no_socket_and_starts_no_thread() -> None:
    program = (
        "import os, sys, threading\n"
        "before = set(os.listdir('/proc/self/fd'))\n"
        "import flexlink\n"
        "assert set(os.listdir('/proc/self/fd')) == before\n"
        "assert threading.active_count() == 1 and len(os.listdir('/proc/self/task')) == 1\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert 'libflexlink' not in maps and '_cffi' not in maps, maps\n"
        "heavy = {'numpy', 'torch', 'cffi', 'mpi4py', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    output(sys.executable, "-c", program)


def test_all_versions_agree() -> None:
    version = importlib.metadata.version("flexlink")
    assert flexlink.__version__ == version
    expected = f"flexlink {version} (stands for NCCL 2.32.3)\n"
    assert output(str(BIN / "flexlink"), "--version") == expected
    assert output(sys.executable, "-m", "flexlink", "--version") == expected


def test_module_and_console_script_print_the_same_help() -> None:
    script = output(str(BIN / "flexlink"), "--help")
    assert script == output(sys.executable, "-m", "flexlink", "--help")
    for command in ("run", "perf", "links", "lib", "settings"):
        assert f"\n  {command} " in script


def test_lib_prints_what_ld_preload_takes() -> None:
    path = output(str(BIN / "flexlink"), "lib").strip()
    assert Path(path).is_absolute()
    program = (
        "import ctypes\n"
        "version = ctypes.c_int()\n"
        "assert ctypes.CDLL('libnccl.so.2').ncclGetVersion(ctypes.byref(version)) == 0\n"
        "print(version.value)\n"
        "import flexlink, re\n"
        "print(len(flexlink.unique_id()))\n"
        "maps = open('/proc/self/maps').read()\n"
        "print(len(set(re.findall(r'\\S*(?:libflexlink|libnccl)\\S*', maps))))\n"
    )
    printed = output(sys.executable, "-c", program, env={"LD_PRELOAD": path})
    assert printed.split() == ["23203", "128", "1"]


def test_settings_prints_values_and_where_they_came_from() -> None:
    command = (str(BIN / "flexlink"), "settings")
    assert "\nFLEXLINK_TIMEOUT = 0 s   [default]\n" in "\n" + output(*command)
    changed = output(*command, env={"FLEXLINK_TIMEOUT": "7"})
    assert "FLEXLINK_TIMEOUT = 7 s   [environment]\n" in changed
    kernels = changed.splitlines()[-1]
    assert re.fullmatch(r"CUDA kernels in this library: (none: .+|sm_.+, by nvcc [0-9.]+)", kernels)


def test_an_unknown_command_is_refused_with_the_list() -> None:
    done = subprocess.run(
        [str(BIN / "flexlink"), "rnu"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "there is no command 'rnu'" in done.stderr
    assert "flexlink run" not in done.stdout


def test_without_a_launcher_init_says_what_to_do() -> None:
    env = {key: value for key, value in os.environ.items() if "RANK" not in key}
    done = subprocess.run(
        [sys.executable, "-c", "import flexlink; flexlink.init()"],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )
    assert done.returncode == 1
    assert "no launcher found" in done.stderr
    assert "flexlink run -n N" in done.stderr


def test_lib_vendor_prints_what_calls_would_pass_through_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flexlink", "lib", "--vendor"]
    named = tmp_path / "libnccl.so.2"
    named.write_bytes(b"no library")
    environment = {**os.environ, "FLEXLINK_NCCL_PATH": str(named)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{named} (FLEXLINK_NCCL_PATH): " in done.stderr
    # A second copy of the library stands in for the vendor.
    shutil.copy(Path(flexlink.__file__).parent / "lib" / "libflexlink.so", named)
    assert output(*command, env={"FLEXLINK_NCCL_PATH": str(named)}) == f"{named}\n"
