# SPDX-License-Identifier: Apache-2.0
"""What these tests take for granted about the plugin, in one place. Does not import torch."""

from __future__ import annotations

import os

import pytest

BACKEND = os.environ.get("FLEXLINK_TEST_TORCH_BACKEND", "flexlink")
IS_FLEXLINK = BACKEND == "flexlink"
PLUGIN_MODULE = "flexlink.torch"  # `import flexlink.torch` registers; also its register()
PLUGIN_NAME = "FLEXLINK"  # the attribute of torch.distributed.Backend
# None of these may be loaded by `import torch` alone.
HEAVY_MODULES = ("numpy", "flexlink.communicator", "flexlink._cffi", "flexlink._native")
NATIVE_WORDS = ("flexlink", "nccl")  # in the path of a mapped library of ours

only_flexlink = pytest.mark.skipif(not IS_FLEXLINK, reason="only the backend flexlink can do it")


def beyond_gloo(*values: object) -> object:
    """A pytest parameter that Gloo cannot serve."""
    return pytest.param(*values, marks=only_flexlink)
