# SPDX-License-Identifier: Apache-2.0
"""The pure parts of flexlink_perf, by `flexlink_perf inspect`, against other arithmetic."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from flexlink.perf import find_program

pytestmark = pytest.mark.timeout(60)

TYPES = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "uint64": np.uint64,
    "half": np.float16,
    "float": np.float32,
    "double": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "f8e4m3": ml_dtypes.float8_e4m3fn,
    "f8e5m2": ml_dtypes.float8_e5m2,
}
PERIOD = 16381


def inspect(*words: object) -> str:
    done = subprocess.run(
        [find_program(), "inspect", *map(str, words)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def options(*words: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in inspect("options", *words).splitlines())


def refusal(*words: str) -> str:
    done = subprocess.run(
        [find_program(), "inspect", "options", *words], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_options_without_any_are_those_of_nccl_tests() -> None:
    got = options("all_reduce")
    assert (got["threads"], got["devices"], got["iterations"], got["warmup"]) == (
        "1",
        "1",
        "20",
        "1",
    )
    assert (got["min"], got["max"], got["step"], got["factor"]) == (
        "33554432",
        "33554432",
        "1048576",
        "1",
    )
    assert (got["checks"], got["ops"], got["types"], got["root"]) == ("1", "sum ", "float ", "0")


def test_options_short_and_long_forms_mean_the_same() -> None:
    short = options("reduce", "-b8", "-e", "1G", "-f", "2", "-n", "5", "-w", "0", "-r", "-1", "-a1")
    long = options(
        "reduce",
        "--minbytes=8",
        "--maxbytes",
        "1G",
        "--stepfactor=2",
        "--iters=5",
        "--warmup_iters=0",
        "--root=-1",
        "--average=1",
    )
    assert short == long
    assert (short["min"], short["max"], short["root"]) == ("8", "1073741824", "-1")


@pytest.mark.parametrize(
    ("text", "size"), [("8", 8), ("64K", 65536), ("1.5M", 1572864), ("2g", 2**31), ("0", 0)]
)
def test_options_sizes_have_binary_units(text: str, size: int) -> None:
    assert options("all_reduce", "-b", text, "-e", "4G")["min"] == str(size)


def test_options_all_names_every_type_and_op() -> None:
    got = options("all_reduce", "-d", "all", "-o", "all")
    assert got["types"].split() == list(TYPES)
    assert got["ops"].split() == ["sum", "prod", "max", "min", "avg", "mulsum"]


def test_options_stream_null_chooses_between_blocking_and_enqueued() -> None:
    assert [options("all_reduce", *word)["async"] for word in (["-y", "1"], ["-y", "0"], [])] == [
        "1" if enqueued else "0" for enqueued in (False, True, False)
    ]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["all_reduce", "-b", "8X"], "-b takes a size such as 8, 64K, 1.5M or 2G, not '8X'"),
        (["all_reduce", "-b", "0.3"], "not '0.3'"),
        (["all_reduce", "-n", "0"], "-n takes a whole number from 1, not '0'"),
        (["all_reduce", "-z", "4"], "-z takes a whole number from 0 to 3, not '4'"),
        (["all_reduce", "-o", "xor"], "-o takes sum, prod, min, max, avg, mulsum or all"),
        (["all_reduce", "-d", "float13"], "f8e5m2, or all, not 'float13'"),
        (["all_reduce", "-G", "1"], "-G (CUDA graphs) is not measured here"),
        (["all_reduce", "-D", "2"], "-D (kernels that communicate by themselves) is not"),
        (["all_reduce", "-b", "2M", "-e", "1M"], "-b is larger than -e"),
        (["all_reduce", "-b", "0", "-f", "2"], "-b 0 with -f never gets larger"),
        (["all_reduce", "-R", "2"], "-R 2 (symmetric windows) needs --buffers ncclMemAlloc"),
        (["all_reduce", "--vs", "gloo", "--async"], "--vs compares blocking calls"),
        (["all_reduce", "--device", "tpu"], "--device takes host or cuda, not 'tpu'"),
        (["all_reduce", "--buffers", "huge"], "--buffers takes malloc or ncclMemAlloc"),
        (["all_reduce", "--nonsense"], "unknown option --nonsense"),
        (["all_reduce", "-n"], "-n needs a value"),
        (["all_reduce", "more"], "unexpected argument 'more'"),
        (["all_produce"], "'all_produce' is no collective"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(words: list[str], part: str) -> None:
    assert part in refusal(*words)


@pytest.mark.parametrize(
    ("width", "value", "text"),
    [
        (7, "0", "   0.00"),
        (7, "1234.567", "1234.57"),
        (7, "12345.67", "12345.7"),
        (7, "123456.7", " 123457"),
        (7, "1234567.2", "1234567"),
        (7, "12345678", "1.2e+07"),
        (6, "999.994", "999.99"),
        (6, "999.996", "1000.0"),
        (6, "99999.96", "100000"),
        (6, "999999.6", " 1e+06"),
    ],
)
def test_numbers_lose_digits_before_they_leave_their_column(
    width: int, value: str, text: str
) -> None:
    assert inspect("numbers", width, value) == f"|{text}|\n"


def shape(collective: str, size: int, kind: str, ranks: int) -> list[float]:
    return [float(word) for word in inspect("shape", collective, size, kind, ranks).split()]


@pytest.mark.parametrize(
    ("collective", "send", "recv", "count", "factor", "alg"),
    [
        ("all_reduce", 257, 257, 257, 1.5, 1028),
        ("all_gather", 64, 256, 64, 0.75, 1024),
        ("reduce_scatter", 256, 64, 64, 0.75, 1024),
        ("alltoall", 256, 256, 64, 0.75, 1024),
        ("gather", 64, 256, 64, 0.75, 1024),
        ("scatter", 256, 64, 64, 0.75, 1024),
        ("broadcast", 257, 257, 257, 1, 1028),
        ("reduce", 257, 257, 257, 1, 1028),
        ("sendrecv", 257, 257, 257, 1, 1028),
    ],
)
def test_shape_of_1030_bytes_of_float_on_4_ranks(
    collective: str, send: int, recv: int, count: int, factor: float, alg: int
) -> None:
    assert shape(collective, 1030, "float", 4)[:5] == [send, recv, count, factor, alg]


def test_shape_cuts_blocks_down_to_16_bytes() -> None:
    assert shape("all_gather", 100, "double", 3)[2] == 4
    assert shape("all_gather", 100, "int8", 3)[2] == 32
    assert shape("all_gather", 8, "float", 2)[2] == 0


@pytest.mark.parametrize(
    ("collective", "out_of_place", "in_place"),
    [
        # 3 ranks, blocks of B: bytes read plus bytes written, in units of B.
        ("all_reduce", 6, 6),
        ("broadcast", 6, 4),
        ("reduce", 4, 4),
        ("sendrecv", 6, 6),
        ("all_gather", 18, 12),
        ("reduce_scatter", 12, 12),
        ("alltoall", 18, 18),
        ("gather", 6, 4),
        ("scatter", 6, 4),
    ],
)
def test_traffic_counts_every_byte_read_and_written_once(
    collective: str, out_of_place: int, in_place: int
) -> None:
    numbers = shape(collective, 48, "float", 3)
    block = numbers[2] * 4
    assert numbers[5:] == [out_of_place * block, in_place * block]


def values(kind: str, op: str, ranks: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """(terms [ranks, PERIOD], result [PERIOD]) in the type's own representation."""
    lines = inspect("values", kind, op, ranks, seed).splitlines()
    rows = [np.frombuffer(bytes.fromhex(line), dtype=TYPES[kind]) for line in lines]
    assert all(row.shape == (PERIOD,) for row in rows)
    return np.stack(rows[:ranks]), rows[-1]


