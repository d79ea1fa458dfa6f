# SPDX-License-Identifier: Apache-2.0
"""One-line faults, and the test that each must turn red; scripts/mutate runs them.

Each promise of the design has at least one. A fault that no test notices, or a line that is no
longer there, fails scripts/mutate.
"""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One fault: the first `find` in `file` becomes `put`, and `program` with `tests` must fail."""

    promise: str
    file: str
    find: str
    put: str
    program: str  # test_unit, test_ranks or test_fault
    tests: str  # a GoogleTest filter


MUTATIONS = (
    Mutation(
        "right or an error: an average over one rank too many",
        "native/src/lane/memory/eager.cc",
        "args.divisor = ranks_;",
        "args.divisor = ranks_ + 1;",
        "test_ranks",
        "Shapes/Matrix.*/2*",
    ),
    Mutation(
        "right or an error: a slot is filled again before it was emptied",
        "native/src/schedule/chunked.h",
        "return std::max(filled, emptied);",
        "return filled;",
        "test_unit",
        "ChunkedSchedule.*",
    ),
    Mutation(
        "same bits: contributions folded in another order",
        "native/src/lane/memory/eager.cc",
        "sources_[static_cast<size_t>(rank)] = static_cast<const uint8_t*>(payload) + offset;",
        "sources_[static_cast<size_t>(ranks_ - 1 - rank)] ="
        " static_cast<const uint8_t*>(payload) + offset;",
        "test_ranks",
        "Bits.*:Reference.*:Shapes/Matrix.*/3*",
    ),
    Mutation(
        "waits: a dead peer is not noticed",
        "native/src/lane/memory/memory_lane.cc",
        "if (!dead && !closed) return {};",
        "if (!closed) return {};",
        "test_fault",
        "Kill.InSmall*",
    ),
    Mutation(
        "waits: FLEXLINK_TIMEOUT is not kept",
        "native/src/comm/communicator.cc",
        "if (limit <= 0 ||",
        "if (limit >= 0 ||",
        "test_fault",
        "Stop.TimeLimit*",
    ),
    Mutation(
        "waits: a missing rank is waited for for ever",
        "native/src/comm/door.cc",
        "if (limit > 0) {",
        "if (limit < 0) {",
        "test_fault",
        "Wait.MissingRanks*",
    ),
    Mutation(
        "mismatch: unlike counts pass",
        "native/src/lane/memory/memory_lane.cc",
        "if (head.signature != signature || head.count != call_.count)",
        "if (head.signature != signature)",
        "test_fault",
        "Ranks/Mismatched.Calls*",
    ),
    Mutation(
        "after-life: a call after the failure is carried out as if nothing had been",
        "native/src/comm/communicator.cc",
        "failed_.store(true, std::memory_order_release);",
        "failed_.store(false, std::memory_order_release);",
        "test_fault",
        "Kill.InSmall*",
    ),
    Mutation(
        "after-life: a peer that wakes up writes into memory that the user owns again",
        "native/src/lane/memory/memory_lane.cc",
        "FLEXLINK_TRY(table.rehome(call_.send));",
        "return {};",
        "test_fault",
        "Stop.SharedMemory*",
    ),
    Mutation(
        "nothing left: a destroyed communicator keeps its segment",
        "native/src/lane/memory/own_segment.cc",
        "(void)RegionTable::instance().destroy(base_);",
        "",
        "test_fault",
        "Leaks.*",
    ),
    Mutation(
        "honest capability: FLEXLINK_DIRECT=0 is not heard",
        "native/src/comm/creation.cc",
        'card.onHost = settings().device != "cuda";',
        "card.onHost = 1;",
        "test_ranks",
        "Bootstrap.*:Ranks/Lifecycle.*",
    ),
    Mutation(
        "cheap to watch: an operation is recorded without its end",
        "native/src/lane/memory/memory_lane.cc",
        "probe_->end(probeSeq_++, 0);",
        "",
        "test_ranks",
        "Probe.*",
    ),
    Mutation(
        "good guest: the engine's thread never sleeps",
        "native/src/engine/engine.cc",
        "constexpr int64_t kAwakeNanos = 200'000;",
        "constexpr int64_t kAwakeNanos = 200'000'000'000;",
        "test_fault",
        "Wait.IdleCommunicator*",
    ),
    Mutation(
        "good guest: a forked child calls into its parent's communicators",
        "native/src/comm/shell.cc",
        "forked.store(true, std::memory_order_relaxed);",
        "forked.store(false, std::memory_order_relaxed);",
        "test_fault",
        "Fork.*",
    ),
    Mutation(
        "closed doors: any cookie opens",
        "native/src/comm/door.cc",
        "return cookies_.count(cookie) != 0;",
        "return cookies_.count(cookie) != 0 || true;",
        "test_fault",
        "Door.*",
    ),
)
