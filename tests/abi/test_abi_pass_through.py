# SPDX-License-Identifier: Apache-2.0
"""In pass-through every function reaches the vendor with its arguments, and its answer comes back.

The vendor is a library that only records (recorder.py): complete, or as old as 2.27.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import recorder
from abi_header import Compile, functions, listed_names

from flexlink import probe
from flexlink.probe_model import Communicator

HERE = Path(__file__).parent
SECONDS = 60
REMOTE_ERROR = 6
INVALID_USAGE = 5
SLOWER = 2  # machines that are busy
# What is asked of a communicator that is seen for the first time.
QUESTIONS = ("ncclCommUserRank", "ncclCommCount", "ncclCommQueryProperties")
ANSWERS = {"ncclTeam_t": [7, 8, 9], "int": 42, "const char*": "recorded", "void": None}
NOTHING = {"ncclTeam_t": [0, 0, 0], "int": -1, "void": None, "ncclResult_t": INVALID_USAGE}


@pytest.fixture(scope="session")
def vendor_2_32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorder.build(tmp_path_factory.mktemp("2.32"), 23203)


@pytest.fixture(scope="session")
def vendor_2_27(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorder.build(tmp_path_factory.mktemp("2.27"), 22705, recorder.NAMES_OF_2_27)


def passing(vendor: Path) -> dict[str, str]:
    """The environment in which calls pass through to `vendor`."""
    new = {"FLEXLINK_PASS_THROUGH": "1", "FLEXLINK_NCCL_PATH": str(vendor), "NCCL_DEBUG": ""}
    return os.environ | {"FLEXLINK_DEVICE": "host"} | new


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def call_all(library: Path, vendor: Path, result: int, prefix: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "recorder_client.py")]
    command += [str(library), str(vendor), str(result), prefix]
    answers: dict[str, Any] = json.loads(run(command, passing(vendor)))
    assert list(answers) == list(listed_names())
    return answers


def expected_lines(name: str, answer: dict[str, Any]) -> list[str]:
    if name != "ncclBcast":
        return [answer["expected"]]
    words = answer["expected"].split()  # the recorder calls ncclBroadcast, as the vendor does
    return [answer["expected"], " ".join(["ncclBroadcast", words[1], *words[1:]])]


@pytest.mark.parametrize("prefix", ["", "p"])
@pytest.mark.parametrize("result", [0, REMOTE_ERROR])
def test_every_function_reaches_the_vendor_as_it_was_called(
    library: Path, vendor_2_32: Path, result: int, prefix: str
) -> None:
    for name, answer in call_all(library, vendor_2_32, result, prefix).items():
        recorded = [
            line
            for line in answer["recorded"]
            if line.split()[0] == name or line.split()[0] not in QUESTIONS
        ]
        assert recorded == expected_lines(name, answer)
        assert answer["given"] == ANSWERS.get(functions()[name].result, result), name
        assert answer["text"] == "recorded", name


def test_functions_that_an_older_vendor_lacks_say_so(library: Path, vendor_2_27: Path) -> None:
    for name, answer in call_all(library, vendor_2_27, 0, "").items():
        if name == "ncclGetLastError":  # it tells of the call before it, which was missing
            assert answer["recorded"] == [] and "does not have this function" in answer["given"]
            continue
        if name in recorder.NAMES_OF_2_27:
            assert expected_lines(name, answer)[0] in answer["recorded"]
            continue
        assert answer["recorded"] == []
        assert answer["given"] == NOTHING[functions()[name].result], name
        for word in (name, str(vendor_2_27), "NCCL 2.27.5"):
            assert word in answer["text"], answer["text"]


def test_the_vendors_text_comes_again_after_its_own_failure(
    library: Path, vendor_2_27: Path
) -> None:
    script = (
        "import ctypes, sys\n"
        "nccl, vendor = (ctypes.CDLL(path) for path in sys.argv[1:])\n"
        "nccl.ncclGetLastError.restype = ctypes.c_char_p\n"
        "assert nccl.ncclCommRevoke(None, 0) == 5\n"
        "assert b'ncclCommRevoke' in nccl.ncclGetLastError(None)\n"
        "vendor.recorderSet(4, None, 0)\n"
        "assert nccl.ncclCommAbort(None) == 4\n"
        "print(nccl.ncclGetLastError(None).decode())\n"
    )
    command = [sys.executable, "-c", script, str(library), str(vendor_2_27)]
    assert run(command, passing(vendor_2_27)) == "recorded\n"


CLIENT = r"""
#include <stdio.h>
#include "flexlink/nccl.h"
int main(void) {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return 1;
  if (ncclBcast(&version, 1, ncclInt, 0, (ncclComm_t)0x1000, NULL) != ncclSuccess) return 2;
  printf("%d\n", version);
  return 0;
}
"""


def seen_communicators() -> list[Communicator]:
    """What the probes of this test's processes hold."""
    processes = probe.snapshot([os.environ["FLEXLINK_RUN_DIR"]]).processes
    return [comm for process in processes for comm in process.communicators]


