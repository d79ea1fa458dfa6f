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
    program: str  # test_unit, test_conformance, test_ranks, test_fault
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
        "right or an error: a payload is overwritten while peers still read it",
        "native/src/lane/memory/memory_lane.cc",
        "eagerAt_ += wholeLines(shape_.payload);",
        "eagerAt_ += 0;",
        "test_ranks",
        "Shapes/Matrix.*",
    ),
    Mutation(
        "right or an error: some leave their payload at home and all take it for sent",
        "native/src/lane/memory/direct.cc",
        "if (leavesOutPayload(rank)) return false;",
        "if (false) return false;",
        "test_ranks",
        "Shapes/Matrix.*",
    ),
    Mutation(
        "same bits: contributions folded in another order",
        "native/src/lane/memory/eager.cc",
        "sources_[static_cast<size_t>(rank)] = eagerSource(rank);",
        "sources_[static_cast<size_t>(ranks_ - 1 - rank)] = eagerSource(rank);",
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
        "if (head.signature != signature || head.count != count)",
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
        "honest capability: memory of a device that this build lacks is handed out",
        "native/src/api/memory.cc",
        'if (settings().device == "cuda") {',
        "if (false) {",
        "test_unit",
        "ApiEdge.*",
    ),
    Mutation(
        "cheap to watch: an operation is recorded without its end",
        "native/src/lane/memory/memory_lane.cc",
        "probe_->end(probeSeq_++, 0);",
        "",
        "test_conformance",
        "MemoryLaneProbe.*",
    ),
    Mutation(
        "good guest: who waits for a late peer never sleeps",
        "native/src/engine/engine.cc",
        "WaitPolicy{64, 50'000, 500'000}",
        "WaitPolicy{64, 50'000, 500'000'000'000}",
        "test_fault",
        "Wait.LatePeer*",
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
        "test_unit",
        "DoorCookie.*",
    ),
    Mutation(
        "waits: a link that is silent is never left",
        "native/src/link/bundle_failover.cc",
        "} else if (silent > kSilentNanos && slot->answeredAt != 0 &&",
        "} else if (silent > kSilentNanos && slot->answeredAt != 0 && false &&",
        "test_unit",
        "Bundle.ASilentLink*",
    ),
    Mutation(
        "right or an error: what a failed link has left undone is forgotten",
        "native/src/link/bundle_failover.cc",
        "repost(std::move(frame), nullptr);",
        "(void)frame;",
        "test_unit",
        "Bundle.ACutLink*",
    ),
    Mutation(
        "waits: a peer that computes loses a link for it",
        "native/src/link/bundle_failover.cc",
        "now - slot->answeredAt >= kGraceNanos) {",
        "true) {",
        "test_unit",
        "Bundle.APeerThatIsAway*",
    ),
    Mutation(
        "a good guest: what arrives on a socket wakes nobody",
        "native/src/link/bundle.cc",
        "if (!moved && aboutToSleep) armBells();",
        "",
        "test_unit",
        "Bundle.WhoSleeps*",
    ),
    Mutation(
        "after-life: late bytes of a stalled link land in the user's memory",
        "native/src/link/tcp/tcp_link.cc",
        "overlaps(target_, in_.length, begin, bytes)) {",
        "overlaps(target_, in_.length, begin, bytes) && false) {",
        "test_unit",
        "Bundle.LateBytes*:Bundle.Forgotten*",
    ),
    Mutation(
        "right or an error: what was read from a rank that gave up is taken for a result",
        "native/src/lane/memory/direct.cc",
        "if (anybodyGaveUp()) return Progress::kFailed;",
        "",
        "test_conformance",
        "MemoryLane.WhoeverReads*",
    ),
    Mutation(
        "right or an error: in place, a contribution is overwritten while it is on its way",
        "native/src/schedule/patterns.cc",
        "segment, 0, call.inPlace ? 1 : 0)",
        "segment, 0, 0)",
        "test_unit",
        "Schedule.*",
    ),
    Mutation(
        "right or an error: a process ends before its last words have left the machine",
        "native/src/link/tcp/tcp_link.cc",
        "return out_.empty() && (ioctl",
        "return true || (ioctl",
        "test_ranks",
        "Hosts.Children*:Hosts.Batches*",
    ),
    Mutation(
        "same bits: an average between hosts is divided by the hosts",
        "native/src/lane/hier/hier_plan.cc",
        "one.divisor = map_.ranks();",
        "one.divisor = map_.hosts();",
        "test_ranks",
        "Hosts.RandomCases*",
    ),
    Mutation(
        "mismatches: calls that share no rail do not announce themselves",
        "native/src/lane/hier/hier_plan.cc",
        "if (map_.local() == 0) part_.rail.collective.push_back(nothing);",
        "",
        "test_ranks",
        "Hosts.UnlikeKinds*",
    ),
    Mutation(
        "closed doors: a peer may put anywhere",
        "native/src/lane/message/one_sided.cc",
        "(said.bytes != 0 && !isInWindow(to, said.bytes))",
        "(said.bytes != 0 && false)",
        "test_ranks",
        "Hosts.APut*",
    ),
    Mutation(
        "mismatches: unlike messages between hosts",
        "native/src/lane/message/call_book.cc",
        "bool same = mine.signature == theirs.signature && mine.count == theirs.count;",
        "bool same = true;",
        "test_conformance",
        "*MessageLaneWays.Unlike*",
    ),
    Mutation(
        "right or an error: a split leaves out the last bytes",
        "native/src/balance/weights.cc",
        "length += bytes - from;",
        "length += 0;",
        "test_unit",
        "*Split*:*Weights*",
    ),
)
