# SPDX-License-Identifier: Apache-2.0
"""Where probe files lie; what is in them is read by flexlink.probe."""

from __future__ import annotations

import os
from collections.abc import Iterable


def run_folders() -> tuple[str, ...]:
    """Where this user's probe files may be, in the order in which the writer chooses.

    The job's environment may differ from ours, so all that are there are looked at, unless
    FLEXLINK_RUN_DIR names one.
    """
    chosen = os.environ.get("FLEXLINK_RUN_DIR")
    if chosen:
        return (chosen,)
    uid = os.geteuid()
    parents = dict.fromkeys(filter(None, (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}")))
    return (*(f"{parent}/flexlink" for parent in parents), f"/dev/shm/flexlink-{uid}")


def find(folders: Iterable[str] | None = None) -> list[str]:
    """Paths of the probe files in `folders` (None: run_folders()), sorted in each folder."""
    paths = []
    for folder in run_folders() if folders is None else folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        paths += [
            os.path.join(folder, name)
            for name in names
            if name.startswith("probe-") and name.endswith(".flx")
        ]
    return paths
