# SPDX-License-Identifier: Apache-2.0
"""`flexlink plan --paper`: FlexLink's published results row by row, and the model beside them.

The paper's rows are data (arXiv 2510.15882, 8x H800, 256 MB, as second-hand accounts give them);
nothing in the model was chosen to match them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flexlink.fabric import Fabric, load
from flexlink.plan_model import Plan, plan

FABRIC = "h800"
SIZE = 256 << 20  # of all_gather: of each rank's part


@dataclass(frozen=True)
class Row:
    """One row of the paper: algbw in GB/s (all_gather: of one rank's part), shares in percent."""

    collective: str
    ranks: int
    nccl: float
    flexlink: float
    pcie: float
    nic: float

    @property
    def busbw_per_algbw(self) -> float:
        others = self.ranks - 1
        return 2 * others / self.ranks if self.collective == "all_reduce" else float(others)

    @property
    def gain(self) -> float:
        return self.flexlink / self.nccl - 1

    @property
    def gain_of_shares(self) -> float:
        """What the side paths' shares alone say: the primary has that much less to carry."""
        return 1 / (1 - (self.pcie + self.nic) / 100) - 1


ROWS = (
    Row("all_reduce", 2, 139, 175, 12, 9),
    Row("all_reduce", 4, 98, 118, 12, 2),
    Row("all_reduce", 8, 107, 109, 1, 1),
    Row("all_gather", 2, 132, 163, 14, 5),
    Row("all_gather", 4, 49, 62, 12, 10),
    Row("all_gather", 8, 21, 26, 12, 7),
)

TEXT = """\
a: The model takes the links' full rates. The paper's NVLink reaches 132 to 152 of 200 GB/s (NCCL's
   busbw), its staged PCIe path 21 to 23 of 64, its NIC 2 to 19 of 50. The side paths fall short by
   more, so that its gains stay below the model's.
b: 14 steps, each of which waits for a buffer of 4 MB. The side paths' messages are about as short
   as the buffer, so that the two copies of a step do not overlap and half of the PCIe path's rate
   is gone. The model sees that and gives the difference to the NIC; the paper's NIC could not take
   it. Each step also waits for another process, of which no cited figure is known.
c: The baseline of 187 GB/s is above the 132 to 152 of all other rows: probably NVLink SHARP, not a
   ring. A gain over it is harder.

Gain of shares is 1/(1 - share). That the paper's gains equal it, but for rounding (and 4 points of
AllReduce on 4), says that its paths end together. What is left to win is in faster side paths.
"""


def reasons(row: Row) -> str:
    """The letters of TEXT that explain the row."""
    return "a b c" if (row.collective, row.ranks) == ("all_reduce", 8) else "a"


def modelled(fabric: Fabric, row: Row) -> Plan:
    """The model's answer for the row, with the paper's rings on all paths."""
    size = SIZE if row.collective == "all_reduce" else SIZE * row.ranks
    return plan(fabric, row.collective, size, row.ranks, "ring")


def _cells(fabric: Fabric, row: Row) -> list[str]:
    found = modelled(fabric, row)
    shares = {share.path: share.share for share in found.shares}
    factor = row.busbw_per_algbw
    return [
        row.collective,
        str(row.ranks),
        f"{row.nccl * factor:.0f}",
        f"{row.flexlink * factor:.0f}",
        f"+{row.gain:.0%}",
        f"+{row.gain_of_shares:.0%}",
        f"{row.pcie:g}+{row.nic:g}",
        f"{found.busbw_alone / 1e9:.0f}",
        f"{found.busbw / 1e9:.0f}",
        f"+{found.gain:.0%}",
        f"{100 * shares['pcie']:.0f}+{100 * shares['nic']:.0f}",
        reasons(row),
    ]


HEADINGS = (
    ("", "", "paper:", "", "", "gain of", "PCIe+NIC", "MODEL:", "", "", "PCIe+NIC", "why they"),
    ("collective", "n", "NCCL", "FlexLink", "gain", "shares", "%", "alone", "together", "gain", "%",
     "differ"),
)  # fmt: skip


def text() -> str:
    """The table with its reasons, for people. busbw in GB/s."""
    fabric = load(FABRIC)
    table: list[Iterable[str]] = [*HEADINGS, *(_cells(fabric, row) for row in ROWS)]
    columns = list(zip(*table, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [
        f"MODEL beside the paper (arXiv 2510.15882, second-hand): {fabric.title}, 256 MB, rings",
        "",
    ]
    for cells in table:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n\n" + TEXT
