# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a probe file, reading it ends with values or a ProbeError, and links prints it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from probe_files import FakeFile

from flexlink import links, probe
from flexlink.probe_layout import (
    COMM,
    FILE_BYTES,
    HEADER,
    HEADER_BYTES,
    LANE,
    LINK,
    LINKS,
    LINKS_OFFSET,
    RECORD,
    RINGS_OFFSET,
)

soak = "FLEXLINK_SOAK" in os.environ  # scripts/soak brings a seed of its own
quiet = settings(
    deadline=None,
    max_examples=2000 if soak else 60,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not soak,
)
words = st.one_of(
    st.integers(0, 9),
    st.integers(0, 2**64 - 1),
    st.sampled_from([2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]),
)


def read_all(data: bytes) -> None:
    """Reads as every user does; anything but a ProbeError for the content is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "probe-1-1.flx").write_bytes(data)
        seen = probe.snapshot([folder])
        assert len(seen.processes) + len(seen.unreadable) == 1
        for process in seen.processes:
            with probe.ProbeReader(process.path) as reader:
                for comm in process.communicators:
                    got = reader.records(comm.slot)
                    assert len(got.records) + got.missed == got.next
        for options in (["--all"], ["--json"]):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                assert links.main(["--folder", folder, *options]) == 0
            assert all(char.isprintable() or char == "\n" for char in out.getvalue())
        json.loads(out.getvalue())


@quiet
@given(st.binary(max_size=5000))
def test_random_bytes_are_no_probe(data: bytes) -> None:
    read_all(data)


@quiet
@given(st.integers(0, FILE_BYTES), st.booleans())
def test_file_cut_anywhere_is_read_or_refused(length: int, used: bool) -> None:
    file = FakeFile()
    if used:
        file.comm(0, b"world", rankAndRanks=1 << 32, records=5)
    read_all(bytes(file.data[:length]))


@quiet
@given(st.dictionaries(st.integers(0, HEADER.size // 4 - 1), words, max_size=4))
def test_header_with_any_words_is_read_or_refused(changes: dict[int, int]) -> None:
    file = FakeFile()
    file.comm(0)
    for index, value in changes.items():
        file.set_bytes(4 * index, (value & 0xFFFFFFFF).to_bytes(4, "little"))
    read_all(bytes(file.data))


@quiet
@given(
    st.lists(words, min_size=COMM.size // 8, max_size=COMM.size // 8),
    st.lists(words, min_size=LANE.size // 8, max_size=LANE.size // 8),
    st.lists(words, min_size=RECORD.size // 8, max_size=RECORD.size // 8),
    st.booleans(),
)
def test_slot_lane_and_record_with_any_words_are_read(
    comm: list[int], lane: list[int], record: list[int], even: bool
) -> None:
    def put(file: FakeFile, at: int, values: list[int]) -> None:
        if even:
            values = [values[0] & ~1, *values[1:]]
        file.set_bytes(at, b"".join(value.to_bytes(8, "little") for value in values))

    file = FakeFile()
    put(file, HEADER_BYTES, comm)
    put(file, HEADER_BYTES + COMM.size, lane)
    put(file, HEADER_BYTES + COMM.size + 7 * LANE.size, lane)
    put(file, RINGS_OFFSET, record)
    read_all(bytes(file.data))


@quiet
@given(
    st.lists(
        st.tuples(st.integers(0, LINKS - 1), st.lists(words, min_size=13, max_size=13)),
        max_size=6,
    ),
    st.binary(max_size=LINK.size - 13 * 8),
    st.booleans(),
)
def test_links_with_any_words_are_read(
    links: list[tuple[int, list[int]]], text: bytes, owned: bool
) -> None:
    file = FakeFile()
    file.comm(0, b"world", rankAndRanks=1 << 32)
    for place, values in links:
        if owned:
            values = [values[0] & ~1, 1 << 32, *values[2:]]
        raw = b"".join(value.to_bytes(8, "little") for value in values) + text
        file.set_bytes(LINKS_OFFSET + place * LINK.size, raw)
    read_all(bytes(file.data))
