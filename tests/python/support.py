# SPDX-License-Identifier: Apache-2.0
"""Names that the Python tests share with their fixtures in tests/conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent / "programs"

Run = Callable[..., "subprocess.CompletedProcess[str]"]
