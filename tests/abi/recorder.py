# SPDX-License-Identifier: Apache-2.0
"""A vendor's library that does nothing but say which function was called with which arguments.

Its C text is made from our own header, so that no function is forgotten. It knows one line of
text for each call: `ncclAllReduce 0x10 0x20 1 7 0 0x30 0x40`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from abi_header import INCLUDE, Function, functions, listed_names

# What 2.27.5 exports; all other functions came later.
NAMES_OF_2_27 = tuple(
    f"nccl{name}"
    for name in """
    AllGather AllReduce Bcast Broadcast CommAbort CommCount CommCuDevice CommDeregister CommDestroy
    CommFinalize CommGetAsyncError CommInitAll CommInitRank CommInitRankConfig CommInitRankScalable
    CommRegister CommShrink CommSplit CommUserRank CommWindowDeregister CommWindowRegister
    GetErrorString GetLastError GetUniqueId GetVersion GroupEnd GroupSimulateEnd GroupStart MemAlloc
    MemFree Recv RedOpCreatePreMulSum RedOpDestroy Reduce ReduceScatter ResetDebugInit Send
    """.split()
)

_HEAD = r"""
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "flexlink/nccl.h"

static char lines[1 << 16];
static size_t used;
static int result;            /* what every function gives */
static ncclComm_t child;      /* what creating functions write; NULL: nothing */
static ncclComm_t* lastPlace; /* of the last one */
static ncclResult_t state;    /* what ncclCommGetAsyncError writes */

static void add(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  used += (size_t)vsnprintf(lines + used, sizeof lines - used, format, arguments);
  va_end(arguments);
}
static void addBytes(const void* bytes, size_t count) {
  add(" ");
  for (size_t i = 0; i < count; ++i) add("%02x", ((const unsigned char*)bytes)[i]);
}
const char* recorderTake(void) {
  static char taken[sizeof lines];
  memcpy(taken, lines, used + 1);
  used = 0;
  lines[0] = 0;
  return taken;
}
void recorderSet(int nextResult, ncclComm_t nextChild, int nextState) {
  result = nextResult;
  child = nextChild;
  state = (ncclResult_t)nextState;
}
/* The vendor finishes what it was making. */
void recorderFinish(ncclComm_t made) { *lastPlace = made; }
static void make(ncclComm_t* place) {
  lastPlace = place;
  if (child != NULL) *place = child;
}
"""

# What some functions do besides; aN are their parameters.
_EXTRA = {
    "ncclGetVersion": "*a0 = VERSION;",
    "ncclCommUserRank": "*a1 = 2;",
    "ncclCommCount": "*a1 = 5;",
    "ncclCommGetAsyncError": "*a1 = state;",
    "ncclCommInitRank": "make(a0);",
    "ncclCommInitRankConfig": "make(a0);",
    "ncclCommSplit": "make(a3);",
    # As the vendor does, through its own exported name.
    "ncclBcast": "ncclBroadcast(a0, a0, a1, a2, a3, a4, a5);",
}
_RETURN = {
    "ncclResult_t": "return (ncclResult_t)result;",
    "ncclTeam_t": "return (ncclTeam_t){7, 8, 9};",
    "int": "return 42;",
    "const char*": 'return "recorded";',
    "void": "",
}
_STRUCTS = ("ncclUniqueId", "ncclTeam_t", "ncclMultimemHandle_t")
_HANDLES = ("ncclComm_t", "ncclWindow_t", "ncclParamHandle_t", "cudaStream_t")


def is_pointer(kind: str) -> bool:
    """Is a parameter of this C type an address?"""
    return kind.endswith("*") or kind.removeprefix("const ") in _HANDLES


def _body(function: Function) -> str:
    said = [f'add("%s", "{function.name}");']
    for i, kind in enumerate(function.parameters):
        if is_pointer(kind):
            said.append(f'add(" %p", (void*)a{i});')
        elif kind in _STRUCTS:
            said.append(f"addBytes(&a{i}, sizeof a{i});")
        else:
            said.append(f'add(" %lld", (long long)a{i});')
    parameters = ", ".join(f"{kind} a{i}" for i, kind in enumerate(function.parameters)) or "void"
    extra = _EXTRA.get(function.name, "")
    lines = " ".join([*said, 'add("\\n");', extra, _RETURN[function.result]])
    return f"{function.result} {function.name}({parameters}) {{ {lines} }}\n"


def build(folder: Path, version: int, names: Iterable[str] = listed_names()) -> Path:
    """Compiles the library with these functions; the path of its libnccl.so.2 in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    source, library = folder / "recorder.c", folder / "libnccl.so.2"
    source.write_text(_HEAD + "".join(_body(functions()[name]) for name in names))
    command = ["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", f"-DVERSION={version}"]
    command += [f"-I{INCLUDE}", "-Wl,-soname,libnccl.so.2", str(source), "-o", str(library)]
    subprocess.run(command, check=True, timeout=60)
    return library
