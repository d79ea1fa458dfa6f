# SPDX-License-Identifier: Apache-2.0
"""Reads the C headers as the compiler sees them: every function with its types.

The tests of the ABI take names and signatures from here, so that a new function is tested without
being listed. Not a C parser: it knows the plain style of our own headers and nothing more.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
INCLUDE = REPOSITORY / "native" / "include"
STANDIN = Path(__file__).resolve().parent / "standin"
SYMBOLS = Path(__file__).resolve().parent / "symbols.txt"

# The fixture compile_c of conftest.py.
Compile = Callable[..., Path]

# A declaration after preprocessing: one result type, one name, parameters without parentheses.
_FUNCTION = re.compile(r"((?:const )?\w+ ?\*?) ?\b(p?nccl\w+|flexlink\w+) ?\(([^()]*)\) ?;")


@dataclass(frozen=True)
class Function:
    """One exported function: C result type, name, and the C type of each parameter."""

    name: str
    result: str
    parameters: tuple[str, ...]


def _parameter_types(text: str) -> tuple[str, ...]:
    if text.strip() in ("", "void"):
        return ()
    names_removed = (re.sub(r"\w+$", "", part.strip()) for part in text.split(","))
    return tuple(re.sub(r" ?\* ?", "*", part).strip() for part in names_removed)


@functools.cache
def functions() -> dict[str, Function]:
    """All functions of nccl.h (twins included) and flexlink.h, by name."""
    source = '#include "flexlink/flexlink.h"\n'
    command = ["cc", "-std=c99", "-E", "-P", f"-I{INCLUDE}", "-x", "c", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"\s+", " ", text)
    return {
        name: Function(name, result.replace(" *", "*").strip(), _parameter_types(parameters))
        for result, name, parameters in _FUNCTION.findall(text)
    }


@functools.cache
def listed_names() -> tuple[str, ...]:
    """The nccl* names of symbols.txt, sorted as they are there."""
    lines = SYMBOLS.read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def own_names() -> tuple[str, ...]:
    """The flexlink* names that flexlink.h declares."""
    return tuple(sorted(name for name in functions() if name.startswith("flexlink")))
