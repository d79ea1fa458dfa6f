# SPDX-License-Identifier: Apache-2.0
"""docs/gpu-status.md is true and can be read by a program: what its tables may say."""

from __future__ import annotations

import re

import pytest
from support import PROGRAMS

ROOT = PROGRAMS.parents[2]
PAGE = (ROOT / "docs" / "gpu-status.md").read_text()
DATE, COMMIT = r"\d{4}-\d\d-\d\d", r"[0-9a-f]{7,40}"
RUNS = {
    "date": DATE, "device": r".+", "driver": r"\d+\.[\d.]+", "CUDA": r"\d+\.\d+",
    "vendor": r"NCCL \d+\.\d+\.\d+", "commit": COMMIT, "passed": r"\d+", "failed": r"\d+",
    "not run": r"\d+",
}  # fmt: skip
LANES = {
    "class": r"\d+ x .+", "lane": r"pcie|memory|message|hier", "date": DATE,
    "driver": r"\d+\.[\d.]+", "vendor": r"NCCL \d+\.\d+\.\d+", "commit": COMMIT,
    "gain": r"\d\.\d\d+",
}  # fmt: skip


def rows(page: str, heading: str) -> list[dict[str, str]]:
    """The rows of the one table below `heading`, by column."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    columns, rule, *found = [[cell.strip() for cell in line] for line in lines]
    assert set("".join(rule)) <= set("-| ")
    return [dict(zip(columns, line, strict=True)) for line in found] or [dict.fromkeys(columns, "")]


@pytest.mark.parametrize(
    ("heading", "columns"), [("Runs", RUNS), ("Lanes beside the vendor", LANES)]
)
def test_each_table_has_its_columns_and_every_row_is_complete(
    heading: str, columns: dict[str, str]
) -> None:
    for row in rows(PAGE, heading):
        assert list(row) == list(columns)
        if any(row.values()):
            for name, pattern in columns.items():
                assert re.fullmatch(pattern, row[name]), f"{heading}: {name} is {row[name]!r}"


def test_no_lane_has_a_figure_without_a_run_of_its_commit() -> None:
    runs = {row["commit"] for row in rows(PAGE, "Runs")}
    assert {row["commit"] for row in rows(PAGE, "Lanes beside the vendor")} <= runs


def test_the_page_and_the_readme_say_that_nothing_ran_until_it_did() -> None:
    ran = any(row["date"] for row in rows(PAGE, "Runs"))
    readme = (ROOT / "README.md").read_text()
    assert ("**Nothing yet.**" in PAGE) == (not ran)
    assert ("nothing has been measured on a GPU" in " ".join(readme.split())) == (not ran)


def test_a_row_that_lacks_something_is_found() -> None:
    page = "\n## Runs\n\n| date | commit |\n| --- | --- |\n| 2026-12-01 | 1234567 |\n\n## Next\n"
    assert rows(page, "Runs") == [{"date": "2026-12-01", "commit": "1234567"}]
    with pytest.raises(ValueError, match="zip"):
        rows(page.replace(" | 1234567", ""), "Runs")
