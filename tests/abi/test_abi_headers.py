# SPDX-License-Identifier: Apache-2.0
"""The public headers compile everywhere a caller may be: C99 to C++20, alone and beside CUDA's."""

from __future__ import annotations

import subprocess

import pytest
from abi_header import STANDIN, Compile, functions, listed_names

STANDARDS = ["c99", "c11", "c17", "c++11", "c++17", "c++20"]
CUDA = "#include <cuda_runtime.h>\n"
NCCL = '#include "flexlink/nccl.h"\n'
FLEXLINK = '#include "flexlink/flexlink.h"\n'

# Every initialiser, and the value that it must give to the fields a library reads.
INITIALISERS = """
int main(void) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclCollConfig_t call = NCCL_COLLCONFIG_INITIALIZER;
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
  ncclDevCommRequirements_t needs = NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER;
  ncclEncryptionConfig_t secret = NCCL_ENCRYPTION_CONFIG_INITIALIZER;
  if (config.size != 120 || config.magic != 0xcafebeef || config.version != 23203) return 1;
  if (config.blocking != INT_MIN || config.netName != NULL || config.commName != NULL) return 2;
  if (config.splitShare != INT_MIN || config.nvlsHostMode != INT_MIN) return 3;
  if (call.size != 72 || call.magic != 0xcafebeef || call.version != 23203) return 4;
  if (call.ext != NULL || call.forceAlgSelection != 1 || call.userProfilerTag != 0) return 5;
  if (call.CTAPolicy != INT_MIN || call.launchCompletionEvent != NULL) return 6;
  if (info.size != 24 || info.magic != 0x74685283 || info.estimatedTime != -1.0f) return 7;
  if (properties.size != 152 || properties.version != 23203) return 8;
  if (needs.size != 120 || needs.ginContextCount != 4 || needs.ginTrafficClass != INT_MIN) return 9;
  if (!needs.ginStrongSignalsRequired || !needs.ginVaSignalsRequired) return 10;
  if (needs.ginCustomStride != 1 || needs.useRuntimeVersion) return 11;
  if (secret.size != 32 || secret.mode != 0 || secret.psk != NULL) return 12;
  return 0;
}
"""


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("headers", [NCCL, FLEXLINK, NCCL + FLEXLINK], ids=["nccl", "own", "both"])
def test_header_compiles_alone_and_initialisers_have_their_values(
    compile_c: Compile, include: str, standard: str, headers: str
) -> None:
    program = compile_c(headers + INITIALISERS, standard, [include])
    assert subprocess.run([program], timeout=30).returncode == 0


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("order", ["cuda first", "cuda last"])
def test_header_stands_beside_cudas_in_either_order(
    compile_c: Compile, include: str, standard: str, order: str
) -> None:
    # CUDA's headers are system headers to a compiler, so a repeated typedef in them is no warning.
    headers = CUDA + FLEXLINK if order == "cuda first" else FLEXLINK + CUDA
    source = headers + "cudaStream_t a; cudaEvent_t b;\n" + INITIALISERS
    flags = [include, "-isystem", str(STANDIN)]
    if order == "cuda first":  # what CUDA's driver_types.h defines, and C99 needs to be told
        flags.append("-D__DRIVER_TYPES_H__")
    assert subprocess.run([compile_c(source, standard, flags)], timeout=30).returncode == 0


def test_every_function_is_declared_with_its_twin() -> None:
    declared = functions()
    assert sorted(n for n in declared if n.startswith("nccl")) == sorted(listed_names())
    for name in listed_names():
        twin = declared[f"p{name}"]
        assert (twin.result, twin.parameters) == (declared[name].result, declared[name].parameters)


def test_ninety_six_functions_are_listed() -> None:
    assert len(listed_names()) == 96
    assert list(listed_names()) == sorted(set(listed_names()))
