# SPDX-License-Identifier: Apache-2.0
"""The short form of `scripts/soak cuts`: links break and come back at random, nothing is lost."""

from __future__ import annotations

import os
import shutil

import cuts
import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)


def test_links_that_break_and_come_back_at_random_lose_nothing() -> None:
    rounds, _ = cuts.run(30, int(os.environ.get("FLEXLINK_TEST_SEED", "7")))
    assert rounds > 100
