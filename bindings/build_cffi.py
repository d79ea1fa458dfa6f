# SPDX-License-Identifier: Apache-2.0
"""Builds flexlink._cffi (cffi API mode): setup.py names `builder`; not for run time.

Each call goes through a table of pointers that bridgeOpen fills, so the module has no link-time
dependency on any libnccl.so.2. Macros put the table between cffi's wrappers and names.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
INCLUDE = HERE.parent / "native" / "include"


def function_names(declarations: str) -> list[str]:
    """Names of all functions of the library that `declarations` declares, in order."""
    return re.findall(r"\b((?:nccl|flexlink)[A-Z]\w*)\(", declarations)


def module_source(names: list[str]) -> str:
    """C text of the module: real headers, the table, then one macro for each function."""
    table = " ".join(f"X({name})" for name in names)
    redirects = "\n".join(f"#define {name} (*{name}Entry)" for name in names)
    return "\n".join(
        [
            "#include <dlfcn.h>",
            "#include <stdint.h>",
            "#include <stdio.h>",
            '#include "flexlink/flexlink.h"',
            '#include "flexlink/nccl.h"',
            f"#define FLEXLINK_FUNCTIONS(X) {table}",
            (HERE / "bridge.c").read_text(),
            redirects,
            "",
        ]
    )


def make_builder() -> FFI:
    """The FFI object that cffi's setuptools hook compiles."""
    declarations = (HERE / "declarations.cdef").read_text()
    bridge = (HERE / "bridge.cdef").read_text()
    ffi = FFI()
    ffi.cdef(declarations + bridge)
    ffi.set_source(
        "flexlink._cffi",
        module_source(function_names(declarations)),
        include_dirs=[str(INCLUDE)],
        depends=[str(HERE / "bridge.c"), *map(str, sorted(INCLUDE.glob("flexlink/*.h")))],
        extra_compile_args=[
            "-std=gnu11",
            "-Werror=incompatible-pointer-types",
            "-Werror=int-conversion",
            "-fvisibility=hidden",
        ],
        libraries=["dl"],
        py_limited_api=True,
    )
    return ffi


builder = make_builder()
