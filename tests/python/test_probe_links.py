# SPDX-License-Identifier: Apache-2.0
"""`flexlink links` on files made byte by byte: table, JSON, rates, who waits for whom."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from probe_files import START_NS, TICKS_AT, FakeFile, call_word

from flexlink import links, probe
from flexlink.probe_layout import HEADER
from flexlink.text_table import amount, duration, ranges


def ticks_ago(minutes: float) -> int:
    """Half a minute more than whole ones: what passes until the reading changes no text."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(minutes * 60e9)
    return (now - START_NS) // 2 + TICKS_AT


def member(rank: int, entered: int = 5, completed: int = 4, **lane: int) -> FakeFile:
    """Rank `rank` of 3 of communicator beef; in operation #4 when there is anything in `lane`."""
    file = FakeFile()
    counts = {"entered": entered, "completed": completed, "operations": 4}
    file.comm(0, b"world", id=0xBEEF, rankAndRanks=rank | 3 << 32, **counts)
    live = {"seq": 4, "call": call_word(0, 7, 0, 0, -1), "count": 2, "bytes": 8, "phase": 2}
    live["startTicks"] = ticks_ago(10.5)
    file.lane(0, 0, operations=4, totalBytes=1536, **(live | lane if lane else {}))
    return file


def waiting_for(rank: int, minutes: float) -> dict[str, int]:
    return {"waitRanks": rank | 0xFFFFFFFF << 32, "waitSince": ticks_ago(minutes)}


def run(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    assert links.main(["--folder", str(folder), *options]) == 0
    told = capsys.readouterr()
    return told.out, told.err


def test_no_process_is_said_with_the_place_that_was_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = run(tmp_path, capsys)
    assert out == ""
    assert err == f"no FlexLink process of this user is running; looked in {tmp_path}\n"


def test_ranks_of_one_communicator_stand_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(1).write(tmp_path, "probe-1-1.flx")
    member(0, **waiting_for(2, 3.5)).write(tmp_path, "probe-2-1.flx")
    lines = run(tmp_path, capsys)[0].splitlines()
    pid = probe.snapshot([str(tmp_path)]).processes[0].pid
    assert lines[0] == 'communicator 000000000000beef "world": 3 ranks'
    assert " ".join(lines[1].split()) == "rank pid program state ops bytes by lane now waits for"
    assert lines[2].split()[:4] == ["0", str(pid), "python", "ready"]
    assert "#4 AllReduce 2 float32 sum, meeting 0%, 10m" in lines[2]
    assert lines[2].endswith("rank 2 3m")
    assert lines[3].split()[:4] == ["1", str(pid), "python", "ready"]
    assert "memory 1.5 KiB" in lines[3] and "1 queued" in lines[3] and lines[3].endswith("  -")
    assert lines[4] == "  not seen on this machine: rank 2"
    assert lines[5] == "  rank 2 is awaited by rank 0, 3m: it is not seen on this machine"
    assert len(lines) == 6


def test_rank_that_is_in_no_operation_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0, **waiting_for(1, 2.5)).write(tmp_path, "probe-1-1.flx")
    member(1, entered=4, completed=4).write(tmp_path, "probe-2-1.flx")
    member(2, **waiting_for(1, 1.5)).write(tmp_path, "probe-3-1.flx")
    out = run(tmp_path, capsys)[0]
    pid = probe.snapshot([str(tmp_path)]).processes[0].pid
    line = f"  rank 1 is awaited by rank 0, 2, 2m: its process {pid} is in no operation"
    assert f"{line} of this communicator\n" in out


def test_rank_that_is_in_the_operation_is_said_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0, **waiting_for(1, 2.5)).write(tmp_path, "probe-1-1.flx")
    member(1, phase=3, bytesDone=4).write(tmp_path, "probe-2-1.flx")
    assert (
        "rank 1 is awaited by rank 0, 2m: it is at #4 AllReduce 2 float32 sum, moving 50%, 10m\n"
        in run(tmp_path, capsys)[0]
    )


def test_rank_whose_process_died_is_said_to_be_dead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0, **waiting_for(1, 2.5)).write(tmp_path, "probe-1-1.flx")
    dead = member(1)
    dead.set(HEADER, 0, startTime=1)
    dead.write(tmp_path, "probe-2-1.flx")
    out = run(tmp_path, capsys)[0]
    assert "ready, process dead" in out
    assert "  rank 1 is awaited by rank 0, 2m: its process" in out and "is dead\n" in out
    assert "processes that have ended: 1; --all shows what they left" in out


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (call_word(1, 7, 0, 0, 2), "#4 Broadcast 2 float32 root 2, meeting"),
        (call_word(2, 2, 3, 0, 1), "#4 Reduce 2 int32 min root 1, meeting"),
        (call_word(9, 1, 0, 0, 2), "#4 Recv 2 uint8 peer 2, meeting"),
    ],
    ids=["broadcast", "reduce", "recv"],
)
def test_operation_is_named_with_what_matters_to_it(
    call: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0, call=call).write(tmp_path)
    assert text in run(tmp_path, capsys)[0]


