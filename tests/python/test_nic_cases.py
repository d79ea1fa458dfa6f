# SPDX-License-Identifier: Apache-2.0
"""The doctor says of every NIC in tests/data/nic_cases.txt what the core says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from doctor_support import nic

from flexlink.doctor.nic_checks import check_nics
from flexlink.doctor.nics import POINT_TO_POINT, RUNNING, UP, Nic, Wish, classify, link_problem


@dataclass
class Case:
    """One case: the wish, the NICs, and for each NIC the verdict and why."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    nics: list[Nic] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)


def nic_of(words: list[str], index: int, names: dict[str, int]) -> Nic:
    """A NIC of the words between `nic` and `=>`."""
    rest: dict[str, object] = {}
    flags, ips = UP | RUNNING, []
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key in ("kind", "parent"):
            rest[key] = value
        elif key == "arp":
            rest["arp_type"] = int(value)
        elif key in ("master", "lower"):
            rest[key] = names.get(value, 0)
        elif key == "elsewhere":
            rest["lower_elsewhere"] = True
        elif key == "ptp":
            flags |= POINT_TO_POINT
        elif key in ("down", "nocarrier"):
            flags = 0 if key == "down" else UP
        else:
            ips.append(word)
    if words[0] == "lo":
        rest["arp_type"] = 772
    return nic(words[0], index, *ips, flags=flags | (0x8 if words[0] == "lo" else 0), **rest)


def read_cases() -> list[Case]:
    lines = (Path(__file__).parents[1] / "data/nic_cases.txt").read_text().splitlines()
    cases: list[Case] = []
    rows: dict[int, list[list[str]]] = {}
    for line in lines:
        verb, _, text = line.partition(" ")
        if verb == "case":
            cases.append(Case(text))
        elif verb == "env":
            name, _, value = text.partition("=")
            cases[-1].env[name] = value
        elif verb == "nic":
            words, _, expected = text.partition(" => ")
            rows.setdefault(len(cases) - 1, []).append(words.split())
            cases[-1].expected.append(f"{words.split()[0]} {expected}")
    for at, all_words in rows.items():
        names = {words[0]: index for index, words in enumerate(all_words, 1)}
        cases[at].nics = [nic_of(words, names[words[0]], names) for words in all_words]
    return cases


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_table_of_places_holds(case: Case) -> None:
    places = classify(case.nics, Wish.of(case.env))
    found = zip(case.nics, places, strict=True)
    assert [f"{one.name} {place.verdict} {place.why}" for one, place in found] == case.expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ""),
        ("tcp:eth1, tcp:eth0", ""),
        ("eth0", "'eth0' has no kind"),
        ("udp:eth0", "'udp:eth0' is of no kind that there is (tcp, pcie)"),
        ("tcp:eth1,pcie", ""),
        ("pcie,pcie", "'pcie' is there twice"),
        ("pcie:eth0", "'pcie:eth0' names an interface, and pcie has none"),
        ("tcp:", "'tcp:' names no interface"),
        ("tcp:eth0,", "'' is empty"),
        ("tcp:eth0, tcp:eth0", "'tcp:eth0' is there twice"),
        ("tcp:a b", "'tcp:a b' has a character that no interface's name has"),
        ("tcp:abcdefghijklmnop", "'tcp:abcdefghijklmnop' is longer than an interface's name"),
    ],
)
def test_links_that_cannot_be_read_are_named_as_the_core_does(text: str, problem: str) -> None:
    assert link_problem(text) == problem


def links_findings(links: str) -> list[tuple[str, str]]:
    found = check_nics([nic("eth0", 2, "192.0.2.1/24")], Wish(links=links))
    return [(one.level, one.text) for one in found if one.check == "network.links"]


def test_links_that_are_wrong_or_not_there_are_findings() -> None:
    assert links_findings("tcp:eth0") == []
    assert links_findings("pcie,tcp:eth0") == []
    assert links_findings("eth0") == [
        ("error", "FLEXLINK_LINKS: 'eth0' has no kind: no communicator over several hosts can be "
         "made"),
    ]  # fmt: skip
    assert links_findings("tcp:eth0,tcp:eth9") == [
        ("warning", "FLEXLINK_LINKS names eth9, which this host does not have"),
    ]
    assert links_findings("tcp:eth8,tcp:eth9") == [
        ("error", "FLEXLINK_LINKS names eth8, eth9, which this host does not have"),
    ]
