# SPDX-License-Identifier: Apache-2.0
"""Processes of `flexlink run`: one rank, its output, and the means that leave none behind.

A rank leads its own process group, which is killed when the rank is gone. What left the group is
caught by two processes that adopt orphans: the launcher, which ends them when it is done, and the
guardian above it, which ends everything if the launcher is killed. Decides nothing about a job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 65536

_prctl = ctypes.CDLL(None, use_errno=True).prctl


def adopt_orphans() -> None:
    """From now on, processes whose parent dies below us become our children."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kills and reaps all children of this process, until there are none."""
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    me = os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == me:
                    found.append(int(entry.name))
    return found


def guarded(body: Callable[[], int], forwarded: Sequence[signal.Signals]) -> int:
    """Runs body() in a child process and returns its exit status; nothing outlives the two.

    The child gets the `forwarded` signals that we get, and SIGTERM if we are killed. If it is
    killed, all that it started is ours by adoption, and is ended.
    """
    adopt_orphans()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # a Ctrl-C at the terminal reaches it once, through us
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        status = 1
        try:
            if os.getppid() == parent:  # else it died before the line above
                status = body()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    for number in forwarded:
        signal.signal(number, lambda number, _: _send(child, signal.Signals(number)))
    _, status = os.waitpid(child, 0)
    end_orphans()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Rank:
    """One rank: its process, which leads its own group, and its two output pipes."""

    def __init__(self, number: int, prefix: str | None) -> None:
        self.number = number
        self.pid = 0
        self.running = False
        self._prefix = b"" if prefix is None else prefix.encode()
        self._process: subprocess.Popen[bytes] | None = None
        self._rest: dict[int, bytes] = {}  # by descriptor: what came after the last newline

    def start(self, command: Sequence[str], env: Mapping[str, str], cpu: int | None) -> None:
        """Starts it, pinned to `cpu` if there is one; rank 0 keeps our input if it is a pipe."""
        launcher = os.getpid()

        def prepare() -> None:
            os.setpgid(0, 0)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != launcher:  # it died before the line above
                os._exit(1)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})

        keep_input = self.number == 0 and sys.stdin is not None and not sys.stdin.isatty()
        self._process = subprocess.Popen(
            list(command),
            env=dict(env),
            stdin=None if keep_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=prepare,
        )
        self.pid = self._process.pid
        self.running = True
        for stream in self.outputs():
            os.set_blocking(stream.fileno(), False)

    def outputs(self) -> list[IO[bytes]]:
        """Its standard output and standard error, to wait for."""
        process = self._process
        assert process is not None and process.stdout is not None and process.stderr is not None
        return [process.stdout, process.stderr]

    def forward(self, stream: Any) -> bool:
        """Writes what came to our own stream, whole lines with the prefix. False: nothing came."""
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        lines = self._rest.pop(stream.fileno(), b"") + data
        whole, newline, rest = lines.rpartition(b"\n")
        if len(rest) >= _CHUNK:  # no newline in sight: show it all the same
            whole, newline, rest = lines, b"\n", b""
        if newline:
            self._write(stream, whole)
        if rest:
            self._rest[stream.fileno()] = rest
        return True

    def flush(self, stream: Any) -> None:
        """Writes the last line even if it has no newline."""
        rest = self._rest.pop(stream.fileno(), b"")
        if rest:
            self._write(stream, rest)

    def _write(self, stream: Any, lines: bytes) -> None:
        assert self._process is not None
        target = 1 if stream is self._process.stdout else 2
        prefixed = b"".join(self._prefix + line + b"\n" for line in lines.split(b"\n"))
        while prefixed:
            prefixed = prefixed[os.write(target, prefixed) :]

    def reap(self) -> int | None:
        """Its exit status if it has ended since the last call: 0-255, 128 + n for signal n."""
        if not self.running or self._process is None:
            return None
        code = self._process.poll()
        if code is None:
            return None
        self.running = False
        self._signal_group(signal.SIGKILL)  # what it left behind in its group
        return code if code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Sends `number` to the rank and all that it started, while it runs."""
        if self.running:
            self._signal_group(number)

    def kill(self) -> None:
        """Ends it now, if it still runs, and reaps it."""
        if self.running and self._process is not None:
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            self.running = False

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
