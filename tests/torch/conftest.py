# SPDX-License-Identifier: Apache-2.0
"""Ranks with torch for every test: `ranks` runs a body of bodies/ on all of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch_ranks import Fresh, FreshRanks, Pools, Ranks, Zygote

SIZES = (2, 4)
sys.path.append(str(Path(__file__).resolve().parent.parent / "python"))  # netns


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """The process that has torch imported."""
    # A first use compiles the plugin, which takes longer than a test may.
    words = [sys.executable, "-c", "import flexlink.torch; flexlink.torch.plugin()"]
    subprocess.run(words, check=True, timeout=900, cwd=Path(__file__).parent)
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="session")
def pools(zygote: Zygote) -> Iterator[Pools]:
    """All pools of the session."""
    made = Pools(zygote)
    yield made
    made.close()


@pytest.fixture(scope="session", params=SIZES, ids=lambda size: f"{size}ranks")
def world_size(request: pytest.FixtureRequest) -> int:
    """The number of ranks; all tests of one size run one after the other."""
    return int(request.param)


@pytest.fixture
def ranks(pools: Pools, world_size: int, tmp_path: Path) -> Ranks:
    """The test runs twice: with a pool of two and with a pool of four ranks."""
    return Ranks(pools, world_size, tmp_path)


@pytest.fixture
def two_ranks(pools: Pools, tmp_path: Path) -> Ranks:
    """The pool of two."""
    return Ranks(pools, 2, tmp_path)


@pytest.fixture
def four_ranks(pools: Pools, tmp_path: Path) -> Ranks:
    """The pool of four."""
    return Ranks(pools, 4, tmp_path)


@pytest.fixture(scope="session")
def gpu_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of ranks whose tensors lie on a GPU."""
    from torch_gpu import gpu_environment

    return gpu_environment(tmp_path_factory.mktemp("torch_gpu"))


@pytest.fixture(scope="session")
def gpu_pools(zygote: Zygote, gpu_env: dict[str, str]) -> Iterator[Pools]:
    """Pools of such ranks."""
    made = Pools(zygote, gpu_env)
    yield made
    made.close()


@pytest.fixture(scope="session", params=(2, 4), ids=lambda size: f"{size}ranks")
def gpu_world_size(request: pytest.FixtureRequest) -> int:
    """The number of ranks on the GPU."""
    return int(request.param)


@pytest.fixture
def gpu_ranks(gpu_pools: Pools, gpu_world_size: int, tmp_path: Path) -> Ranks:
    """The test runs with a pool of two and with one of four ranks on one GPU."""
    return Ranks(gpu_pools, gpu_world_size, tmp_path)


@pytest.fixture
def two_gpu_ranks(gpu_pools: Pools, tmp_path: Path) -> Ranks:
    """The pool of two on one GPU."""
    return Ranks(gpu_pools, 2, tmp_path)


@pytest.fixture
def fresh_ranks(zygote: Zygote, tmp_path: Path) -> Iterator[Fresh]:
    """fresh_ranks(n, "module:function", *args, env={}): ranks that have no process group yet."""
    started: list[FreshRanks] = []

    def start(
        size: int, target: str, *args: object, env: dict[str, str] | None = None
    ) -> FreshRanks:
        folder = tmp_path / f"fresh{len(started)}"
        folder.mkdir()
        started.append(FreshRanks(zygote, folder, size, target, args, env or {}))
        return started[-1]

    yield start
    for ranks in started:
        ranks.finish(0)
