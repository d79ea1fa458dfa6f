# SPDX-License-Identifier: Apache-2.0
"""`flexlink doctor`: the command line. What is checked and said is in the modules beside it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flexlink.doctor import reader, report
from flexlink.doctor.findings import ERROR, worst

EPILOG = "exit status: 0 no error (there may be warnings), 1 at least one error, 2 wrong usage"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with 2 and the usage where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="flexlink doctor",
        description="Says what FlexLink can use on this machine, what is wrong, and the command "
        "that mends it. It changes nothing.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The subcommand. argv: the words after `doctor`. Returns the exit status of EPILOG."""
    options = parse(argv)
    facts = reader.read_facts(Path("/"), os.environ)
    findings = report.examine(facts)
    if options.json:
        print(json.dumps(report.as_json(facts, findings)))
    else:
        print(report.machine_text(facts, findings, sys.stdout.isatty()))
    return 1 if worst(findings) == ERROR else 0
