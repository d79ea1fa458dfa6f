// SPDX-License-Identifier: Apache-2.0
// Rate and latency of one link from its acknowledgements, and when it would finish a chunk. Pure:
// it is told times, it takes none. For one thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>

namespace flexlink {

// The link is seen as a queue with one server: a chunk waits for what was queued before it, takes
// bytes / rate, and its acknowledgement arrives `latency` after the last byte left. What is queued
// is what is not acknowledged, so that a busy link is predicted late by up to its latency, never
// early. Times are nanoseconds of one clock of this rank.
class LinkModel {
 public:
  // What is believed before the first acknowledgement. bytesPerSecond > 0.
  LinkModel(double bytesPerSecond, int64_t latencyNanos)
      : rate_(bytesPerSecond / 1e9),
        moved_(rate_ * kPrior),
        busy_(kPrior),
        least_(latencyNanos),
        leastBefore_(latencyNanos) {}

  // Chunks of `bytes` in all were acknowledged together at ackedAt; the first of them was handed
  // over at sentAt, behind queuedBefore bytes that were not yet acknowledged. In the order of the
  // acknowledgements. dry: nothing was left on its way, nobody knows since when.
  //
  // What nobody followed shows the latency: it counts when the next is told. The first of several
  // shows both, and those behind it the rate: the time since the last acknowledgement. A link that
  // ran dry may have waited for this thread or for the peer's: that it was slow counts little.
  void observe(int64_t sentAt, int64_t ackedAt, uint64_t bytes, uint64_t queuedBefore,
               bool dry = false) {
    if (queuedBefore == 0) {
      if (bytes < kLeastRated) learnAnswer(ackedAt - sentAt);
      learnFromLone();
      first_ = {bytes, ackedAt - sentAt};
    } else if (bytes >= kLeastRated) {
      int64_t nanos = ackedAt - std::max(sentAt, lastAck_);
      bool doubtful = dry && rates_ == kKnown && nanos > nanosFor(bytes);
      if (first_.bytes >= kLeastRated && !doubtful)
        learnRate(first_.bytes, first_.nanos - latency());
      first_ = {};
      doubtful ? doubtRate(bytes, nanos) : learnRate(bytes, nanos);
    }
    lastAck_ = ackedAt;
  }

  // Bytes/s, beside whatever else runs at the same time.
  double bytesPerSecond() const { return rate_ * 1e9; }

  // Nanoseconds from the last byte's leaving to its acknowledgement.
  int64_t latency() const { return std::min(least_, leastBefore_); }

  // When `bytes` behind queuedBytes would be acknowledged if they were sent now.
  int64_t predictedFinish(int64_t now, uint64_t queuedBytes, uint64_t bytes) const {
    return now + latency() + nanosFor(queuedBytes + bytes);
  }

  // The same for a frame that is too small to show a rate: by what such frames usually take, for
  // they may have to wait on a link that passes only few bytes at once.
  int64_t predictedAnswer(int64_t now, uint64_t queuedBytes, uint64_t bytes) const {
    return now + std::max(latency(), static_cast<int64_t>(answer_)) + nanosFor(queuedBytes + bytes);
  }

  // Of fewer bytes than this the time says when the peer has looked, not how fast the link is.
  static constexpr uint64_t kLeastRated = 16384;

  // Bytes in flight that keep the link busy: twice what fits between sending and acknowledgement,
  // and, once the rate is known, what it takes while the sending thread has no core.
  uint64_t inFlightLimit() const {
    int64_t nanos = std::max(2 * latency(), rates_ < kKnown ? 0 : kAbsence);
    return static_cast<uint64_t>(rate_ * static_cast<double>(nanos));
  }

 private:
  // Of a new sample in the averages: the last twenty or so chunks count.
  static constexpr double kMemory = 0.1;
  static constexpr double kDoubt = 0.02;  // the same for a sample that is no more than a bound
  // Chunks for which a smallest latency is remembered at least; at most twice as many.
  static constexpr uint32_t kWindow = 64;
  // Bytes/ns, a bound for acknowledgements that arrive together: 1 TB/s.
  static constexpr double kFastest = 1e3;
  static constexpr double kSlowest = 1e-4;  // likewise
  // The kernel takes a core away for about so long (ns), where there are more threads than cores.
  static constexpr int64_t kAbsence = 1'500'000;
  // What a small frame takes beyond this (ns) and the latency is not the link's doing.
  static constexpr int64_t kMostWait = 2'000'000;
  static constexpr uint32_t kKnown = 16;  // chunks that make a rate known
  // The prior weighs as one chunk that took this long (ns).
  static constexpr double kPrior = 1e4;

  int64_t nanosFor(uint64_t bytes) const {
    return static_cast<int64_t>(static_cast<double>(bytes) / rate_);
  }

  void learnRate(uint64_t bytes, int64_t nanos) {
    if (rates_ < kKnown) ++rates_;
    const double weight = std::max(kMemory, 1.0 / (rates_ + 1));  // at first, the plain mean
    moved_ += weight * (static_cast<double>(bytes) - moved_);
    busy_ += weight * (static_cast<double>(std::max(nanos, int64_t{0})) - busy_);
    rate_ = std::max(moved_ / std::max(busy_, moved_ / kFastest), kSlowest);
  }

  // However many bytes it was about.
  void doubtRate(uint64_t bytes, int64_t nanos) {
    double busy = static_cast<double>(nanos) * moved_ / static_cast<double>(bytes);
    busy_ += kDoubt * (busy - busy_);
    rate_ = std::max(moved_ / busy_, kSlowest);
  }

  // A good one counts at once, a bad one only among others: the peer may have been away.
  void learnAnswer(int64_t nanos) {
    auto sample = static_cast<double>(std::min(nanos, latency() + kMostWait));
    if (answer_ == 0) answer_ = static_cast<double>(latency());
    answer_ = sample < answer_ ? sample : answer_ + kMemory * (sample - answer_);
  }

  void learnFromLone() {
    if (first_.bytes == 0) return;
    int64_t beyondRate = first_.nanos - nanosFor(first_.bytes);
    if (beyondRate >= 0) {
      learnLatency(beyondRate);
    } else if (first_.bytes >= kLeastRated) {
      learnRate(first_.bytes, first_.nanos);  // faster than was believed
    }
  }

  // Waiting elsewhere only ever adds, so that the smallest counts; it rises again when nothing as
  // small has been seen for two windows.
  void learnLatency(int64_t sample) {
    least_ = std::min(least_, sample);
    if (++seen_ < kWindow) return;
    seen_ = 0;
    leastBefore_ = least_;
    least_ = INT64_MAX;
  }

  double rate_;   // bytes/ns, moved_ / busy_
  double moved_;  // averages for a chunk: bytes, and ns of the server
  double busy_;
  double answer_ = 0;    // ns that a small frame takes; 0: not known
  int64_t least_;        // latency: smallest of this window
  int64_t leastBefore_;  // and of the one before
  uint32_t seen_ = 0;    // latencies of this window
  uint32_t rates_ = 0;   // learnt; up to kKnown
  int64_t lastAck_ = INT64_MIN;
  struct {
    uint64_t bytes;
    int64_t nanos;  // from sending to acknowledgement
  } first_{};       // the last chunk, if it was alone when it was sent
};

}  // namespace flexlink
