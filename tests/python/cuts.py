# SPDX-License-Identifier: Apache-2.0
"""Links that are broken and mended at random under two ranks that never stop and check every
element (programs/cuts_rank.py).

python tests/python/cuts.py COUNT [--seed=N]; scripts/soak runs it, and CI a short form.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from netns import TwoHosts

PROGRAM = Path(__file__).parent / "programs" / "cuts_rank.py"
RATES = (800, 400, 200)
OTHER_RATES = (100, 200, 400, 800)
LONGEST_PAUSE = 0.4  # seconds between two changes
LONGEST_DARK = 1.5  # that no link works; a host is given up after 8
PATIENCE = 10.0  # until a round must be over, whatever happened
MEBI = 1 << 20


class Cuts:
    """What the links are like, and what may happen to them next. At least one is whole at all times
    but in `blink`, and each has at most one fault."""

    def __init__(self, hosts: TwoHosts, seed: int) -> None:
        self.hosts = hosts
        self.source = random.Random(seed)
        self.faults: dict[int, tuple[str, int]] = {}  # by link: which, and on which side
        self.rates = list(RATES)
        self.done: list[str] = []

    def change(self) -> None:
        """One change, chosen by the seed alone."""
        whole = [link for link in range(len(RATES)) if link not in self.faults]
        kinds = ["rate"] * (len(whole) > 0) + ["down", "silent", "hole"] * (len(whole) > 1)
        kinds += ["mend"] * 2 * len(self.faults) + ["blink"] * (self.source.random() < 0.1)
        kind = self.source.choice(kinds)
        if kind == "blink":
            self._blink(whole)
            return
        link = self.source.choice(list(self.faults) if kind == "mend" else whole)
        self.done.append(f"{kind} {link}")
        if kind == "mend":
            self.mend(link)
        elif kind == "rate":
            self.rates[link] = self.source.choice(OTHER_RATES)
            self.hosts.set_rate(link, self.rates[link])
        else:
            self._break(kind, link)

    def _break(self, kind: str, link: int) -> None:
        side = self.source.choice((0, 1))
        self.faults[link] = kind, side
        if kind == "down":
            self.hosts.set_link(link, "down", side)
        elif kind == "silent":
            self.hosts.set_silent(link, True)
        else:
            self.hosts.set_hole(link, (side,))

    def mend(self, link: int) -> None:
        kind, side = self.faults.pop(link)
        if kind == "down":
            self.hosts.set_link(link, "up", side)
        elif kind == "silent":
            self.hosts.set_silent(link, False)
        else:
            self.hosts.set_rate(link, self.rates[link])

    def _blink(self, whole: list[int]) -> None:
        """All that is left breaks, and one link, whichever, is mended in time."""
        for link in whole:
            self._break(self.source.choice(("down", "silent")), link)
        time.sleep(self.source.uniform(0, LONGEST_DARK))
        back = self.source.choice(range(len(RATES)))
        self.done.append(f"blink, mend {back}")
        self.mend(back)


class Ranks:
    """The two processes."""

    def __init__(self, hosts: TwoHosts, folder: Path, seed: int) -> None:
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                hosts.command(
                    side, [sys.executable, str(PROGRAM), str(folder), str(side), "2", str(seed)]
                ),
                env={**os.environ, "NCCL_SOCKET_IFNAME": "fl", "NCCL_DEBUG": "INFO",
                     "NCCL_DEBUG_FILE": str(folder / f"log{side}")},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for side in (0, 1)
        ]  # fmt: skip

    def turn(self) -> int:
        """Rounds that are over on both sides."""
        texts = [self.folder / f"turn{side}" for side in (0, 1)]
        return min(int(text.read_bytes() or b"0") if text.exists() else 0 for text in texts)

    def await_turn(self, turn: int) -> None:
        """Until so many rounds are over."""
        deadline = time.monotonic() + PATIENCE
        while self.turn() < turn:
            assert time.monotonic() < deadline, f"round {self.turn()} has not ended in {PATIENCE} s"
            assert all(process.poll() is None for process in self.processes), "a rank has ended"
            time.sleep(0.01)

    def end(self) -> None:
        """Both must end well."""
        (self.folder / "stop").touch()
        for process in self.processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors

    def kill(self) -> str:
        """What they said last."""
        said = []
        for side, process in enumerate(self.processes):
            process.kill()
            log = self.folder / f"log{side}"
            text = log.read_text()[-4000:] if log.exists() else ""
            said.append(f"--- rank {side}\n{text}\n{process.communicate()[1]}")
        return "\n".join(said)


def await_all_used(hosts: TwoHosts) -> None:
    """Every link that is whole carries data again."""
    before = hosts.sent(0)
    deadline = time.monotonic() + PATIENCE
    while any(now < then + MEBI for now, then in zip(hosts.sent(0), before, strict=True)):
        assert time.monotonic() < deadline, f"bytes of the links, from {before} to {hosts.sent(0)}"
        time.sleep(0.05)


def run(count: int, seed: int) -> tuple[int, Counter[str]]:
    """Rounds of the ranks beside `count` changes, and what these were; else AssertionError."""
    with TwoHosts(RATES) as hosts, tempfile.TemporaryDirectory() as folder:
        cuts = Cuts(hosts, seed)
        ranks = Ranks(hosts, Path(folder), seed)
        try:
            ranks.await_turn(1)
            for _ in range(count):
                cuts.change()
                ranks.await_turn(ranks.turn() + 1)
                time.sleep(cuts.source.uniform(0, LONGEST_PAUSE))
            for link in list(cuts.faults):
                cuts.mend(link)
            await_all_used(hosts)
            ranks.end()
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}: {error}\nchange {len(cuts.done)} of {count}; the last were"
                f" {', '.join(cuts.done[-12:])}\n{ranks.kill()}"
            ) from error
        return ranks.turn(), Counter(word.split()[0].strip(",") for word in cuts.done)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    args = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        sys.exit("network namespaces need root and iproute2")
    rounds, kinds = run(args.count, args.seed)
    print(f"{rounds} rounds beside " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    print(f"{args.count} passed")


if __name__ == "__main__":
    main()
