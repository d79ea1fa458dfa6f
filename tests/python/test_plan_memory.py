# SPDX-License-Identifier: Apache-2.0
"""`flexlink plan`: what goes through the host's memory is bounded by what that memory gives."""

from __future__ import annotations

import dataclasses

import pytest

from flexlink.fabric import Figure, load
from flexlink.plan_model import plan


@pytest.mark.parametrize("fabric", ["h800", "h100", "h200", "a800", "gb200", "gb300"])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_what_is_staged_takes_no_more_than_the_hosts_memory_gives(fabric: str, ranks: int) -> None:
    machine = load(fabric)
    staged = [path.name for path in machine.paths if path.stages > 1]
    (memory,) = (cap for cap in machine.caps if cap.name == "host memory")
    assert (list(memory.paths), memory.crossings, memory.shared_by == 1) == (staged, 2, False)
    found = plan(machine, "all_gather", 2 << 30, ranks)
    moved = sum(share.share for share in found.shares if share.path in staged) * found.busbw
    assert 0 < 2 * moved <= memory.rate_of_one(ranks) * 1.001
    tight = dataclasses.replace(memory, rate=Figure(memory.rate.value / 8, "an eighth"))
    caps = tuple(tight if cap is memory else cap for cap in machine.caps)
    less = plan(dataclasses.replace(machine, caps=caps), "all_gather", 2 << 30, ranks)
    moved = sum(share.share for share in less.shares if share.path in staged) * less.busbw
    assert 2 * moved <= tight.rate_of_one(ranks) * 1.001
    assert less.busbw <= found.busbw
