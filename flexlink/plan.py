# SPDX-License-Identifier: Apache-2.0
"""`flexlink plan`: what the balancer would make of a machine, from a file about that machine.

A model and nothing else: the figures are published ones or the user's own, nothing is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from flexlink import plan_paper
from flexlink.fabric import Fabric, Path_, bundled, load, override
from flexlink.plan_model import COLLECTIVES, Plan, idle_opportunity, plan

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """Bytes of "256M", as nccl-tests write sizes: K, M, G are powers of 1024."""
    match = re.fullmatch(r"(\d+)([KMG]?)B?", text.upper())
    size = int(match[1]) * UNITS[match[2]] if match else 0
    if not 1 <= size < 1 << 62:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; expected e.g. 4096, 64K, 256M, 1G")
    return size


def parse_ranks(text: str) -> int:
    """A number of ranks, 2 or more."""
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of ranks; expected 2 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flexlink plan",
        usage="flexlink plan [--fabric NAME|FILE.toml] COLLECTIVE SIZE -n RANKS [options]\n"
        "       flexlink plan --paper",
        description="The split of one collective over a machine's paths and the busbw that it "
        "should reach: a MODEL from published figures, by the same code that balances. The machine "
        "need not be there. docs/plan.md says how to write a fabric file.",
    )
    parser.add_argument(
        "--fabric", default="h800", help=f"one of {', '.join(bundled())}, or a file (default h800)"
    )
    parser.add_argument("collective", nargs="?", metavar="COLLECTIVE", help=", ".join(COLLECTIVES))
    parser.add_argument(
        "size", nargs="?", type=parse_size, metavar="SIZE", help="as in nccl-tests, e.g. 256M"
    )
    parser.add_argument("-n", "--ranks", type=parse_ranks, metavar="RANKS")
    parser.add_argument(
        "--schedule",
        choices=("ring", "direct"),
        help="the steps of all paths; default: as the fabric says (NVLink ring, others direct)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH.KEY=VALUE",
        help="another figure, e.g. pcie.rate=26e9 (may be repeated)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--paper", action="store_true", help="the published table beside the model, row by row"
    )
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line of `flexlink plan`; says what is missing."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.paper:
        return options
    if options.collective not in COLLECTIVES:
        given = options.collective
        what = "no collective" if given is None else f"'{given}' is no collective of the model"
        parser.error(f"{what}; expected one of {', '.join(COLLECTIVES)}")
    if options.size is None:
        parser.error("no size; expected e.g. 256M")
    if options.ranks is None:
        parser.error("no number of ranks; expected -n 8")
    return options


def _rows(fabric: Fabric, found: Plan, schedule: str | None) -> list[list[str]]:
    rows = [["path", "GB/s", "us/step", "schedule", "share", "weight", "slice of each block"]]
    for path, share in zip(fabric.paths, found.shares, strict=True):
        cut = f"{share.offset} + {share.length} B" if share.length else "-"
        rows.append(
            [
                path.name,
                f"{path.rate.value / 1e9:g}",
                f"{path.latency.value * path.stages * 1e6:.3g}",
                (schedule or path.schedule) + _staging(path),
                f"{100 * share.share:.1f} %",
                f"{share.weight}/1024",
                cut,
            ]
        )
    return rows


def _staging(path: Path_) -> str:
    return f", {path.stages} stages" if path.stages > 1 else ""


def _cap_lines(fabric: Fabric, ranks: int) -> list[str]:
    lines = []
    for cap in fabric.caps:
        twice = "" if cap.crossings == 1 else f", crossed {cap.crossings:g} times by each byte"
        rate = f"{cap.rate_of_one(ranks) / 1e9:.4g} GB/s for each rank"
        lines.append(f"cap {cap.name}: {rate}, {' and '.join(cap.paths)} together{twice}")
    return lines


def plan_text(fabric: Fabric, found: Plan, options: argparse.Namespace) -> str:
    """The whole output for people."""
    lines = [
        f"MODEL, nothing is measured: {options.collective} of {options.size} B on "
        f"{options.ranks} ranks of {fabric.name}",
        f"{fabric.title}",
        "",
    ]
    rows = _rows(fabric, found, options.schedule)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    lines += ["", *_cap_lines(fabric, options.ranks)]
    first = fabric.paths[0].name
    lines += [
        f"{first} alone: {found.seconds_alone * 1e6:.1f} us, busbw {found.busbw_alone / 1e9:.1f} "
        "GB/s",
        f"together: {found.seconds * 1e6:.1f} us, busbw {found.busbw / 1e9:.1f} GB/s, "
        f"gain {100 * found.gain:+.1f} %",
        f"for ever larger sizes busbw nears {found.full_busbw / 1e9:.1f} GB/s",
        f"idle beside {first}, of one GPU by itself: {100 * idle_opportunity(fabric):.0f} %",
    ]
    if math.isfinite(found.alone_below):
        lines.append(f"one path carries all below {found.alone_below:.0f} B")
    lines += ["", "figures (rates in bytes/s in one direction, latencies in s, chunks in bytes):"]
    lines += [f"  {key} = {each.value:g}: {each.source}" for key, each in fabric.figures()]
    return "\n".join(lines)


def as_json(fabric: Fabric, found: Plan, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the text says, in SI units; alone_below is null where it has no bound."""
    answer = dataclasses.asdict(found)
    answer["gain"] = found.gain
    if not math.isfinite(found.alone_below):
        answer["alone_below"] = None
    return {
        "kind": "MODEL",
        "version": 1,
        "fabric": fabric.name,
        "collective": options.collective,
        "size": options.size,
        "ranks": options.ranks,
        "schedule": options.schedule,
        "idle_opportunity": idle_opportunity(fabric),
        "plan": answer,
        "figures": {key: dataclasses.asdict(figure) for key, figure in fabric.figures()},
    }


def main(argv: Sequence[str]) -> int:
    """Entry of `flexlink plan`; returns its exit status.

    Raises:
        FlexlinkError: a fabric file or an override is wrong; the text says file, key and why.
    """
    options = parse(argv)
    if options.paper:
        print(plan_paper.text(), end="")
        return 0
    fabric = load(options.fabric)
    for text in options.set:
        fabric = override(fabric, text)
    found = plan(fabric, options.collective, options.size, options.ranks, options.schedule)
    if options.json:
        print(json.dumps(as_json(fabric, found, options)))
    else:
        print(plan_text(fabric, found, options))
    return 0
