# SPDX-License-Identifier: Apache-2.0
"""What README.md shows runs as it is shown."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from support import PROGRAMS, Run

README = (PROGRAMS.parents[2] / "README.md").read_text()
FLEXLINK = [sys.executable, "-m", "flexlink"]


def test_the_python_example_runs_on_four_ranks(flexlink_run: Run) -> None:
    example, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)  # the second is torch's
    check = (
        "\nassert (x == sum(range(comm.size))).all()\n"
        "assert everything.shape == (comm.size * 1000,)\n"
    )
    Path("example.py").write_text(example + check)
    done = flexlink_run(4, sys.executable, "example.py")
    assert done.returncode == 0, done.stderr


def test_the_commands_that_it_names_exist() -> None:
    named = set(re.findall(r"(?:`|\$\()flexlink (\w+)", README)) - {"watch"}
    assert {"run", "perf", "links", "lib", "settings"} <= named
    for name in named:
        done = subprocess.run(
            [*FLEXLINK, name, "--help"], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, (name, done.stderr)


EXAMPLES = PROGRAMS.parents[2] / "examples"


def test_the_example_program_runs_on_one_host_and_as_if_on_two(flexlink_run: Run) -> None:
    command = [sys.executable, str(EXAMPLES / "all_reduce.py")]
    two_hosts = ["sh", "-c", 'FLEXLINK_HOSTID=$((RANK / 2)) exec "$@"', "sh", *command]
    for words in (command, two_hosts):
        done = flexlink_run(4, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("every element is 10") == 4


def test_the_launcher_joins_two_hosts(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    nodes = [
        subprocess.Popen(
            [*FLEXLINK, "run", "-n", "2", "--hosts", "2", "--host-rank", str(node), "--master",
             master, "--", sys.executable, str(EXAMPLES / "all_reduce.py")],
            env={**os.environ, "FLEXLINK_HOSTID": f"node{node}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for node in (0, 1)
    ]  # fmt: skip
    ended = [node.communicate(timeout=60) for node in nodes]
    for node, (out, err) in zip(nodes, ended, strict=True):
        assert node.returncode == 0, err
        assert out.count("of 4: every element is 10") == 2


def test_the_c_example_builds_as_it_says_and_runs(tmp_path: Path) -> None:
    source = (EXAMPLES / "all_reduce.c").read_text()
    (build,) = re.findall(r"^ \*   (cc .*)$", source, re.MULTILINE)
    (run,) = re.findall(r"^ \*   (LD_PRELOAD=.*?) +\(", source, re.MULTILINE)
    command = f"{build} && {run}".replace("examples/", f"{EXAMPLES}/").replace(
        "native/include", f"{EXAMPLES.parent}/native/include"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("every element is 10") == 4


def test_files_that_documents_link_to_are_there() -> None:
    root = PROGRAMS.parents[2]
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (root / name).read_text()):
            assert (root / target).exists(), (name, target)
