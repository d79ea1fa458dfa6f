# SPDX-License-Identifier: Apache-2.0
"""CuPy with libflexlink.so preloaded."""

from __future__ import annotations

import pytest
from gpu_support import Ranks, need, vendor_version

pytestmark = pytest.mark.timeout(150)


def test_cupys_binding_passes_through(preloaded: Ranks, vendor: str) -> None:
    need("cupy")
    (output,) = preloaded("cupy_rank.py")
    assert output.splitlines()[-2:] == [f"version {vendor_version(vendor)}", "done"]
