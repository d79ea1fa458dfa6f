# SPDX-License-Identifier: Apache-2.0
"""Adds up JUnit files of ctest and pytest and holds skips to tests/skips.md.

tally.py pass|fail|skip FILE NAME TEXT   writes a file with one case
tally.py sum FOLDER                      prints what failed and was skipped, then the closing line
"""

from __future__ import annotations

import fnmatch
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SKIPS = Path(__file__).resolve().parent.parent / "tests" / "skips.md"


class Case(NamedTuple):
    """One test: outcome is "passed", "failed" or "skipped"."""

    name: str
    outcome: str
    text: str


def cases(file: Path) -> Iterator[Case]:
    """All cases of one JUnit file, named SUITE::TEST."""
    for element in ET.parse(file).getroot().iter("testcase"):
        name = f"{file.stem}::{element.get('classname', '')}::{element.get('name', '')}"
        name = name.replace("::" + element.get("name", "") + "::", "::")  # ctest repeats it
        output = " ".join(element.itertext()).strip()
        broken = next((c for c in element if c.tag in ("failure", "error")), None)
        skipped = element.find("skipped")
        if broken is not None or element.get("status") == "fail":
            yield Case(name, "failed", (broken.get("message", "") if broken is not None else ""))
        elif skipped is not None or element.get("status") in ("notrun", "disabled"):
            message = "" if skipped is None else skipped.get("message", "")
            yield Case(name, "skipped", f"{message} {output}".strip())
        else:
            yield Case(name, "passed", "")


def allowed_skips(text: str) -> list[tuple[str, str]]:
    """(pattern of the name, words of the reason) of each row of the table in tests/skips.md."""
    rows = [
        [cell.strip().strip("`") for cell in line.strip("| \n").split("|")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return [(row[0], row[1]) for row in rows]


def allowed(case: Case, skips: list[tuple[str, str]]) -> bool:
    """Whether tests/skips.md has a row for this skip and its reason."""
    return any(fnmatch.fnmatchcase(case.name, name) and words in case.text for name, words in skips)


def write(outcome: str, file: Path, name: str, text: str) -> int:
    """A JUnit file with a single case."""
    suite = ET.Element("testsuite", name=name)
    element = ET.SubElement(suite, "testcase", classname=name, name=name)
    if outcome != "pass":
        ET.SubElement(element, {"fail": "failure", "skip": "skipped"}[outcome], message=text)
    ET.ElementTree(suite).write(file)
    return 0


def add_up(folder: Path) -> int:
    """Prints the sum; the exit status is 1 on a failure or a skip that is not listed."""
    found = [case for file in sorted(folder.glob("*.xml")) for case in cases(file)]
    skips = allowed_skips(SKIPS.read_text())
    for case in found:
        if case.outcome == "skipped" and not allowed(case, skips):
            print(f"SKIPPED, and tests/skips.md does not list it: {case.name}: {case.text[:300]}")
        elif case.outcome != "passed":
            first_line = (case.text.splitlines() or [""])[0]
            print(f"{case.outcome.upper()}: {case.name}: {first_line}")
    passed, failed, skipped = (
        sum(case.outcome == outcome for case in found)
        for outcome in ("passed", "failed", "skipped")
    )
    unlisted = sum(case.outcome == "skipped" and not allowed(case, skips) for case in found)
    if unlisted:
        print(f"{unlisted} skip(s) that tests/skips.md does not list count as failures")
    print(f"{passed} passed, {failed + unlisted} failed, {skipped - unlisted} skipped")
    return 1 if failed or unlisted or not passed else 0


def main(argv: list[str]) -> int:
    """Entry."""
    if argv[:1] == ["sum"] and len(argv) == 2:
        return add_up(Path(argv[1]))
    if argv[:1] in (["pass"], ["fail"], ["skip"]) and len(argv) == 4:
        return write(argv[0], Path(argv[1]), argv[2], argv[3])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
