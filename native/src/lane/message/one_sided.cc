// SPDX-License-Identifier: Apache-2.0
#include "lane/message/one_sided.h"

#include <algorithm>

#include "device/host/kernels.h"

namespace flexlink {
namespace {

constexpr size_t kSignals = 64;  // contexts x indices, as api/ bounds them

}  // namespace

OneSidedCalls::OneSidedCalls(uint64_t comm, int rank, const std::vector<MessagePeer>& peers)
    : comm_(comm), rank_(static_cast<size_t>(rank)), peers_(peers), sent_(peers.size()) {
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    from_.push_back(std::make_unique<From>());
    from_.back()->signals.resize(kSignals);
    from_.back()->taken.resize(kSignals);
    if (peers_[peer].bundle != nullptr) awaitNotice(peer);
  }
}

MessageKey OneSidedCalls::key(size_t from, size_t to, uint64_t number, uint32_t tag) const {
  return {comm_, number, tag, static_cast<uint16_t>(from), static_cast<uint16_t>(to)};
}

void OneSidedCalls::awaitNotice(size_t peer) {
  From& from = *from_[peer];
  from.placing = false;
  Message message{key(peer, rank_, from.number, kTagNotice), 0, 0};
  peers_[peer].bundle->receive(message, &from.notice, sizeof from.notice, &from.awaited);
}

void OneSidedCalls::expose(void* address, size_t bytes) {
  windows_.push_back({static_cast<uint8_t*>(address), bytes});
}

void OneSidedCalls::conceal(void* address) {
  auto found = std::find_if(windows_.begin(), windows_.end(),
                            [&](const Window& one) { return one.begin == address; });
  if (found != windows_.end()) windows_.erase(found);
}

bool OneSidedCalls::isInWindow(const uint8_t* begin, uint64_t bytes) const {
  return std::any_of(windows_.begin(), windows_.end(), [&](const Window& one) {
    return begin >= one.begin && bytes <= one.bytes &&
           static_cast<size_t>(begin - one.begin) <= one.bytes - bytes;
  });
}

void OneSidedCalls::send(const Call& call, Pending* pending) {
  auto peer = static_cast<size_t>(call.root);
  const bool puts = call.kind == Collective::kPutSignal;
  const size_t bytes = puts ? bytesOf(call) : 0;
  if (peer == rank_) {
    void* to = call.target.address;
    if (bytes != 0) copyTo(&to, 1, call.send, bytes, 0);
    ++from_[peer]->signals[call.signal];
    return;
  }
  Notice notice{reinterpret_cast<uint64_t>(call.target.address), bytes, call.signal};
  const uint64_t number = sent_[peer]++;
  Bundle& bundle = *peers_[peer].bundle;
  bundle.send({key(rank_, peer, number, kTagNotice), 0, 0}, &notice, sizeof notice, pending);
  if (bytes == 0) return;
  bundle.send({key(rank_, peer, number, kTagPut), 0, 0}, call.send, bytes, pending);
}

Status OneSidedCalls::takeNotice(size_t peer, bool* moved) {
  From& from = *from_[peer];
  *moved = false;
  if (from.awaited.load(std::memory_order_acquire) != 0) return {};
  if (!from.placing) {
    from.placing = *moved = true;
    const Notice& said = from.notice;
    auto* to = reinterpret_cast<uint8_t*>(said.address);
    if (said.signal >= kSignals || (said.bytes != 0 && !isInWindow(to, said.bytes))) {
      return makeStatus(Code::kRemote,
                        "%s puts %llu bytes to where rank %d has no window, or signals %u; was the "
                        "window deregistered?",
                        peers_[peer].name.c_str(), static_cast<unsigned long long>(said.bytes),
                        peers_[rank_].rank, said.signal);
    }
    Message message{key(peer, rank_, from.number, kTagPut), 0, 0};
    if (said.bytes != 0) peers_[peer].bundle->receive(message, to, said.bytes, &from.bytes);
  }
  if (from.bytes.load(std::memory_order_acquire) != 0) return {};
  *moved = true;
  ++from.signals[from.notice.signal];
  ++from.number;
  awaitNotice(peer);
  return {};
}

Status OneSidedCalls::poll() {
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    bool moved = peers_[peer].bundle != nullptr;
    while (moved) FLEXLINK_TRY(takeNotice(peer, &moved));
  }
  return {};
}

bool OneSidedCalls::take(const Call& call) {
  From& from = *from_[static_cast<size_t>(call.root)];
  if (from.signals[call.signal] - from.taken[call.signal] < call.count) return false;
  from.taken[call.signal] += call.count;
  return true;
}

}  // namespace flexlink
