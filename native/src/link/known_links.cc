// SPDX-License-Identifier: Apache-2.0
#include "link/known_links.h"

#include <time.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"

namespace flexlink {
namespace {

// What is believed of a link that nobody has seen before.
constexpr double kFirstRate = 1e9;
constexpr int64_t kFirstLatency = 100'000;
constexpr int64_t kLeastLatency = 1'000;

constexpr uint64_t kTellingBytes = 4 << 20;  // what has carried less has shown little
constexpr double kTellingChange = 0.1;
constexpr int64_t kFreshSeconds = 86400;  // a file that is read often is written seldom

std::vector<std::pair<std::string, std::string>> namesOf(const std::vector<NicAddress>& nics) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const NicAddress& one : nics) names.push_back({one.nic, one.address.host()});
  return names;
}

}  // namespace

KnownLinks::KnownLinks(const std::vector<NicAddress>& nics)
    : fingerprint_(nicFingerprint(namesOf(nics))), path_(profilePath(fingerprint_)) {
  if (!path_.empty()) profile_ = loadProfile(path_, fingerprint_);
}

std::string hostOf(const Result<SocketAddress>& address) {
  return address.ok() ? address.value().host() : "unknown";
}

LinkModel KnownLinks::firstModel(const std::string& link, const std::string& peer,
                                 int64_t roundTrip) const {
  const LinkProfile* seen = profile_.find(link, peer);
  if (seen == nullptr) return {kFirstRate, roundTrip > 0 ? roundTrip : kFirstLatency};
  return {seen->bytesPerSecond, std::max(seen->latencyNanos, kLeastLatency)};
}

void KnownLinks::note(const LinkState& link, const std::string& peer) {
  if (path_.empty() || !link.alive || link.bytesOut < kTellingBytes) return;
  LinkProfile now{link.bytesPerSecond, link.latencyNanos, time(nullptr)};
  const LinkProfile* before = profile_.find(link.name, peer);
  bool same = before != nullptr && now.seenAt - before->seenAt < kFreshSeconds &&
              std::abs(now.bytesPerSecond / before->bytesPerSecond - 1) < kTellingChange;
  if (same) return;
  profile_.set(link.name, peer, now);
  news_ = true;
}

void KnownLinks::save() {
  if (!news_) return;
  news_ = false;
  Status saved = saveProfile(path_, profile_, fingerprint_);
  if (!saved.ok()) FLEXLINK_INFO(kInit, "not kept for the next job: %s", saved.text());
}

}  // namespace flexlink
