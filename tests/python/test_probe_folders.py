# SPDX-License-Identifier: Apache-2.0
"""Where probe files are looked for."""

from __future__ import annotations

import os

import pytest

from flexlink.probe_folders import run_folders


def test_folders_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = os.geteuid()
    own = (f"/run/user/{uid}/flexlink", f"/dev/shm/flexlink-{uid}")
    monkeypatch.delenv("FLEXLINK_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/x")
    assert run_folders() == ("/x/flexlink", *own)
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/user/{uid}")
    assert run_folders() == own
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert run_folders() == own
    monkeypatch.setenv("FLEXLINK_RUN_DIR", "/mine")
    assert run_folders() == ("/mine",)
