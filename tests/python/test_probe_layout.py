# SPDX-License-Identifier: Apache-2.0
"""flexlink.probe_layout says the same as probe.h does to a C99 compiler."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from flexlink import probe_layout
from flexlink.probe_layout import STRUCTURES

INCLUDE = Path(__file__).parents[2] / "native" / "include"

# C name: value in Python.
CONSTANTS = {
    "FLEXLINK_PROBE_MAGIC": probe_layout.MAGIC,
    "FLEXLINK_PROBE_LAYOUT": probe_layout.LAYOUT,
    "FLEXLINK_PROBE_HEADER_BYTES": probe_layout.HEADER_BYTES,
    "FLEXLINK_PROBE_SLOTS": probe_layout.SLOTS,
    "FLEXLINK_PROBE_LANES": probe_layout.LANES,
    "FLEXLINK_PROBE_RECORDS": probe_layout.RECORDS,
    "FLEXLINK_PROBE_LINKS": probe_layout.LINKS,
    "FLEXLINK_PROBE_LINKS_OFFSET": probe_layout.LINKS_OFFSET,
    "FLEXLINK_PROBE_NO_RANK": probe_layout.NO_RANK,
    "FLEXLINK_PROBE_RECORD_NO_RANK": probe_layout.RECORD_NO_RANK,
    "FLEXLINK_PROBE_CLOCK_MONOTONIC": probe_layout.CLOCK_MONOTONIC,
    "FLEXLINK_PROBE_CLOCK_COUNTER": probe_layout.CLOCK_COUNTER,
    "FLEXLINK_PROBE_RINGS_OFFSET": probe_layout.RINGS_OFFSET,
    "FLEXLINK_PROBE_FILE_BYTES": probe_layout.FILE_BYTES,
    "sizeof(FlexlinkProbeSlot)": probe_layout.SLOT_BYTES,
    "offsetof(FlexlinkProbeSlot, lanes)": probe_layout.EXPECTED_HEADER["lanesOffset"],
    **{
        f"FLEXLINK_PROBE_STATE_{name.upper()}": number
        for number, name in enumerate(probe_layout.STATE_NAMES)
    },
    **{
        f"FLEXLINK_PROBE_PHASE_{name.upper()}": number
        for number, name in enumerate(probe_layout.PHASE_NAMES)
    },
    **{
        f"FLEXLINK_PROBE_LANE_{name.upper()}": number
        for number, name in enumerate(probe_layout.LANE_NAMES)
    },
    **{
        f"FLEXLINK_PROBE_LINK_{name.upper()}": number
        for number, name in enumerate(probe_layout.LINK_STATE_NAMES)
    },
    "FLEXLINK_PROBE_CALL(1, 2, 3, 4, 5)": 1 | 2 << 8 | 3 << 16 | 4 << 24 | 5 << 32,
    "FLEXLINK_PROBE_CALL(0, 0, 0, 0, -1)": probe_layout.NO_RANK << 32,
}


def in_python() -> dict[str, int]:
    """Every constant, size and offset by its C expression, as Python has it."""
    facts = dict(CONSTANTS)
    for structure in STRUCTURES:
        facts[f"sizeof({structure.c_name})"] = structure.size
        for field, offset in structure.offsets.items():
            facts[f"offsetof({structure.c_name}, {field})"] = offset
            facts[f"sizeof((({structure.c_name}*)0)->{field})"] = structure.sizes[field]
    return facts


def in_c(expressions: list[str], folder: Path) -> list[int]:
    """What the expressions are to the compiler. Warnings are errors: the header is plain C99."""
    lines = "\n".join(f'  printf("%llu\\n", (unsigned long long)({e}));' for e in expressions)
    source = folder / "facts.c"
    source.write_text(
        "#include <flexlink/probe.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f"int main(void) {{\n{lines}\n  return 0;\n}}\n"
    )
    program = folder / "facts"
    compiler = os.environ.get("CC", "cc")
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}"]
    subprocess.run([compiler, *flags, source, "-o", program], check=True, timeout=60)
    told = subprocess.run([program], check=True, timeout=10, capture_output=True, text=True)
    return [int(line) for line in told.stdout.split()]


def test_every_offset_size_and_constant_is_the_compilers(tmp_path: Path) -> None:
    facts = in_python()
    assert dict(zip(facts, in_c(list(facts), tmp_path), strict=True)) == facts


def test_names_are_those_of_the_library() -> None:
    source = (Path(__file__).parents[2] / "native/src/base/types.cc").read_text()
    quoted = [text for i, text in enumerate(source.split('"')) if i % 2 == 1 and ".h" not in text]
    assert tuple(quoted) == (
        *probe_layout.TYPE_NAMES,
        *probe_layout.OP_NAMES,
        *probe_layout.COLLECTIVE_NAMES,
    )


def test_structures_fill_their_size_without_gaps() -> None:
    for structure in STRUCTURES:
        assert sum(structure.sizes.values()) == structure.size
