// SPDX-License-Identifier: Apache-2.0
// Which pattern a collective takes, by a model of its cost. Pure; all ranks must come to the same
// choice, so it depends on nothing that one of them measures.
#pragma once

#include "schedule/steps.h"

namespace flexlink {

// What a message between two hosts costs.
struct WireCost {
  double latency = 30e-6;          // seconds from one program to the other
  double bytesPerSecond = 1.25e9;  // one direction of one rank, all its links together
  double foldBytesPerSecond = 8e9;
  size_t eagerBytes = 8192;  // up to here a message needs no credit, and its memory is free at once
  size_t segmentBytes = 1 << 20;
};

// Seconds; infinite where the collective has no such pattern. `rank` and `inPlace` do not matter.
double patternSeconds(const ScheduleCall& call, Pattern pattern, const WireCost& cost);

bool hasPattern(const ScheduleCall& call, Pattern pattern);
Pattern cheapestPattern(const ScheduleCall& call, const WireCost& cost);

}  // namespace flexlink
