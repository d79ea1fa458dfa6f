// SPDX-License-Identifier: Apache-2.0
// Pins flexlink/probe.h: a change here breaks readers of files that exist, so it needs a new
// FLEXLINK_PROBE_LAYOUT. tests/python/test_probe_layout.py holds the reader to the same numbers.
#include <atomic>
#include <cstddef>

#include "flexlink/probe.h"

namespace {

static_assert(FLEXLINK_PROBE_LAYOUT == 2);
static_assert(sizeof(FlexlinkProbeHeader) == 384);
static_assert(sizeof(FlexlinkProbeHeader) <= FLEXLINK_PROBE_HEADER_BYTES);
static_assert(sizeof(FlexlinkProbeClock) == 64);
static_assert(sizeof(FlexlinkProbeComm) == 256);
static_assert(sizeof(FlexlinkProbeLane) == 128);
static_assert(sizeof(FlexlinkProbeSlot) == 1280);
static_assert(sizeof(FlexlinkProbeRecord) == 64);
static_assert(sizeof(FlexlinkProbeLink) == 256);
static_assert(FLEXLINK_PROBE_RINGS_OFFSET == 86016);
static_assert(FLEXLINK_PROBE_LINKS_OFFSET == 1134592);
static_assert(FLEXLINK_PROBE_FILE_BYTES == 1396736);

static_assert(offsetof(FlexlinkProbeHeader, fileBytes) == 16);
static_assert(offsetof(FlexlinkProbeHeader, startTime) == 32);
static_assert(offsetof(FlexlinkProbeHeader, bootId) == 48);
static_assert(offsetof(FlexlinkProbeHeader, clockKind) == 72);
static_assert(offsetof(FlexlinkProbeHeader, program) == 120);
static_assert(offsetof(FlexlinkProbeHeader, opened) == 216);
static_assert(offsetof(FlexlinkProbeHeader, goneUnixNs) == 232);
static_assert(offsetof(FlexlinkProbeHeader, linksOffset) == 116);
static_assert(offsetof(FlexlinkProbeHeader, linkBytes) == 240);
static_assert(offsetof(FlexlinkProbeHeader, linksTaken) == 248);
static_assert(offsetof(FlexlinkProbeHeader, clock) == 320);
static_assert(offsetof(FlexlinkProbeComm, name) == 64);
static_assert(offsetof(FlexlinkProbeComm, state) == 128);
static_assert(offsetof(FlexlinkProbeComm, records) == 168);
static_assert(offsetof(FlexlinkProbeLane, phase) == 48);
static_assert(offsetof(FlexlinkProbeLane, waitRanks) == 64);
static_assert(offsetof(FlexlinkProbeLane, waitedTicks) == 112);
static_assert(offsetof(FlexlinkProbeRecord, outcome) == 56);
static_assert(offsetof(FlexlinkProbeLink, state) == 32);
static_assert(offsetof(FlexlinkProbeLink, bytesOut) == 40);
static_assert(offsetof(FlexlinkProbeLink, name) == 104);
static_assert(offsetof(FlexlinkProbeLink, why) == 168);

// A ring index is a mask, and words are whole for a reader in another process.
static_assert((FLEXLINK_PROBE_RECORDS & (FLEXLINK_PROBE_RECORDS - 1)) == 0);
static_assert((FLEXLINK_PROBE_LANES & (FLEXLINK_PROBE_LANES - 1)) == 0);
static_assert(std::atomic_ref<uint64_t>::is_always_lock_free);
static_assert(std::atomic_ref<uint64_t>::required_alignment <= alignof(uint64_t));

}  // namespace
