// SPDX-License-Identifier: Apache-2.0
// What is known of the paths of a communicator, for the estimate of a call that is not made.
#include "balance/estimate.h"

#include <algorithm>

#include "comm/communicator.h"
#include "device/host/copy_rate.h"

namespace flexlink {
namespace {

// A meeting of ranks that each have a core; and where they must wait for one, a switch for each
// rank that a core serves (perf/README.md: 4 ranks on 2 cores).
constexpr double kMeetingSeconds = 2e-7;
constexpr double kSwitchSeconds = 2e-6;

// Of a host that nothing has been sent to yet.
constexpr PathModel kUnknownWire{1e9, 100e-6};

// All links of a bundle together.
PathModel wireOf(const Bundle& bundle) {
  PathModel wire;
  for (const LinkState& link : bundle.state()) {
    if (!link.alive || link.never || link.bytesPerSecond <= 0) continue;
    wire.rate += link.bytesPerSecond;
    wire.latency = std::max(wire.latency, static_cast<double>(link.latencyNanos) * 1e-9);
  }
  return wire.rate > 0 ? wire : kUnknownWire;
}

// The slower of two: it is the one that a collective waits for.
PathModel slower(const PathModel& one, const PathModel& other) {
  return {std::min(one.rate, other.rate), std::max(one.latency, other.latency)};
}

}  // namespace

PathModel Communicator::memoryPath() const {
  const auto ranks = static_cast<double>(parts_.hosts.neighbours().size());
  const double perCore = std::max(1.0, ranks / parts_.cores);
  return {hostCopyRate() / perCore,
          parts_.oversubscribed ? kSwitchSeconds * perCore : kMeetingSeconds};
}

// `peer`: of this call alone; -1: a collective.
PathModel Communicator::wirePath(int peer) const {
  if (peer >= 0) {
    const auto& bundle = parts_.bundles[static_cast<size_t>(peer)];
    return bundle == nullptr ? kUnknownWire : wireOf(*bundle);
  }
  PathModel wire;
  for (const auto& bundle : parts_.bundles) {
    if (bundle == nullptr) continue;
    PathModel one = wireOf(*bundle);
    wire = wire.rate > 0 ? slower(wire, one) : one;
  }
  return wire.rate > 0 ? wire : kUnknownWire;
}

double Communicator::estimate(const Call& call) const {
  const HostMap& hosts = parts_.hosts;
  const bool away = !isCollective(call.kind) && !hosts.sameHost(call.root);
  const bool wired = away || (isCollective(call.kind) && hosts.hosts() > 1);
  const EstimateCall what{call.kind, static_cast<double>(bytesOf(call)), away};
  const EstimateRanks who{hosts.ranks(), static_cast<int>(hosts.neighbours().size()),
                          hosts.hosts()};
  return estimateSeconds(what, who,
                         {memoryPath(), wired ? wirePath(away ? call.root : -1) : kUnknownWire});
}

}  // namespace flexlink