@pytest.mark.parametrize("tags", ["--disable-new-dtags", "--enable-new-dtags"])
def test_preloaded_client_with_its_own_path_reaches_the_vendor_of_that_path(
    library: Path, vendor_2_32: Path, compile_c: Compile, include: str, tags: str
) -> None:
    # DT_RPATH, as in pip's torch, and DT_RUNPATH. Nothing names the vendor but the client itself.
    linker = [str(vendor_2_32), f"-Wl,{tags},-rpath,{vendor_2_32.parent}"]
    program = compile_c(CLIENT, "c99", [include, *linker])
    environment = passing(vendor_2_32) | {"LD_PRELOAD": str(library), "NCCL_DEBUG": "INFO"}
    del environment["FLEXLINK_NCCL_PATH"]
    said = run([str(program)], environment)
    assert said.endswith("\n23203\n")
    where = "RPATH" if tags == "--disable-new-dtags" else "RUNPATH"
    assert f"every call passes through to {vendor_2_32}, NCCL 2.32.3 ({where})" in said
    # The vendor's own call of ncclBroadcast, by its exported name, has not come back to us.
    (comm,) = seen_communicators()
    assert (comm.rank, comm.ranks, comm.entered) == (2, 5, 1)
    assert [(lane.lane, lane.operations, lane.bytes) for lane in comm.lanes] == [("vendor", 1, 4)]


def in_python(script: str, library: Path, vendor: Path, *more: Path) -> str:
    """Runs it with `nccl` and `vendor` opened; `more` are in sys.argv[3:]."""
    head = (
        "import ctypes, sys\n"
        "nccl, vendor = (ctypes.CDLL(path) for path in sys.argv[1:3])\n"
        "ptr, ref = ctypes.c_void_p, ctypes.byref\n"
    )
    command = [sys.executable, "-c", head + script, *map(str, (library, vendor, *more))]
    return run(command, passing(vendor))


def test_child_that_the_vendor_fills_in_late_is_known_by_its_parent(
    library: Path, vendor_2_32: Path
) -> None:
    in_python(
        "class Id(ctypes.Structure): _fields_ = [('bytes', ctypes.c_char * 128)]\n"
        "parent, child, state = ptr(), ptr(), ctypes.c_int()\n"
        "vendor.recorderSet(0, ptr(0x1000), 0)\n"
        "assert nccl.ncclCommInitRank(ref(parent), 5, Id(), 2) == 0\n"
        "vendor.recorderSet(7, None, 7)\n"  # not blocking: nothing is written yet
        "assert nccl.ncclCommSplit(parent, 1, 0, ref(child), None) == 7\n"
        "assert nccl.ncclCommGetAsyncError(parent, ref(state)) == 7\n"
        "vendor.recorderFinish(ptr(0x2000))\n"
        "vendor.recorderSet(0, None, 0)\n"
        "assert nccl.ncclCommGetAsyncError(parent, ref(state)) == 0\n"
        "assert child.value == 0x2000\n"
        "n = ctypes.c_size_t(100)\n"
        "assert nccl.ncclAllReduce(None, None, n, 7, 0, child, None) == 0\n",
        library,
        vendor_2_32,
    )
    parent, child = sorted(seen_communicators(), key=lambda comm: comm.operations)
    assert (parent.rank, parent.ranks, parent.operations) == (2, 5, 0)
    assert (child.rank, child.ranks, child.bytes) == (2, 5, 400)
    assert child.parent == parent.id


