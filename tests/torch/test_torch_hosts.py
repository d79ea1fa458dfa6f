# SPDX-License-Identifier: Apache-2.0
"""Ranks on two hosts, which are network namespaces with two unlike links between them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from netns import TwoHosts
from torch_ranks import HERE, environment
from torch_support import BACKEND, IS_FLEXLINK

MEBI = 1 << 20
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)


@needs_root
@pytest.mark.parametrize("sides", [(0, 1), (0, 0, 1, 1)])
def test_collectives_and_training_over_two_hosts(sides: tuple[int, ...], tmp_path: Path) -> None:
    with TwoHosts([1000, 500]) as hosts:
        ranks = []
        for number, side in enumerate(sides):
            names = {"GLOO_SOCKET_IFNAME": f"fl0{'ab'[side]}", "NCCL_SOCKET_IFNAME": "fl"}
            place = {"RANK": str(number), "WORLD_SIZE": str(len(sides)), "MASTER_ADDR": "10.77.0.1",
                     "MASTER_PORT": "29517"}  # fmt: skip
            program = str(HERE / "programs" / "two_hosts.py")
            command = [sys.executable, program, BACKEND, str(tmp_path)]
            ranks.append(subprocess.Popen(
                hosts.command(side, command), env={**os.environ, **environment(), **names, **place},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            ))  # fmt: skip
        try:
            said = [rank.communicate(timeout=100)[0] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        assert [rank.returncode for rank in ranks] == [0] * len(ranks), "\n".join(said)
        sent = hosts.sent(0)
        assert sent[0] > MEBI
        if IS_FLEXLINK:
            assert sent[1] > MEBI // 4, sent  # every link carries a part
