# SPDX-License-Identifier: Apache-2.0
"""The same questions to the vendor's NCCL 2.32.3 and to ours: headers, layouts, names, answers.

Skipped, with the reason, where the vendor's wheel cannot be had. No GPU is used.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wrong_calls
from abi_header import INCLUDE, STANDIN, Compile, functions, listed_names

# The vendor declares these for other systems only; their types are in its debug information.
UNDECLARED = {"ncclGinOutboxCreateRequirement", "ncclGinInboxA2ACreateRequirement"}
UNDECLARED_STRUCTS = {"ncclGinOutboxHandle", "ncclGinInboxA2AHandle"}
# Constants that are macros, and so not among the enumerators that are read from the header.
# fmt: off
MACROS = [
    "NCCL_MAJOR", "NCCL_MINOR", "NCCL_PATCH", "NCCL_VERSION_CODE", "NCCL_UNIQUE_ID_BYTES",
    "NCCL_CONFIG_UNDEF_INT", "NCCL_API_MAGIC", "NCCL_SPLIT_NOCOLOR", "NCCL_WIN_DEFAULT",
    "NCCL_WIN_COLL_SYMMETRIC", "NCCL_WIN_STRICT_ORDERING", "NCCL_WIN_GIN_ONLY",
    "NCCL_WIN_CFT_COUNTED", "NCCL_WIN_REQUIRED_ALIGNMENT", "NCCL_CTA_POLICY_DEFAULT",
    "NCCL_CTA_POLICY_EFFICIENCY", "NCCL_CTA_POLICY_ZERO", "NCCL_SHRINK_DEFAULT",
    "NCCL_SHRINK_ABORT", "NCCL_REVOKE_DEFAULT", "NCCL_SUSPEND_MEM",
]
# fmt: on
INITIALISERS = {
    "ncclConfig_t": "NCCL_CONFIG_INITIALIZER",
    "ncclCollConfig_t": "NCCL_COLLCONFIG_INITIALIZER",
    "ncclSimInfo_t": "NCCL_SIM_INFO_INITIALIZER",
    "ncclEncryptionConfig_t": "NCCL_ENCRYPTION_CONFIG_INITIALIZER",
    "ncclCommProperties_t": "NCCL_COMM_PROPERTIES_INITIALIZER",
    "ncclDevCommRequirements_t": "NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER",
}
VENDOR_HEADERS = "#include <nccl.h>\n#include <nccl_device/host.h>\n"


def _preprocessed(source: str, flags: list[str]) -> str:
    command = ["c++", "-std=c++17", "-E", "-P", "-x", "c++", "-", *flags]
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def _vendor_flags(vendor: Path) -> list[str]:
    return ["-isystem", str(vendor / "include"), "-isystem", str(STANDIN), "-DNCCL_OS_LINUX"]


def _structs_and_numbers() -> tuple[dict[str, list[str]], list[str]]:
    """Struct → its fields, and all enumerators, as our own header has them."""
    text = _preprocessed('#include "flexlink/nccl.h"\n', [f"-I{INCLUDE}"])
    text = text[text.index("typedef struct ncclComm*") :]
    structs: dict[str, list[str]] = {}
    for body, name in re.findall(r"typedef struct \w*\s?\{((?:[^{}]|\{[^}]*\})*)\} (\w+);", text):
        flat = re.sub(r"\{[^}]*\}", "", body)
        structs[name] = re.findall(r"(\w+)(?:\[[^\]]*\])?;", flat)
    numbers = []
    for body in re.findall(r"typedef enum\s*(?::\s*int\s*)?\{([^}]*)\}", text):
        numbers += re.findall(r"(?:^|,) ?(\w+)", body)
    structs["ncclDevComm_t"].remove("internal")
    return {name: structs[name] for name in structs.keys() - UNDECLARED_STRUCTS}, numbers


def _question() -> str:
    """A C++ program body that prints every size, offset, number and initialiser."""
    structs, numbers = _structs_and_numbers()
    lines = []
    for struct, fields in structs.items():
        lines.append(f'printf("sizeof:{struct} %zu\\n", sizeof({struct}));')
        for field in fields:
            place = f"offsetof({struct}, {field})"
            lines.append(f'printf("{struct}.{field} %zu\\n", {place});')
    lines += [f'printf("{name} %lld\\n", (long long)({name}));' for name in numbers + MACROS]
    for struct, initialiser in INITIALISERS.items():
        lines.append(f"{{ static const {struct} value = {initialiser};")
        lines.append(f'printf("{initialiser}"); show(&value, sizeof value); }}')
    return (
        "#include <cstddef>\n#include <cstdio>\n"
        "static void show(const void* value, size_t bytes) {\n"
        "  for (size_t i = 0; i < bytes; ++i) "
        'printf(" %02x", static_cast<const unsigned char*>(value)[i]);\n'
        '  printf("\\n");\n}\n'
        "int main() {\n" + "\n".join(lines) + "\n}\n"
    )


def _answers(program: Path) -> dict[str, str]:
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_layouts_numbers_and_initialisers_are_the_vendors(
    vendor: Path, compile_c: Compile, include: str
) -> None:
    body = _question()
    lenient = ["-Wno-missing-field-initializers", "-Wno-invalid-offsetof"]
    ours = compile_c('#include "flexlink/nccl.h"\n' + body, "c++17", [include, *lenient], "ours")
    theirs = compile_c(VENDOR_HEADERS + body, "c++17", [*_vendor_flags(vendor), *lenient], "theirs")
    found, expected = _answers(ours), _answers(theirs)
    assert len(expected) > 240
    assert found == expected


def _vendor_signatures(vendor: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    text = _preprocessed(VENDOR_HEADERS, _vendor_flags(vendor))
    text = re.sub(r"__attribute__ ?\(\((?:[^()]|\([^()]*\))*\)\)", "", text)
    pattern = r"((?:const )?\w+ ?\*?) ?\b(nccl\w+) ?\(([^(){}]*)\) ?;"
    found = {}
    for result, name, parameters in re.findall(pattern, text):
        parts = [] if parameters.strip() in ("", "void") else parameters.split(",")
        types = tuple(_plain_type(part) for part in parts)
        found[name] = (result.replace(" *", "*").strip(), types)
    return found


def _plain_type(parameter: str) -> str:
    text = re.sub(r"=.*", "", parameter).strip()
    text = re.sub(r"\b(\w+) const ?\*", r"const \1*", text)
    text = re.sub(r"(?<=[\s*])\w+$", "", text).strip()
    return re.sub(r" ?\* ?", "*", text).strip()


def test_own_header_works_with_the_vendors_in_place_of_ours(
    vendor: Path, compile_c: Compile, include: str
) -> None:
    # A program that has nccl.h already can add FlexLink's streams without a clash.
    source = '#include <nccl.h>\n#include "flexlink/flexlink.h"\nint main(void) { return 0; }\n'
    for standard in ("c99", "c++17"):
        compile_c(source, standard, [*_vendor_flags(vendor), include])


def test_signatures_are_the_vendors(vendor: Path) -> None:
    theirs = _vendor_signatures(vendor)
    ours = {n: (functions()[n].result, functions()[n].parameters) for n in listed_names()}
    assert set(ours) - set(theirs) == UNDECLARED
    assert ours == {n: theirs.get(n, ours[n]) for n in ours}


def test_exported_names_and_bindings_are_the_vendors(vendor: Path, library: Path) -> None:
    def names(path: Path) -> dict[str, str]:
        command = ["nm", "-D", "--defined-only", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        rows = (line.split() for line in done.stdout.splitlines())
        return {name: letter for _, letter, name in rows if not name.startswith("flexlink")}

    # One helper of the vendor's own is no function of the API, and no client names it.
    theirs = names(vendor / "lib" / "libnccl.so.2")
    del theirs["ncclResetDebugInitInternal"]
    assert names(library) == theirs


@pytest.fixture(scope="module")
def both(vendor: Path, library: Path) -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """(the vendor's library, ours), loaded apart from each other in one process."""
    loaded = tuple(ctypes.CDLL(str(p)) for p in (vendor / "lib" / "libnccl.so.2", library))
    for nccl in loaded:
        nccl.ncclGetErrorString.restype = ctypes.c_char_p
    return loaded[0], loaded[1]


def test_error_strings_are_the_vendors(both: tuple[ctypes.CDLL, ctypes.CDLL]) -> None:
    theirs, ours = both
    for code in [*range(-3, 30), 2**31 - 1, -(2**31)]:
        assert ours.ncclGetErrorString(code) == theirs.ncclGetErrorString(code)


def test_version_is_the_vendors(both: tuple[ctypes.CDLL, ctypes.CDLL]) -> None:
    versions = []
    for nccl in both:
        version = ctypes.c_int()
        assert nccl.ncclGetVersion(ctypes.byref(version)) == 0
        versions.append(version.value)
    assert versions == [23203, 23203]


def test_slots_are_counted_as_the_vendor_counts(both: tuple[ctypes.CDLL, ctypes.CDLL]) -> None:
    theirs, ours = both
    interesting = [0, 1, 7, 8, 9, 1000, 2**20, 2**31 - 1, -1, -7, -8, -9, -(2**31)]
    for elements in interesting:
        for size in interesting:
            expected = theirs.ncclLLA2ACalcSlots(elements, size)
            assert ours.ncclLLA2ACalcSlots(elements, size) == expected, (elements, size)


def test_null_arguments_get_the_vendors_codes(vendor: Path, library: Path) -> None:
    theirs = wrong_calls.ask(vendor / "lib" / "libnccl.so.2", "null")
    ours = wrong_calls.ask(library, "null")
    different = {}
    for name in listed_names():
        crashed = theirs[name].ended != 0
        no_gpu = theirs[name].code == 1  # where the vendor fails for want of CUDA, we need not
        refused = "needs NVIDIA's" in ours[name].text or "needs a GPU" in ours[name].text
        if not crashed and not no_gpu and not refused and ours[name].code != theirs[name].code:
            different[name] = (ours[name], theirs[name])
    assert different == {}


# What a program without a GPU gets of NCCL: version, an id, and an error with its text.
ASKING = """
import ctypes, sys
from flexlink.vendor import UniqueId, Vendor
vendor, made, comm = Vendor(sys.argv[1]), UniqueId(), ctypes.c_void_p()
code = vendor.nccl.ncclGetUniqueId(ctypes.byref(made))
name = bytes(made)
print(vendor.version(), code, any(name[:40]), any(name[40:]))
print(vendor.nccl.ncclCommInitRank(ctypes.byref(comm), 1, made, 0), comm.value)
print(vendor.nccl.ncclGetLastError(None), vendor.nccl.ncclGroupEnd())
print(vendor.nccl.ncclGetLastError(None), vendor.nccl.ncclCommDestroy(None))
"""


def test_calls_pass_through_to_the_vendor_as_if_it_were_called_itself(
    vendor: Path, library: Path
) -> None:
    theirs = vendor / "lib" / "libnccl.so.2"
    said = {}
    for asked in (theirs, library):
        environment = os.environ | {
            "FLEXLINK_PASS_THROUGH": "1",
            "FLEXLINK_NCCL_PATH": str(theirs),
            "CUDA_VISIBLE_DEVICES": "",
            "NCCL_DEBUG": "",
        }
        command = [sys.executable, "-c", ASKING, str(asked)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        said[asked] = done.stdout.splitlines()
    assert said[library] == said[theirs]
    assert said[library][0] == "(2, 32, 3) 0 True False"
    assert said[library][1] == "1 None"