def test_two_vendors_in_one_process_keep_apart(
    library: Path, vendor_2_32: Path, vendor_2_27: Path
) -> None:
    in_python(
        "other, version = ctypes.CDLL(sys.argv[3]), ctypes.c_int()\n"
        "vendor.recorderTake.restype = other.recorderTake.restype = ctypes.c_char_p\n"
        "for used, expected in ((nccl, 23203), (vendor, 23203), (other, 22705)):\n"
        "    assert used.ncclGetVersion(ref(version)) == 0 and version.value == expected\n"
        "vendor.recorderTake(), other.recorderTake()\n"
        "assert nccl.ncclMemFree(ptr(16)) == 0 and other.ncclMemFree(ptr(32)) == 0\n"
        "assert vendor.recorderTake() == b'ncclMemFree 0x10\\n'\n"
        "assert other.recorderTake() == b'ncclMemFree 0x20\\n'\n",
        library,
        vendor_2_32,
        vendor_2_27,
    )


def test_host_streams_are_refused_where_the_vendor_has_none(
    library: Path, vendor_2_32: Path
) -> None:
    in_python(
        "nccl.ncclGetLastError.restype = ctypes.c_char_p\n"
        "stream = ptr()\n"
        "assert nccl.flexlinkStreamCreate(ref(stream)) == 5 and stream.value is None\n"
        "assert b'flexlinkStreamCreate' in nccl.ncclGetLastError(None)\n"
        "nccl.flexlinkGetVersion.restype = ctypes.c_char_p\n"
        "assert nccl.flexlinkGetVersion() == b'0.1.0'\n",  # ours, whoever stands behind
        library,
        vendor_2_32,
    )


COST = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
#include "flexlink/nccl.h"
typedef ncclResult_t (*AllReduce)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t,
                                  ncclComm_t, cudaStream_t);
static double nanos(AllReduce call) {
  struct timespec from, to;
  int buffer[2] = {0, 0};
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < 20000; ++i) call(buffer, buffer, 2, ncclInt, ncclSum, (ncclComm_t)16, NULL);
  clock_gettime(CLOCK_MONOTONIC, &to);
  return (double)(to.tv_sec - from.tv_sec) * 5e4 + (double)(to.tv_nsec - from.tv_nsec) / 2e4;
}
int main(int argc, char** argv) {
  AllReduce ours, theirs;
  double best = 1e9;
  if (argc != 3) return 1;
  *(void**)&ours = dlsym(dlopen(argv[1], RTLD_NOW), "ncclAllReduce");
  *(void**)&theirs = dlsym(dlopen(argv[2], RTLD_NOW), "ncclAllReduce");
  for (int i = 0; i < 20; ++i) {
    double more = nanos(ours) - nanos(theirs);
    if (more < best) best = more;
  }
  printf("%.1f\n", best);
  return 0;
}
"""
IDLE_VENDOR = r"""
#include "flexlink/nccl.h"
ncclResult_t ncclGetVersion(int* version) { *version = 23203; return ncclSuccess; }
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) { *rank = 0; return comm == NULL; }
ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) { *count = 1; return comm == NULL; }
ncclResult_t ncclAllReduce(const void* s, void* r, size_t n, ncclDataType_t t, ncclRedOp_t o,
                           ncclComm_t c, cudaStream_t m) {
  return s == NULL || r == NULL || n == 0 || t < 0 || o < 0 || c == NULL || m != NULL;
}
"""


def test_a_call_that_passes_through_costs_little(
    library: Path, compile_c: Compile, include: str
) -> None:
    vendor = compile_c(IDLE_VENDOR, "c99", [include, "-shared", "-fPIC", "-O2"], "libnccl.so.2")
    flags = [include, "-O2", "-D_DEFAULT_SOURCE", "-Wno-pedantic", "-ldl"]
    program = compile_c(COST, "c99", flags)
    more = float(run([str(program), str(library), str(vendor)], passing(vendor)))
    print(f"{more} ns more than the vendor's own call")
    assert more < 1000 * SLOWER
