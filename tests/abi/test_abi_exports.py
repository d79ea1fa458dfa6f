# SPDX-License-Identifier: Apache-2.0
"""What the library shows to a loader: names, bindings, SONAME, needs, and nothing run at load."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from abi_header import listed_names, own_names

# What the C and C++ runtimes that are linked into the library put into .init_array. None of them
# starts a thread, opens a file or reads the environment.
RUNTIME_CONSTRUCTORS = {
    "frame_dummy",
    "__cpu_indicator_init",
    "init_have_lse_atomics",
    "_GLOBAL__sub_I_eh_alloc.cc",
    "_GLOBAL__sub_I_system_error.cc",
    "_GLOBAL__sub_I_memory_resource.cc",
    "_GLOBAL__sub_I_locale_inst.cc",
    "_GLOBAL__sub_I_wlocale_inst.cc",
    "_GLOBAL__sub_I_cxx11_locale_inst.cc",
    "_GLOBAL__sub_I_cxx11_wlocale_inst.cc",
}
NEEDED = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"}


def tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def exported(library: Path) -> dict[str, str]:
    """Name → binding letter of nm (T strong code, W weak code), without versions."""
    rows = (line.split() for line in tool("nm", "-D", "--defined-only", str(library)).splitlines())
    return {name: letter for _, letter, name in rows}


def test_exports_are_the_listed_names_weak_their_twins_strong_and_our_own(library: Path) -> None:
    expected = dict.fromkeys(listed_names(), "W")
    expected |= {f"p{name}": "T" for name in listed_names()}
    expected |= dict.fromkeys(own_names(), "T")
    found = exported(library)
    missing = sorted(expected.keys() - found.keys())
    assert not missing, f"not defined yet: {missing}"
    assert not sorted(found.keys() - expected.keys()), "exported beyond the public names"
    assert found == expected


def test_each_twin_is_the_same_code(library: Path) -> None:
    rows = (line.split() for line in tool("nm", "-D", "--defined-only", str(library)).splitlines())
    address = {name: value for value, _, name in rows}
    assert {n for n in listed_names() if n in address and address[n] != address[f"p{n}"]} == set()


def test_soname_is_the_vendors_and_needs_are_only_the_c_library(library: Path) -> None:
    dynamic = tool("readelf", "-dW", str(library))
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libnccl.so.2"]
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    loader = {name for name in needed if name.startswith("ld-linux")}
    assert set(needed) - loader - NEEDED == set()
    assert not re.findall(r"\((?:RPATH|RUNPATH)\)", dynamic)


def test_symbols_carry_no_version_of_ours(library: Path) -> None:
    assert "VERDEF" not in tool("readelf", "-dW", str(library))


def test_no_call_inside_goes_to_a_public_name_of_another_library(library: Path) -> None:
    rows = [line.split() for line in tool("readelf", "-rW", str(library)).splitlines()]
    symbols = {row[4].split("@")[0] for row in rows if len(row) > 4 and row[2].startswith("R_")}
    assert "memcpy" in symbols  # the table was read
    assert sorted(symbols & exported(library).keys()) == []


def test_stack_is_not_executable_and_no_text_is_relocated(library: Path) -> None:
    assert re.search(r"GNU_STACK.* RW +0x", tool("readelf", "-lW", str(library)))
    assert "TEXTREL" not in tool("readelf", "-dW", str(library))


def test_no_constructor_of_ours_runs_at_load(library: Path) -> None:
    array = re.search(
        r"\.init_array\s+INIT_ARRAY\s+(\w+)\s+\w+\s+(\w+)", tool("readelf", "-SW", str(library))
    )
    assert array is not None
    start, size = int(array[1], 16), int(array[2], 16)
    names: dict[int, set[str]] = {}
    for line in tool("nm", str(library)).splitlines():
        fields = line.split()
        if len(fields) == 3:
            names.setdefault(int(fields[0], 16), set()).add(fields[2])
    run: list[set[str]] = []
    for line in tool("readelf", "-rW", str(library)).splitlines():
        fields = line.split()
        relative = len(fields) >= 4 and "RELATIVE" in fields[2]
        if relative and start <= int(fields[0], 16) < start + size:
            run.append(names.get(int(fields[3], 16), {f"unknown at {fields[3]}"}))
    assert len(run) == size // 8
    assert [entry for entry in run if not entry & RUNTIME_CONSTRUCTORS] == []
    assert "(INIT_ARRAY)" in tool("readelf", "-dW", str(library))
    assert "(PREINIT_ARRAY)" not in tool("readelf", "-dW", str(library))
