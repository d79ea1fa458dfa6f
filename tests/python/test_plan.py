# SPDX-License-Identifier: Apache-2.0
"""`flexlink plan`: what the model says of machines, the published table, and bad fabric files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flexlink import plan as command
from flexlink import plan_paper
from flexlink.errors import InvalidArgument
from flexlink.fabric import FabricError, bundled, load, override
from flexlink.plan_model import COLLECTIVES, idle_opportunity, plan

SIZE = 256 << 20
PAGE = Path(__file__).resolve().parents[2] / "docs" / "plan.md"

TWO_PATHS = """\
[[path]]
name = "fast"
rate = 4e9

latency = 1e-6
[[path]]
name = "slow"
rate = 2e9
latency = 5e-6
"""


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return str(file)


def output(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flexlink", "plan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flexlink", "plan", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    return done.stderr


def test_output_says_model_first_and_shows_split_busbw_and_sources() -> None:
    lines = output("--fabric", "h800", "all_reduce", "256M", "-n", "8").splitlines()
    assert lines[0] == "MODEL, nothing is measured: all_reduce of 268435456 B on 8 ranks of h800"
    table = [line.split()[0] for line in lines[4:7]]
    assert table == ["nvlink", "pcie", "nic"]
    (together,) = (line for line in lines if line.startswith("together: "))
    assert together.endswith("busbw 263.3 GB/s, gain +32.0 %")
    assert any(line.startswith("  host memory.rate = 6e+11: arXiv 2512.16056") for line in lines)


def test_json_holds_the_same_plan() -> None:
    told = json.loads(output("all_reduce", "256M", "-n", "8", "--json"))
    found = plan(load("h800"), "all_reduce", SIZE, 8)
    assert told["kind"] == "MODEL"
    assert told["plan"]["busbw"] == found.busbw
    assert told["plan"]["gain"] == found.gain
    assert [share["path"] for share in told["plan"]["shares"]] == ["nvlink", "pcie", "nic"]
    assert told["figures"]["pcie.rate"]["value"] == 64e9


@pytest.mark.parametrize("fabric", ["h800", "h100", "h200", "a800", "gb200", "gb300"])
def test_every_figure_of_a_bundled_fabric_has_a_source(fabric: str) -> None:
    assert fabric in bundled()
    for key, figure in load(fabric).figures():
        assert figure.value > 0, key
        assert len(figure.source) > 20 and "no source" not in figure.source, key


# FlexLink's table 1: GB/s in both directions, NIC in Gb/s, and the opportunity that follows.
@pytest.mark.parametrize(
    ("fabric", "nvlink", "bus", "nic", "percent"),
    [
        ("h800", 400, 128, 800, "32%"),
        ("h100", 900, 128, 800, "14%"),
        ("h200", 900, 128, 800, "14%"),
        ("a800", 400, 64, 400, "16%"),
        ("gb200", 1800, 400, 1600, "22%"),
        ("gb300", 1800, 400, 1600, "33%"),
    ],
)
def test_the_papers_idle_bandwidth_follows_from_the_files(
    fabric: str, nvlink: int, bus: int, nic: int, percent: str
) -> None:
    found = load(fabric)
    rates = [path.rate.value for path in found.paths]
    assert rates == [nvlink * 1e9 / 2, bus * 1e9 / 2, nic * 1e9 / 8 / 2]
    assert f"{idle_opportunity(found):.0%}" == percent


@pytest.mark.parametrize("key", ["pcie.rate", "uplink.rate", "host memory.rate"])
@pytest.mark.parametrize("fabric", ["h800", "h100", "a800"])
def test_halving_a_rate_lowers_the_gain(fabric: str, key: str) -> None:
    whole = load(fabric)
    value = dict(whole.figures())[key].value
    if key != "uplink.rate":  # what the NIC could take over must not hide it
        whole = override(whole, "nic.rate=1e9")
    halved = override(whole, f"{key}={value / 2}")
    size = 8 * SIZE
    assert plan(halved, "all_gather", size, 8).gain < plan(whole, "all_gather", size, 8).gain


def test_halving_the_side_paths_halves_the_gain_of_large_operations(tmp_path: Path) -> None:
    fabric = load(written(tmp_path, TWO_PATHS))
    half = override(fabric, "slow.rate=1e9")
    assert f"{plan(fabric, 'all_reduce', 1 << 40, 2).gain:.6f}" == "0.500000"
    assert f"{plan(half, 'all_reduce', 1 << 40, 2).gain:.6f}" == "0.250000"


@pytest.mark.parametrize("fabric", ["h800", "h100", "h200", "a800", "gb200", "gb300"])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_gain_of_a_large_operation_is_what_the_others_take_off_the_primary(
    fabric: str, collective: str
) -> None:
    found = plan(load(fabric), collective, 1 << 50, 8)
    first = found.shares[0].share
    assert f"{1 + found.gain:.6f}" == f"{1 / first:.6f}"
    assert f"{sum(share.share for share in found.shares):.9f}" == "1.000000000"


def test_a_path_that_answers_later_carries_nothing_of_a_small_operation(tmp_path: Path) -> None:
    fabric = load(written(tmp_path, TWO_PATHS))
    # all_gather on 2 ranks: one step, half of the size is sent. 4 us pass before slow delivers.
    assert f"{plan(fabric, 'all_gather', SIZE, 2).alone_below:.3f}" == "32000.000"
    small = plan(fabric, "all_gather", 32000, 2)
    assert [share.share for share in small.shares] == [1, 0]
    assert small.gain == 0
    assert small.shares[1].length == 0
    assert plan(fabric, "all_gather", 64000, 2).shares[1].share > 0


def test_slices_cover_each_ranks_block_at_whole_cache_lines() -> None:
    for collective, block in (("all_reduce", SIZE), ("all_gather", SIZE // 8)):
        found = plan(load("h800"), collective, SIZE, 8)
        at = 0
        for share in found.shares:
            if share.length:
                assert (share.offset, share.offset % 64) == (at, 0)
                at += share.length
        assert at == block
        assert sum(share.weight for share in found.shares) == 1024


def test_never_slower_than_the_primary_alone() -> None:
    for name in bundled():
        for exponent in range(3, 36):
            for ranks in (2, 3, 8, 72):
                found = plan(load(name), "all_reduce", 1 << exponent, ranks)
                assert found.gain > -1e-12, (name, exponent, ranks)


def test_rings_of_short_messages_lose_what_staging_overlaps() -> None:
    fabric = load("h800")
    ring = plan(fabric, "all_reduce", SIZE, 8, "ring")
    direct = plan(fabric, "all_reduce", SIZE, 8, "direct")
    assert ring.shares[1].share < direct.shares[1].share


def test_the_papers_table_is_printed_row_by_row_with_reasons() -> None:
    lines = output("--paper").splitlines()
    assert lines[0].startswith("MODEL beside the paper")
    rows = [line.split() for line in lines if line.startswith("all_")]
    assert [row[:10] for row in rows] == [
        ["all_reduce", "2", "139", "175", "+26%", "+27%", "12+9", "200", "264", "+32%"],
        ["all_reduce", "4", "147", "177", "+20%", "+16%", "12+2", "200", "264", "+32%"],
        ["all_reduce", "8", "187", "191", "+2%", "+2%", "1+1", "199", "263", "+32%"],
        ["all_gather", "2", "132", "163", "+23%", "+23%", "14+5", "200", "264", "+32%"],
        ["all_gather", "4", "147", "186", "+27%", "+28%", "12+10", "200", "264", "+32%"],
        ["all_gather", "8", "147", "182", "+24%", "+23%", "12+7", "200", "264", "+32%"],
    ]
    for row in rows:
        for letter in row[11:]:
            assert any(line.startswith(f"{letter}: ") for line in lines)


def test_the_pages_example_of_a_fabric_file_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    fabric = load(written(tmp_path, example))
    assert [path.name for path in fabric.paths] == ["nvlink", "pcie"]
    assert fabric.caps[0].rate_of_one(4) == 100e9
    assert plan(fabric, "all_gather", 1 << 30, 4).gain > 0


def test_the_page_says_what_the_papers_own_rates_give() -> None:
    fabric = load("h800")
    for text in ("nvlink.rate=147e9", "pcie.rate=22e9", "nic.rate=13e9"):
        fabric = override(fabric, text)

    def said(collective: str, size: int, schedule: str) -> list[str]:
        found = plan(fabric, collective, size, 8, schedule)
        shares = [f"{100 * share.share:.1f}" for share in found.shares[1:]]
        return [*shares, f"{100 * found.gain:+.1f}"]

    assert said("all_gather", 8 * SIZE, "ring") == ["10.6", "7.2", "+21.7"]
    assert said("all_reduce", SIZE, "ring") == ["6.1", "7.3", "+15.5"]
    assert said("all_reduce", SIZE, "direct") == ["10.4", "7.2", "+21.4"]


def test_the_page_shows_what_the_program_prints() -> None:
    text = PAGE.read_text()
    table = [line for line in plan_paper.text().splitlines() if line.startswith("all_")]
    for line in table:
        assert line in text
    shown = output("--fabric", "h800", "all_reduce", "256M", "-n", "8").split("\n\nfigures")[0]
    assert shown in text


BAD_FILES = [
    ("", "there is no [[path]]; the first one is the primary"),
    ("speed = 1", "the file has the key 'speed'; expected title, path, cap"),
    ("[path]\nname = 'a'", "path is {'name': 'a'}; expected tables that begin with [[path]]"),
    ("[[path]]\nrate = 1", "[[path]] 1: name is None; expected a text without '.' and '='"),
    (
        "[[path]]\nname = 'a'\nrate = '64GB'",
        "path 'a': rate is '64GB'; expected a number of bytes/s in one direction above 0, or "
        '{ value = ..., source = "..." }',
    ),
    (
        "[[path]]\nname = 'a'\nrate = 0\nlatency = 0",
        "path 'a': rate is 0; expected a number of bytes/s in one direction above 0, or",
    ),
    ("[[path]]\nname = 'a'\nrate = nan", "path 'a': rate is nan; expected a number"),
    (
        "[[path]]\nname = 'a'\nrate = { value = 1, cite = 'x' }",
        "path 'a': rate is {'value': 1, 'cite': 'x'}; expected a number",
    ),
    ("[[path]]\nname = 'a'\nrate = 1", "path 'a': latency is None; expected a number of seconds"),
    (
        "[[path]]\nname = 'a'\nrate = 1\nlatency = -1",
        "path 'a': latency is -1; expected a number of seconds that is not negative",
    ),
    (
        "[[path]]\nname = 'a'\nrate = 1\nlatency = 0\nstages = 0",
        "path 'a': stages is 0; expected a whole number from 1 to 16",
    ),
    (
        "[[path]]\nname = 'a'\nrate = 1\nlatency = 0\nschedule = 'tree'",
        "path 'a': schedule is 'tree'; expected 'ring' or 'direct'",
    ),
    (
        "[[path]]\nname = 'a'\nrate = 1\nlatency = 0\nspeed = 1",
        "path 'a' has the key 'speed'; expected name, rate, latency, chunk, stages, schedule",
    ),
    (
        TWO_PATHS + "[[cap]]\nname = 'c'\nrate = 1\npaths = ['nic']",
        "cap 'c': paths is ['nic']; expected a list of some of fast, slow",
    ),
    (
        TWO_PATHS + "[[cap]]\nname = 'c'\nrate = 1\npaths = ['slow']\nshared_by = 0",
        "cap 'c': shared_by is 0; expected a number of ranks, or 'all'",
    ),
    (
        TWO_PATHS + "[[cap]]\nname = 'c'\nrate = 1\npaths = ['slow']\ncrossings = 0",
        "cap 'c': crossings is 0; expected a number above 0",
    ),
    (
        TWO_PATHS + "[[cap]]\nname = 'slow'\nrate = 1\npaths = ['slow']",
        "the name 'slow' is used twice; each path and cap needs its own",
    ),
    ("[[path", "not TOML: "),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_bad_file_is_refused_with_file_key_and_expectation(
    text: str, message: str, tmp_path: Path
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(FabricError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{file}: {message}")


def test_a_fabric_that_is_nowhere_is_refused_with_the_list() -> None:
    message = refused("--fabric", "h900", "all_reduce", "1M", "-n", "2")
    assert message == (
        "flexlink: fabric 'h900': it is none of a800, gb200, gb300, h100, h200, h800, "
        "and as a file: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all_reduce", "256X", "-n", "8"], "'256X' is no size; expected e.g. 4096, 64K, 256M"),
        (["all_reduce", "0", "-n", "8"], "'0' is no size"),
        (["all_reduce", "1M", "-n", "1"], "'1' is no number of ranks; expected 2 or more"),
        (["all_reduce", "1M"], "no number of ranks; expected -n 8"),
        (["all_reduce"], "no size; expected e.g. 256M"),
        ([], "no collective; expected one of all_reduce, all_gather, reduce_scatter, alltoall"),
        (["broadcast", "1M", "-n", "2"], "'broadcast' is no collective of the model"),
        (
            ["all_reduce", "1M", "-n", "2", "--set", "pci.rate=1"],
            "fabric 'h800' has no figure 'pci.rate'; expected one of nvlink.rate, nvlink.latency",
        ),
        (["all_reduce", "1M", "-n", "2", "--set", "pcie.rate=0"], "'0' is no number above 0"),
        (["all_reduce", "1M", "-n", "2", "--set", "pcie.rate"], "'' is no number above 0"),
    ],
)
def test_wrong_words_are_refused_with_what_is_expected(arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_a_figure_of_the_command_line_is_used_and_said() -> None:
    text = output("all_reduce", "256M", "-n", "8", "--set", "pcie.rate=26e9")
    assert "  pcie.rate = 2.6e+10: given on the command line\n" in text
    assert "\npcie    26 " in text


def test_a_users_file_needs_no_sources_and_is_told_so(tmp_path: Path) -> None:
    text = output("--fabric", written(tmp_path, TWO_PATHS), "all_gather", "1G", "-n", "2")
    assert "1073741824 B on 2 ranks of mine\n" in text
    assert "  slow.rate = 2e+09: no source given\n" in text
    assert "gain +50.0 %" in text


def test_the_library_refuses_numbers_that_take_for_ever() -> None:
    fabric = override(override(load("h800"), "nvlink.rate=1e-300"), "pcie.rate=1e-300")
    with pytest.raises(InvalidArgument, match="longer than any number can say"):
        plan(override(fabric, "nic.rate=1e-300"), "all_reduce", 1 << 61, 8)


@pytest.mark.parametrize(
    ("text", "size"), [("8", 8), ("64K", 65536), ("256m", SIZE), ("1GB", 1 << 30)]
)
def test_sizes_are_read_as_nccl_tests_read_them(text: str, size: int) -> None:
    assert command.parse_size(text) == size
