#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds every tracked file to a licence line and to the limits of size. Prints what breaks them.

A longer file or function is an exception that is a row in EXCEPTIONS with its reason.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES = {".h": 300, ".cc": 500, ".c": 500, ".py": 350}
COMMENTED = {
    ".h", ".cc", ".c", ".cu", ".py", ".md", ".toml", ".txt", ".cmake", ".map", ".sh", ".yml", "",
}  # fmt: skip
UNMARKED = ("LICENSE", ".gitignore", ".editorconfig", ".clang-format", "py.typed")
PYTHON_FUNCTION_LINES = 60  # with docstring
EXCEPTIONS = {
    "native/include/flexlink/nccl.h": "the whole C API of NCCL, which is one header",
}


def tracked() -> list[Path]:
    """All files that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in names.decode().split("\0") if name and (ROOT / name).is_file()]


def licence_problem(path: Path, text: str) -> str | None:
    """Files that can hold a comment name their licence in the first five lines."""
    if path.suffix not in COMMENTED or path.name in UNMARKED or not text:
        return None
    head = "\n".join(text.splitlines()[:5])
    return None if "SPDX-License-Identifier: Apache-2.0" in head else "has no SPDX line"


def size_problems(path: Path, text: str) -> list[str]:
    """What is longer than the limits allow."""
    if str(path.relative_to(ROOT)) in EXCEPTIONS:
        return []
    found = []
    count, limit = len(text.splitlines()), LINES.get(path.suffix)
    if limit is not None and count > limit:
        found.append(f"has {count} lines; the limit for {path.suffix} is {limit}")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > PYTHON_FUNCTION_LINES:
                    found.append(
                        f"{node.name}() has {length} lines; {PYTHON_FUNCTION_LINES} allowed"
                    )
    return found


def main() -> int:
    """Prints every problem; 1 if there is one."""
    found = []
    files = tracked()
    for path in files:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture or recorded data
        problems = size_problems(path, text)
        licence = licence_problem(path, text)
        if licence:
            problems.append(licence)
        found += [f"{path.relative_to(ROOT)}: {problem}" for problem in problems]
    print("\n".join(found) if found else f"files: {len(files)} with licence and within the limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
