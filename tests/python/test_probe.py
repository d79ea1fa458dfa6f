# SPDX-License-Identifier: Apache-2.0
"""The reader on files made byte by byte: what it shows, refuses, and says is missing."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from probe_files import START_NS, TICKS_AT, FakeFile, call_word

from flexlink import probe, probe_layout, process_life
from flexlink.probe import ProbeError, ProbeReader
from flexlink.probe_layout import CLOCK, COMM, HEADER
from flexlink.probe_model import Call, Clock, Record, Wait

ALL_REDUCE = call_word(0, 7, 0, 0, -1)


def read(file: FakeFile, folder: Path) -> probe.Process:
    with ProbeReader(file.write(folder)) as reader:
        return reader.read()


def test_header_names_the_process(tmp_path: Path) -> None:
    process = read(FakeFile(), tmp_path)
    assert (process.pid, process.uid) == (os.getpid(), os.geteuid())
    assert (process.program, process.host, process.life) == ("python", "node7", "alive")
    assert process.communicators == ()


def test_communicator_and_its_live_operation_are_shown(tmp_path: Path) -> None:
    file = FakeFile()
    now_ticks = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - START_NS) // 2 + TICKS_AT
    file.comm(
        3,
        b"world",
        id=0xABC,
        parent=0x12,
        rankAndRanks=1 | 4 << 32,
        hostAndHosts=0 | 2 << 32,
        entered=8,
        completed=7,
        operations=7,
    )
    file.lane(
        3,
        0,
        seq=7,
        call=ALL_REDUCE,
        count=1000,
        bytes=4000,
        bytesDone=400,
        phase=2,
        startTicks=now_ticks - 500_000_000,
        waitRanks=2 | 3 << 32,
        waitSince=now_ticks - 400_000_000,
        longestWait=50,
        operations=7,
        totalBytes=28000,
        busyTicks=100,
        waitedTicks=10,
    )
    (comm,) = read(file, tmp_path).communicators
    assert (comm.slot, comm.id, comm.parent) == (3, "0000000000000abc", "0000000000000012")
    assert (comm.name, comm.rank, comm.ranks, comm.hosts) == ("world", 1, 4, 2)
    assert (comm.state, comm.entered, comm.completed, comm.bytes) == ("ready", 8, 7, 28000)
    (lane,) = comm.lanes
    assert (lane.lane, lane.operations, lane.busy_ns, lane.waited_ns) == ("memory", 7, 200, 20)
    now = lane.now
    assert now is not None
    assert now.call == Call("AllReduce", "float32", "sum", None, 1000)
    assert (now.seq, now.phase, now.bytes, now.bytes_done) == (7, "meeting", 4000, 400)
    assert now.longest_wait == Wait(3, 100)
    assert now.waits_for is not None and now.waits_for.rank == 2
    # The rest passed between making the file and reading it.
    assert now.running_ns is not None and now.running_ns >= 1_000_000_000
    assert now.waits_for.ns == now.running_ns - 200_000_000


def test_idle_lane_that_carried_something_has_no_operation(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0)
    file.lane(0, 1, operations=2, totalBytes=10)
    (comm,) = read(file, tmp_path).communicators
    (lane,) = comm.lanes
    assert (lane.lane, lane.now, lane.busy, lane.bytes) == ("message", None, False, 10)


def test_lane_left_in_the_middle_of_a_change_keeps_its_sums(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0)
    file.lane(0, 0, version=5, phase=3, operations=2, totalBytes=10)
    (comm,) = read(file, tmp_path).communicators
    assert (comm.lanes[0].now, comm.lanes[0].busy, comm.bytes) == (None, True, 10)


def test_slot_that_changes_hands_is_not_shown(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, version=3)
    assert read(file, tmp_path).communicators == ()


def test_number_without_a_name_is_shown_as_a_number(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, state=77)
    file.lane(0, 7, phase=9, call=call_word(200, 201, 202, 7, 5))
    (comm,) = read(file, tmp_path).communicators
    now = comm.lanes[0].now
    assert comm.state == "77" and comm.lanes[0].lane == "7" and now is not None
    assert now.call == Call("200", "201", "202", 5, 0) and now.phase == "9"


def test_collective_without_a_root_shows_none_whatever_was_written(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0)
    file.lane(0, 0, phase=1, call=call_word(3, 7, 0, 0, 2))
    file.lane(0, 1, phase=1, call=call_word(8, 7, 0, 1, 2))
    all_gather, send = (lane.now for lane in read(file, tmp_path).communicators[0].lanes)
    assert all_gather is not None and all_gather.call.root is None
    assert send is not None and send.call.root == 2


def test_text_cannot_steer_the_terminal(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, b"a\x1b[2Jb\xff\nc")
    assert read(file, tmp_path).communicators[0].name == "a?[2Jb\ufffd?c"


def dead_process() -> int:
    child = subprocess.Popen(["true"])
    child.wait(timeout=10)
    return child.pid


@pytest.mark.parametrize(
    ("change", "life"),
    [
        (lambda file: file.set(HEADER, 0, startTime=1), "dead"),
        (lambda file: file.set(HEADER, 0, pid=dead_process()), "dead"),
        (lambda file: file.set(HEADER, 0, pid=0xFFFFFFFF), "dead"),
        (lambda file: file.set_bytes(HEADER.offsets["bootId"], bytes(16)), "dead"),
        (lambda file: file.set(HEADER, 0, pidNamespace=1), "unknown"),
    ],
    ids=["other-start", "ended", "no-such-pid", "other-boot", "other-namespace"],
)
def test_life_follows_pid_start_boot_and_namespace(
    change: Callable[[FakeFile], None], life: str, tmp_path: Path
) -> None:
    file = FakeFile()
    change(file)
    assert read(file, tmp_path).life == life


def test_ended_child_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    file = FakeFile()
    file.set(HEADER, 0, pid=child.pid, startTime=process_life.start_time(child.pid))
    path = file.write(tmp_path)
    with ProbeReader(path) as reader:
        assert reader.read().life == "alive"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert reader.read().life == "dead"
    child.wait(timeout=10)


def test_dead_process_has_no_running_times(tmp_path: Path) -> None:
    file = FakeFile()
    file.set(HEADER, 0, startTime=1, goneUnixNs=123)
    file.comm(0)
    file.lane(0, 0, phase=1, waitRanks=4 | 0xFFFFFFFF << 32)
    process = read(file, tmp_path)
    now = process.communicators[0].lanes[0].now
    assert process.gone_unix_ns == 123 and now is not None
    assert (now.running_ns, now.waits_for) == (None, Wait(4, None))


def test_clock_that_makes_no_sense_gives_no_times() -> None:
    assert Clock(True, 0, 0, 10, 30).span_ns(4) == 12
    assert Clock(True, 100, 1000, 110, 1020).at_ns(95) == 990
    for broken in [(5, 5, 5, 5), (9, 0, 5, 10), (0, 10, 10, 5), (0, 0, 1, 10**6)]:
        assert Clock(True, *broken).span_ns(4) is None
        assert Clock(True, *broken).at_ns(4) is None


def test_record_is_told_in_full(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, records=1)
    file.record(
        0,
        0,
        seq=9,
        call=call_word(1, 8, 2, 1, 4),
        count=5,
        bytes=40,
        startTicks=TICKS_AT + 10,
        endTicks=TICKS_AT + 30,
        outcome=6 | 3 << 8 | 2 << 32,
    )
    with ProbeReader(file.write(tmp_path)) as reader:
        got = reader.records(0)
    assert got.records == (
        Record(
            number=0,
            seq=9,
            lane="message",
            call=Call("Broadcast", "float64", "max", 4, 5),
            bytes=40,
            start_ns=START_NS + 20,
            end_ns=START_NS + 60,
            result=6,
            longest_wait=Wait(3, 4096),
        ),
    )
    assert (got.missed, got.next, got.generation) == (0, 1, 1)


def test_reader_says_how_many_records_it_missed(tmp_path: Path) -> None:
    written = probe_layout.RECORDS + 44
    file = FakeFile()
    file.comm(0, records=written)
    for number in range(44, written):
        file.record(0, number, seq=number)
    with ProbeReader(file.write(tmp_path)) as reader:
        everything = reader.records(0)
        assert [one.number for one in everything.records] == list(range(44, written))
        assert (everything.missed, everything.next) == (44, written)
        assert reader.records(0, after=40).missed == 4
        assert len(reader.records(0, after=written - 3).records) == 3
        assert reader.records(0, after=written) == probe.Records((), 0, written, 1)


def test_record_that_is_being_written_is_missed(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0, records=3)
    for number in range(3):
        file.record(0, number)
    file.record(0, 1, version=2 * (1 + probe_layout.RECORDS) + 1)
    with ProbeReader(file.write(tmp_path)) as reader:
        got = reader.records(0)
    assert [one.number for one in got.records] == [0, 2]
    assert (got.missed, got.next) == (1, 3)


def test_slot_out_of_range_is_refused(tmp_path: Path) -> None:
    with ProbeReader(FakeFile().write(tmp_path)) as reader, pytest.raises(ValueError, match="64"):
        reader.records(64)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda file: file.set(HEADER, 0, magic=0), "not finished yet"),
        (lambda file: file.set(HEADER, 0, magic=5), r"not a probe file \(starts with 0x5\)"),
        (lambda file: file.set(HEADER, 0, layout=1), "layout 1, this version reads 2"),
        (lambda file: file.set(HEADER, 0, slotCount=65), "damaged: slotCount is 65, not 64"),
        (lambda file: file.data.__delitem__(slice(100, None)), "cut off: 384 bytes wanted at 0"),
        (lambda file: file.data.__delitem__(slice(5000, None)), "cut off: 5000 of 1396736 bytes"),
    ],
    ids=["no-magic", "other-magic", "other-layout", "damaged", "cut-header", "cut-slots"],
)
def test_file_that_is_no_probe_is_refused_with_the_reason(
    change: Callable[[FakeFile], None], text: str, tmp_path: Path
) -> None:
    file = FakeFile()
    change(file)
    path = file.write(tmp_path)
    with pytest.raises(ProbeError, match=text) as raised:
        read(file, tmp_path)
    assert str(raised.value).startswith(str(path))


def test_link_and_folder_and_pipe_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "probe-1-1.flx").symlink_to(FakeFile().write(tmp_path, "other"))
    (tmp_path / "probe-2-1.flx").mkdir()
    os.mkfifo(tmp_path / "probe-3-1.flx")
    seen = probe.snapshot([str(tmp_path)])
    assert seen.processes == ()
    reasons = [reason for _, reason in seen.unreadable]
    assert "Too many levels of symbolic links" in reasons[0]
    assert reasons[1:] == [f"{tmp_path}/probe-{n}-1.flx: not a file" for n in (2, 3)]


def test_closed_reader_can_be_closed_again(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reader = ProbeReader(FakeFile().write(tmp_path))
    reader.close()
    reader.close()
    with pytest.raises(ProbeError):
        ProbeReader(tmp_path.joinpath("empty").touch() or tmp_path / "empty")
    assert len(os.listdir("/proc/self/fd")) == before


def test_snapshot_reads_good_files_beside_bad_ones(tmp_path: Path) -> None:
    FakeFile().write(tmp_path, "probe-7-1.flx")
    (tmp_path / "probe-8-1.flx").write_bytes(b"garbage")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    seen = probe.snapshot([str(tmp_path), str(tmp_path / "missing")])
    assert [process.path for process in seen.processes] == [str(tmp_path / "probe-7-1.flx")]
    assert [path for path, _ in seen.unreadable] == [str(tmp_path / "probe-8-1.flx")]


def test_reader_waits_for_a_writer_that_is_in_the_middle(tmp_path: Path) -> None:
    file = FakeFile()
    file.comm(0)
    file.lane(0, 0, version=3, phase=1, seq=1)
    path = file.write(tmp_path)
    at = probe_layout.HEADER_BYTES + COMM.size
    stop = threading.Event()

    def finish() -> None:
        with open(path, "r+b", buffering=0) as out:
            while not stop.is_set():
                os.pwrite(out.fileno(), (4).to_bytes(8, "little"), at)

    writer = threading.Thread(target=finish)
    writer.start()
    try:
        with ProbeReader(path) as reader:
            deadline = time.monotonic() + 30
            while reader.read().communicators[0].lanes[0].busy:
                assert time.monotonic() < deadline
            now = reader.read().communicators[0].lanes[0].now
    finally:
        stop.set()
        writer.join()
    assert now is not None and now.seq == 1


def test_clock_in_the_middle_of_a_change_is_still_a_clock(tmp_path: Path) -> None:
    file = FakeFile()
    file.set(CLOCK, HEADER.offsets["clock"], version=3)
    assert read(file, tmp_path).clock.steady
