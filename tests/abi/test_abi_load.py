# SPDX-License-Identifier: Apache-2.0
"""Loading costs a process nothing; the names work from C by dlopen, by linking and by preload."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from abi_header import Compile

# Loads the library and compares threads and open files before and after; then asks for versions.
LOADER = r"""
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "flexlink/flexlink.h"

static int entries(const char* path) {
  int count = 0;
  DIR* folder = opendir(path);
  while (folder != NULL && readdir(folder) != NULL) ++count;
  if (folder != NULL) closedir(folder);
  return count;
}

int main(int argc, char** argv) {
  int threads = entries("/proc/self/task");
  int files = entries("/proc/self/fd");
  void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  ncclResult_t (*version)(int*) = NULL;
  const char* (*own)(void) = NULL;
  int code = 0;
  if (library == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  if (entries("/proc/self/task") != threads) return 2;
  if (entries("/proc/self/fd") != files) return 3;
  *(void**)&version = dlsym(library, "ncclGetVersion");
  *(void**)&own = dlsym(library, "flexlinkGetVersion");
  if (version == NULL || version(&code) != ncclSuccess || code != NCCL_VERSION_CODE) return 4;
  if (own == NULL || strcmp(own(), "0.1.0") != 0) return 5;
  if (dlsym(library, "pncclGetVersion") != (void*)version) return 6;
  if (entries("/proc/self/task") != threads) return 7;
  return dlclose(library);
}
"""

CLIENT = r"""
#include <stdio.h>

#include "flexlink/nccl.h"

int main(void) {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return 1;
  printf("%d %s\n", version, ncclGetErrorString(ncclInvalidUsage));
  return 0;
}
"""

# A profiling tool: it takes the place of ncclGetVersion and calls on to the twin.
TOOL = r"""
#include "flexlink/nccl.h"

ncclResult_t ncclGetVersion(int* version) {
  ncclResult_t result = pncclGetVersion(version);
  *version += 1;
  return result;
}
"""


def _named_as_vendor(library: Path, folder: Path) -> Path:
    link = folder / "libnccl.so.2"
    link.symlink_to(library)
    return link


def test_loading_starts_no_thread_and_opens_no_file(
    compile_c: Compile, include: str, library: Path
) -> None:
    program = compile_c(LOADER, "c99", [include, "-D_DEFAULT_SOURCE", "-Wno-pedantic", "-ldl"])
    done = subprocess.run([program, library], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


def test_linked_client_finds_the_library_by_the_vendors_soname(
    compile_c: Compile, include: str, library: Path, tmp_path: Path
) -> None:
    link = _named_as_vendor(library, tmp_path)
    program = compile_c(CLIENT, "c99", [include, str(link)])
    needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, timeout=30)
    assert "[libnccl.so.2]" in needed.stdout
    done = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
    )
    expected = "23203 invalid usage (run with NCCL_DEBUG=WARN for details)\n"
    assert (done.returncode, done.stdout) == (0, expected)


def test_preloaded_under_any_file_name_it_satisfies_the_client(
    compile_c: Compile, include: str, library: Path, tmp_path: Path
) -> None:
    link = _named_as_vendor(library, tmp_path)
    program = compile_c(CLIENT, "c99", [include, str(link)])
    link.unlink()
    done = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"LD_PRELOAD": str(library)},
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "23203")


def test_tool_that_replaces_a_function_reaches_the_real_one_by_its_twin(
    compile_c: Compile, include: str, library: Path, tmp_path: Path
) -> None:
    link = _named_as_vendor(library, tmp_path)
    tool = compile_c(TOOL, "c99", [include, "-shared", "-fPIC"], name="tool.so")
    program = compile_c(CLIENT, "c99", [include, str(link)])
    done = subprocess.run(
        [program],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"LD_PRELOAD": str(tool), "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "23204")


def test_soname_makes_a_later_load_by_name_find_the_loaded_library(library: Path) -> None:
    script = (
        "import ctypes, sys\n"
        "first = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)\n"
        "second = ctypes.CDLL('libnccl.so.2')\n"
        "print(first._handle == second._handle)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, library], capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "True\n", done.stderr


def test_children_of_a_preloaded_shell_run_as_before(library: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", "true && cat /dev/null && echo fine"],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"LD_PRELOAD": str(library), "NCCL_DEBUG": "TRACE"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_ctypes_calls_the_version_with_null(library: Path) -> None:
    loaded = ctypes.CDLL(str(library))
    assert loaded.ncclGetVersion(None) == 4
