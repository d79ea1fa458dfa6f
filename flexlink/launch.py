# SPDX-License-Identifier: Apache-2.0
"""`flexlink run -n N -- cmd...`: N ranks of a program on this host, and none left behind.

Sets torchrun's variables, pins, prefixes output, forwards signals. How processes are started and
ended is in processes.py; this module only decides.
"""

from __future__ import annotations

import argparse
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flexlink import placement
from flexlink.processes import Rank, adopt_orphans, end_orphans, guarded

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
MAX_RANKS = 4096


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line of `flexlink run`."""
    parser = argparse.ArgumentParser(
        prog="flexlink run",
        usage="flexlink run -n N [options] -- command [arguments]",
        description="Starts N ranks of a program on this host (with --hosts: on each of several, "
        "where the same command is given with another --host-rank), with torchrun's variables "
        "RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Ends all "
        "when one dies. Signals go to every rank. The exit status is that of the first rank that "
        "failed (128 + n for signal n), else 0.",
    )
    parser.add_argument("-n", "--ranks", type=int, required=True, metavar="N")
    parser.add_argument(
        "--keep-going", action="store_true", help="when a rank dies, let the others run on"
    )
    parser.add_argument(
        "--no-pin", action="store_true", help="do not pin one rank to each core (done if N fit)"
    )
    parser.add_argument(
        "--no-prefix", action="store_true", help='do not start each output line with "[rank] "'
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds between SIGTERM and SIGKILL (default 5)",
    )
    parser.add_argument(
        "--hosts", type=int, default=1, metavar="H", help="hosts that run this (default 1)"
    )
    parser.add_argument(
        "--host-rank", type=int, default=0, metavar="I", help="which of them this is: 0 to H-1"
    )
    parser.add_argument(
        "--master",
        metavar="HOST:PORT",
        help="with --hosts: host 0 and a free port there, where the ranks meet",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if not options.command:
        parser.error("no command: flexlink run -n 2 -- python script.py")
    if not 1 <= options.ranks <= MAX_RANKS:
        parser.error(f"-n {options.ranks}: 1 to {MAX_RANKS} ranks")
    if not 0 <= options.host_rank < options.hosts:
        parser.error(f"--host-rank {options.host_rank} of --hosts {options.hosts}: 0 to H-1")
    host, colon, port = (options.master or "").rpartition(":")
    if options.master and not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        parser.error(f"--master {options.master}: HOST:PORT, for example server0:29500")
    if (options.hosts > 1) != bool(options.master):
        parser.error("--hosts above 1 and --master HOST:PORT belong together")
    return options


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shared_variables(options: argparse.Namespace, env: Mapping[str, str]) -> dict[str, str]:
    """What all ranks of a job get beside the caller's environment.

    Between hosts FLEXLINK_SECRET is the caller's to set, as it must be the same on all of them.
    """
    variables = {
        "WORLD_SIZE": str(options.hosts * options.ranks),
        "LOCAL_WORLD_SIZE": str(options.ranks),
        "PYTHONUNBUFFERED": env.get("PYTHONUNBUFFERED", "1"),
    }
    if options.master:
        host, _, port = options.master.rpartition(":")
        return {**variables, "MASTER_ADDR": host.strip("[]"), "MASTER_PORT": port}
    return {
        **variables,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "FLEXLINK_SECRET": env.get("FLEXLINK_SECRET") or secrets.token_hex(16),
    }


class Job:
    """All ranks of one `flexlink run`: an event loop over their output, their ends, our signals."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._status = 0
        self._deadline: float | None = None  # monotonic seconds: then SIGKILL
        self._ranks: list[Rank] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Starts the ranks, stays until all have ended, and returns the exit status."""
        adopt_orphans()
        wake = self._catch_signals()
        try:
            self._start()
            while any(rank.running for rank in self._ranks):
                self._step(wake)
            self._drain()
        finally:
            for rank in self._ranks:
                rank.kill()
            end_orphans()
        return self._status

    def _catch_signals(self) -> socket.socket:
        """A socket that gets one byte, the number, for each signal; handlers do nothing else."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._wakeup = theirs  # keeps the descriptor open
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(ours, selectors.EVENT_READ)
        return ours

    def _start(self) -> None:
        options = self._options
        cpus = None if options.no_pin else placement.place(options.ranks, placement.allowed_cores())
        shared = {**os.environ, **shared_variables(options, os.environ)}
        for local in range(options.ranks):
            number = options.host_rank * options.ranks + local
            own = {"RANK": str(number), "LOCAL_RANK": str(local)}
            rank = Rank(number, None if options.no_prefix else f"[{number}] ")
            rank.start(options.command, {**shared, **own}, cpus[local] if cpus else None)
            self._ranks.append(rank)
            for stream in rank.outputs():
                self._selector.register(stream, selectors.EVENT_READ, rank)

    def _step(self, wake: socket.socket) -> None:
        """Waits for something to happen and deals with it."""
        timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._signals(wake.recv(4096))
            elif not key.data.forward(key.fileobj):  # readable and nothing there: its end
                key.data.flush(key.fileobj)
                self._selector.unregister(key.fileobj)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._signal_all(signal.SIGKILL)
            self._deadline = None

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number != signal.SIGCHLD:
                self._forward(signal.Signals(number))
        for rank in self._ranks:
            status = rank.reap()
            if status:
                self._failed(rank, status)

    def _forward(self, number: signal.Signals) -> None:
        if number in ENDING:
            if self._deadline is not None:  # asked a second time: no more patience
                number = signal.SIGKILL
            self._deadline = time.monotonic() + self._options.grace
        self._signal_all(number)

    def _signal_all(self, number: signal.Signals) -> None:
        for rank in self._ranks:
            rank.send(number)

    def _failed(self, rank: Rank, status: int) -> None:
        """The first failure decides the exit status and, unless told otherwise, ends the others."""
        first = self._status == 0
        self._status = self._status or status
        others = sum(other.running for other in self._ranks)
        ending = first and others and not self._options.keep_going and self._deadline is None
        if self._deadline is None:  # else it only does what it was told
            what = f"; ending the other {others} rank(s)" if ending else ""
            say(f"rank {rank.number} (pid {rank.pid}) {describe(status)}{what}")
        if ending:
            self._deadline = time.monotonic() + self._options.grace
            self._signal_all(signal.SIGTERM)

    def _drain(self) -> None:
        """Forwards what the ranks wrote last; a grandchild may still hold the pipe, so no wait."""
        for key in list(self._selector.get_map().values()):
            rank: Any = key.data
            if rank is not None:
                while rank.forward(key.fileobj):
                    pass
                rank.flush(key.fileobj)


def describe(status: int) -> str:
    """An exit status in words: "ended with status 3" or "was ended by SIGKILL"."""
    if status <= 128:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(status - 128).name}"
    except ValueError:
        return f"ended with status {status}"


def say(text: str) -> None:
    """One line of our own on standard error."""
    print(f"flexlink run: {text}", file=sys.stderr, flush=True)


def run_job(options: argparse.Namespace) -> int:
    """All of it in this process, errors as a line and a status."""
    try:
        return Job(options).run()
    except BrokenPipeError:
        return 141  # as a shell reports SIGPIPE: the reader of our output went away
    except OSError as error:
        say(f"cannot start {options.command[0]}: {error}")
        return 127 if isinstance(error, FileNotFoundError) else 126


def main(argv: Sequence[str]) -> int:
    """`flexlink run`; returns the exit status."""
    options = parse(argv)
    return guarded(lambda: run_job(options), FORWARDED)
