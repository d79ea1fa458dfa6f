// SPDX-License-Identifier: Apache-2.0
#include "comm/staging_pool.h"

#include <string.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/reactor.h"
#include "base/thread.h"
#include "comm/rank_card.h"
#include "device/drain.h"

namespace flexlink {
namespace {

constexpr int64_t kFirstLookNanos = 5'000'000;
constexpr int64_t kLongestLookNanos = 1'000'000'000;
// Of a creation that has failed: until its peers know that, too.
constexpr int64_t kUnknownNanos = 30'000'000'000;

// Memory that nobody here uses any more, while peers may still read it: a driver does not promise
// what becomes of a copy whose source is freed by its owner.
struct Grave {
  std::shared_ptr<CudaDevice> gpu;
  void* memory;
  std::vector<MemoryPeer> peers;  // that have not let go of it

  bool mayGo() {
    std::erase_if(peers, [](MemoryPeer& peer) {
      // Pairs with the peer's release in dropStaging().
      const bool apart = peer.segment.header().apart.load(std::memory_order_acquire) != 0;
      if (!apart && (peer.process == nullptr || !peer.process->dead())) return false;
      if (peer.process != nullptr) releasePeer(std::move(peer.process));
      return true;
    });
    return peers.empty();
  }
};

// Not on the control thread: a driver may wait for the GPU before it frees.
void release(const std::shared_ptr<Grave>& grave) {
  Status started = startThread("flexlink-gpu", "the thread that frees GPU memory", [grave] {
    Status released = grave->gpu->release(grave->memory);
    if (!released.ok()) FLEXLINK_WARN("staging memory: %s", released.text());
  });
  if (!started.ok()) FLEXLINK_WARN("staging memory: %s", started.text());
}

// On the control thread, more and more seldom, until it may go.
void look(const std::shared_ptr<Grave>& grave, int64_t after) {
  if (grave->mayGo()) return release(grave);
  Reactor::instance().value()->after(
      after, [grave, after] { look(grave, std::min(2 * after, kLongestLookNanos)); });
}

}  // namespace

Result<std::shared_ptr<StagingPool>> StagingPool::make(std::shared_ptr<CudaDevice> gpu,
                                                       size_t bytes) {
  std::shared_ptr<StagingPool> made(new StagingPool(std::move(gpu)));
  const Cookie random = randomCookie();
  memcpy(&made->mark_, random.data(), sizeof made->mark_);
  FLEXLINK_TRY_ASSIGN(made->memory_, made->gpu_->allocate(bytes));
  FLEXLINK_TRY_ASSIGN(made->handle_, made->gpu_->share(made->memory_));
  FLEXLINK_TRY(made->copyNow(made->memory_, &made->mark_, sizeof made->mark_));
  return made;
}

void StagingPool::announce(RankCard* card) const {
  card->staging = handle_;
  card->stagingMark = mark_;
  card->hasStaging = 1;
}

Status StagingPool::copyNow(void* to, const void* from, size_t bytes) {
  FLEXLINK_TRY_ASSIGN(StreamHandle stream, gpu_->makeStream());
  Status status = gpu_->copy(stream, to, from, bytes);
  if (status.ok()) status = drain(*gpu_, stream);
  Status freed = gpu_->freeStream(stream);
  return status.ok() ? freed : status;
}

Result<uint8_t*> StagingPool::reach(const RankCard& card, bool here) {
  if (here && card.device != gpu_->ordinal()) FLEXLINK_TRY(gpu_->reachPeer(card.device));
  FLEXLINK_TRY_ASSIGN(void* opened, opened_->open(card.staging));
  uint64_t found = 0;
  FLEXLINK_TRY(copyNow(&found, opened, sizeof found));
  if (found == card.stagingMark) return static_cast<uint8_t*>(opened);
  return makeStatus(Code::kCuda, "it does not hold what it should");
}

StagingPool::~StagingPool() {
  opened_.reset();
  if (memory_ == nullptr) return;
  auto grave = std::make_shared<Grave>(gpu_, memory_, std::move(peers_));
  Reactor* reactor = Reactor::instance().value();  // there before any communicator is
  if (shared_) {
    reactor->post([grave] { look(grave, kFirstLookNanos); });
  } else {
    reactor->post([grave, reactor] { reactor->after(kUnknownNanos, [grave] { release(grave); }); });
  }
}

}  // namespace flexlink
