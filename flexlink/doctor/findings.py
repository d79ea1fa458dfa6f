# SPDX-License-Identifier: Apache-2.0
"""What a check says: one finding for each thing it looked at. Judges and prints nothing itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
LEVELS = (OK, NOTE, WARNING, ERROR)

# What the text of a check adds where the hardware is fine but this version has no code for it.
NOT_YET = "this version of FlexLink does not use it yet"


@dataclass(frozen=True)
class Finding:
    """One answer of one check.

    Attributes:
        check: "area.name"; the name of the area groups the report.
        level: one of LEVELS. note: worth knowing, nothing is wrong. warning: works, but slower or
            with less than the machine has. error: FlexLink cannot do something that it should.
        text: what is so, in one sentence.
        evidence: where that is seen: a file and its content, a call and its result.
        mend: the command that mends it, or the step where no command can; "" where nothing is
            wrong.
    """

    check: str
    level: str
    text: str
    evidence: str = ""
    mend: str = ""

    @property
    def area(self) -> str:
        """The part of the report that it belongs to."""
        return self.check.partition(".")[0]


def worst(findings: Iterable[Finding]) -> str:
    """The highest level of all; OK where there is none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)


def size(number: float) -> str:
    """Bytes with a unit: 512 B, 64 MiB, 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"


def plain(text: str, limit: int = 200) -> str:
    """`text` of a peer or of a file as one line that cannot steer a terminal, at most `limit`."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])