def fold(terms: np.ndarray, step: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Left fold that rounds to the type after every step, as the worst library might."""
    result = terms[0]
    for term in terms[1:]:
        result = step(result, term).astype(terms.dtype)
    return result


STEPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 17, 40])
@pytest.mark.parametrize("op", STEPS)
def test_values_give_one_result_in_any_order_without_rounding(
    kind: str, op: str, ranks: int
) -> None:
    terms, result = values(kind, op, ranks)
    with np.errstate(over="ignore"):
        for order in (terms, terms[::-1], np.roll(terms, ranks // 2, axis=0)):
            assert fold(order, STEPS[op]).tobytes() == result.tobytes()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_values_average_is_the_sum_divided_without_rest(kind: str, ranks: int) -> None:
    terms, result = values(kind, "avg", ranks)
    total = terms.astype(np.float64).sum(axis=0)
    assert (total == result.astype(np.float64) * ranks).all()
    assert fold(terms, np.add).astype(np.float64).tobytes() == total.tobytes()
    assert len(np.unique(result)) >= 2


@pytest.mark.parametrize("kind", TYPES)
def test_values_of_mulsum_are_scaled_by_rank_before_the_sum(kind: str) -> None:
    terms, result = values(kind, "mulsum", 5)
    whole = np.issubdtype(TYPES[kind], np.integer)
    scalars = [rank % 3 + 1 if whole else rank % 2 + 1 for rank in range(5)]
    with np.errstate(over="ignore"):
        scaled = np.stack(
            [term * terms.dtype.type(s) for term, s in zip(terms, scalars, strict=True)]
        )
    assert fold(scaled.astype(terms.dtype), np.add).tobytes() == result.tobytes()


@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "avg", "mulsum", "none"])
def test_values_differ_between_ranks_and_between_seeds(op: str) -> None:
    first, _ = values("float", op, 3, seed=1)
    second, _ = values("float", op, 3, seed=2)
    assert first[0].tobytes() != first[1].tobytes() != first[2].tobytes()
    assert first[0].tobytes() != second[0].tobytes()
    assert not (first[0] == second[0]).all()
