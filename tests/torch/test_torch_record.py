# SPDX-License-Identifier: Apache-2.0
"""The flight record, read by torch's own analyzer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from torch_ranks import Fresh, expect_all_passed
from torch_support import only_flexlink

pytestmark = only_flexlink


@pytest.mark.parametrize("size", [2, 4])
def test_the_analyzer_matches_every_operation(
    fresh_ranks: Fresh, tmp_path: Path, size: int
) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    matched = expect_all_passed(fresh_ranks(size, "record:everything", str(folder)).finish(60))[0]
    kinds = Counter(name.split()[0].removeprefix("gloo:") for name in matched)
    assert kinds.pop("all_reduce") == 2
    assert kinds.pop("send", 0) + kinds.pop("recv", 0) == (3 if size == 2 else 0)
    assert set(kinds.values()) == {1} and len(kinds) == 12, kinds


def test_a_time_out_writes_a_dump_that_names_who_is_missing(
    fresh_ranks: Fresh, tmp_path: Path
) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    env = {"TORCH_FR_DUMP_TEMP_FILE": str(folder / "rank")}
    outcomes = fresh_ranks(4, "record:absent", str(folder), env=env).finish(60)
    (said,) = filter(None, expect_all_passed(outcomes))
    assert said == ["gloo:all_reduce of [[5]]: {3}"]


def test_nothing_is_kept_where_nobody_wants_it(fresh_ranks: Fresh) -> None:
    outcomes = fresh_ranks(2, "record:nothing", env={"TORCH_FR_BUFFER_SIZE": "0"}).finish(30)
    assert expect_all_passed(outcomes) == [0, 0]


def test_a_full_record_keeps_the_last_ones(fresh_ranks: Fresh) -> None:
    outcomes = fresh_ranks(2, "record:overflow", 5, 13, env={"TORCH_FR_BUFFER_SIZE": "5"})
    assert expect_all_passed(outcomes.finish(30)) == [[9, 10, 11, 12, 13]] * 2
