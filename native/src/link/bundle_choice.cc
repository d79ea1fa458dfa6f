// SPDX-License-Identifier: Apache-2.0
// Which link of a bundle takes what, by what is believed of each.
#include <algorithm>

#include "base/clock.h"
#include "link/bundle.h"

namespace flexlink {
namespace {

constexpr size_t kLeastInFlight = 128 << 10;  // bytes of one link
constexpr int64_t kSeldom = 100;              // a trial may cost one part in so many
constexpr int64_t kLeastTrial = 100'000;      // ns; that it costs at least
constexpr int64_t kAlike = 2;                 // answers that differ by no more may do so by chance

}  // namespace

// Of the links that are alive and that `may` take it, the one that `finish` says is through first.
template <typename Finish, typename May>
Bundle::Slot* Bundle::earliest(Finish&& finish, May&& may) const {
  Slot* best = nullptr;
  int64_t first = 0;
  for (const auto& slot : slots_) {
    if (!slot->state.alive) continue;
    int64_t at = finish(*slot);
    if ((best != nullptr && at >= first) || !may(*slot, at)) continue;
    best = slot.get();
    first = at;
  }
  return best;
}

LinkOutlook Bundle::outlook(int64_t now) const {
  LinkOutlook all;
  double whole = 0;
  for (const auto& out : ready_) {
    all.ready += out->bytes - out->next;
    whole += static_cast<double>(out->bytes);
  }
  auto rest = static_cast<double>(all.ready);
  int64_t latency = INT64_MAX;
  for (const auto& slot : slots_) {
    if (!slot->state.alive) continue;
    const double rate = slot->model.bytesPerSecond();
    rest += static_cast<double>(slot->queued);
    all.rate += rate;
    all.fastest = std::max(all.fastest, rate);
    latency = std::min(latency, slot->model.latency());
  }
  if (all.rate == 0) return all;
  all.nanos = whole / all.rate * 1e9;
  all.end = now + latency + static_cast<int64_t>(rest / all.rate * 1e9);
  for (const auto& slot : slots_) {
    all.links += slot->state.alive && isWorth(slot->model.bytesPerSecond(), all) ? 1 : 0;
  }
  return all;
}

// The link for a chunk: of those with room the one that finishes it first, if that is before
// everything could be through anyway; a slower one would hold up the end. Null: wait for room.
Bundle::Slot* Bundle::linkFor(size_t rest, const LinkOutlook& all, int64_t now) const {
  auto finish = [&](const Slot& slot) {
    size_t bytes = chunkBytes(slot.model.bytesPerSecond(), rest, all);
    return slot.model.predictedFinish(now, slot.queued, bytes + sizeof(FrameHeader));
  };
  auto worth = [&](const Slot& slot) { return isWorth(slot.model.bytesPerSecond(), all); };
  const Slot* first = earliest(finish, [&](const Slot& slot, int64_t) { return worth(slot); });
  return earliest(finish, [&](const Slot& slot, int64_t at) {
    uint64_t room = std::max<uint64_t>(kLeastInFlight, slot.model.inFlightLimit());
    if (slot.queued >= room) return false;
    if (&slot == first || (at <= all.end && worth(slot))) return true;
    // What was believed of a link that is not used may be true no more: seldom enough, it is tried.
    int64_t step = stepNanos(slot.model.bytesPerSecond());
    return now - slot.usedAt > kSeldom * std::max(at - all.end, step);
  });
}

// What a small frame usually takes is more the peer's attention than the link, and links that are
// nearly alike would take turns by its noise. It says which links come into question: among those
// counts what each is known to be able to.
void Bundle::repost(Unacked frame) {
  const int64_t now = nowNanos();
  const size_t bytes = sizeof(FrameHeader) + frame.header.length;
  auto finish = [&](const Slot& one) { return one.model.predictedFinish(now, one.queued, bytes); };
  auto usual = [&](const Slot& one) {
    return frame.header.length < LinkModel::kLeastRated
               ? one.model.predictedAnswer(now, one.queued, bytes)
               : finish(one);
  };
  const Slot* first = earliest(usual, [](const Slot&, int64_t) { return true; });
  if (first == nullptr) return;
  const int64_t most = kAlike * (usual(*first) - now);
  Slot* slot = earliest(finish, [&](const Slot& one, int64_t) { return usual(one) - now <= most; });
  const int64_t best = usual(*slot);
  Slot* tried = earliest(usual, [&](const Slot& one, int64_t at) {
    return &one != slot && now - one.usedAt > kSeldom * std::max(at - best, kLeastTrial);
  });
  post(tried != nullptr ? tried : slot, std::move(frame), now);
}

}  // namespace flexlink