def test_short_wait_accuses_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = member(0, **waiting_for(1, 0))
    lane_now = dict(waiting_for(1, 0), waitSince=ticks_ago(-1))  # begins after the reading
    file.lane(0, 0, **lane_now)
    file.write(tmp_path)
    assert "awaited" not in run(tmp_path, capsys)[0]


def test_ended_and_closed_are_shown_only_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = member(0)
    dead.set(HEADER, 0, startTime=1)
    dead.write(tmp_path, "probe-1-1.flx")
    closed = FakeFile()
    closed.comm(0, b"gone", id=7, rankAndRanks=1 << 32, state=6)
    closed.write(tmp_path, "probe-2-1.flx")
    out, err = run(tmp_path, capsys)
    assert "communicator" not in out and "no FlexLink process" in err
    out, err = run(tmp_path, capsys, "--all")
    assert '"world"' in out and '"gone"' in out and err == ""


def test_unreadable_file_and_missing_room_are_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = member(0)
    file.set(HEADER, 0, unrecorded=3)
    file.write(tmp_path, "probe-1-1.flx")
    (tmp_path / "probe-2-1.flx").write_bytes(b"x")
    out = run(tmp_path, capsys)[0]
    assert "3 more communicators, for which its probe had no room" in out
    assert f"unreadable: {tmp_path}/probe-2-1.flx: cut off" in out


def test_json_holds_what_the_reader_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0, **waiting_for(1, 2.5)).write(tmp_path, "probe-1-1.flx")
    (tmp_path / "probe-2-1.flx").write_bytes(b"x")
    told = json.loads(run(tmp_path, capsys, "--json")[0])
    assert told["version"] == 1
    (process,) = told["processes"]
    (comm,) = process["communicators"]
    assert (comm["id"], comm["rank"], comm["ranks"], comm["rate"]) == (
        "000000000000beef",
        0,
        3,
        None,
    )
    assert comm["lanes"][0]["now"]["waits_for"]["rank"] == 1
    assert told["unreadable"][0]["path"] == str(tmp_path / "probe-2-1.flx")


def test_watch_shows_rates_from_the_second_reading_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member(0).write(tmp_path)
    out = run(tmp_path, capsys, "--json", "--watch", "0.01", "--count", "2")[0]
    first, second = (
        json.loads(line)["processes"][0]["communicators"][0] for line in out.splitlines()
    )
    assert first["rate"] is None
    assert second["rate"] == {"operations_per_s": 0.0, "bytes_per_s": 0.0}
    out = run(tmp_path, capsys, "--watch", "0.01", "--count", "2")[0]
    assert out.count("communicator 000000000000beef") == 2
    assert "0/s" in out and "0 B/s" in out


def test_rate_is_the_difference_over_the_readings_distance(tmp_path: Path) -> None:
    path = member(0).write(tmp_path)
    before = probe.snapshot([str(tmp_path)])
    file = FakeFile()
    file.comm(0, id=0xBEEF, rankAndRanks=3 << 32, operations=14)
    file.lane(0, 0, operations=14, totalBytes=2536)
    path.write_bytes(file.data)
    after = probe.snapshot([str(tmp_path)])
    seconds = (after.processes[0].read_ns - before.processes[0].read_ns) / 1e9
    assert links.rates(before, after) == {
        (str(path), 0, 1): links.Rate(10 / seconds, 1000 / seconds)
    }
    assert links.rates(None, after) == {}


def test_reopened_slot_has_no_rate(tmp_path: Path) -> None:
    path = member(0).write(tmp_path)
    before = probe.snapshot([str(tmp_path)])
    file = FakeFile()
    file.comm(0, generation=2)
    path.write_bytes(file.data)
    assert links.rates(before, probe.snapshot([str(tmp_path)])) == {}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1536, "1.5 KiB"),
        (1023 * 1024, "0.999 MiB"),
        (12.3 * 2**30, "12.3 GiB"),
        (2**60, "1.02e+03 PiB"),
    ],
)
def test_amount_has_three_digits_and_a_unit(number: float, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (None, "?"),
        (0, "0 ns"),
        (999, "999 ns"),
        (1500, "1.5 us"),
        (2_340_000, "2.34 ms"),
        (119 * 10**9, "119 s"),
        (121 * 10**9, "2m"),
        (7500 * 10**9, "2h05m"),
    ],
)
def test_duration_has_a_fitting_unit(nanos: int | None, text: str) -> None:
    assert duration(nanos) == text


def test_ranges_join_neighbours() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges([]) == ""


@pytest.mark.parametrize("argument", ["0", "-1", "nan", "x"])
def test_watch_that_is_no_time_is_refused(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        links.main([f"--watch={argument}"])
    assert raised.value.code == 2
    assert argument in capsys.readouterr().err
