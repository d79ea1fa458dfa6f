# SPDX-License-Identifier: Apache-2.0
"""How scripts/gpu-check reads the figures of flexlink_perf --csv."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence

from gpu_check import Figures


def csv_rows(text: str) -> list[dict[str, str]]:
    """The rows of flexlink_perf --csv among its other lines."""
    lines = [
        line for line in text.splitlines() if line.count(",") > 10 and not line.startswith("#")
    ]
    return list(csv.DictReader(lines))


def lane_figures(text: str, kind: str) -> Figures:
    """Of flexlink_perf --csv: time and bus bandwidth of each size, wrong elements."""
    figures: Figures = {}
    for row in csv_rows(text):
        place = " in place" if row["inplace"] == "1" else ""
        name = f"{row['collective']} {row['size']} B{place}, {kind}"
        figures[f"{name}: us"] = float(row["time_us"])
        figures[f"{name}: busbw"] = float(row["busbw"])
        if int(row["wrong"]):
            figures[f"{name}: wrong elements"] = int(row["wrong"])
    return figures


def gain_figures(rates: Mapping[str, Sequence[float]]) -> Figures:
    """Of bus bandwidths by FLEXLINK_LANES, taken in turns; "" is the vendor alone."""
    alone = rates[""]
    figures: Figures = {"vendor alone: busbw": statistics.median(alone)}
    for lanes, found in rates.items():
        if not lanes:
            continue
        gains = [ours / theirs for ours, theirs in zip(found, alone, strict=True)]
        figures[f"{lanes}: busbw"] = statistics.median(found)
        figures[f"{lanes}: gain"] = statistics.median(gains)
    return figures


def ratio_figures(text: str) -> Figures:
    """Of flexlink_perf --vs ... --csv: both times of each size, their ratio, wrong elements."""
    figures: Figures = {}
    for row in csv_rows(text):
        name = f"{row['collective']} {row['type']} {row['size']} B"
        figures[f"{name}: ours us"] = float(row["ours_us"])
        figures[f"{name}: vendor us"] = float(row["theirs_us"])
        figures[f"{name}: ratio"] = float(row["ratio"])
        wrong = int(row["ours_wrong"]) + int(row["theirs_wrong"])
        if wrong:
            figures[f"{name}: wrong elements"] = wrong
    return figures
