// SPDX-License-Identifier: Apache-2.0
#include "link/bundle.h"

#include <string.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"

namespace flexlink {
namespace {

// While what is on its way takes longer than this (ns), and something has moved as lately.
constexpr int64_t kFlowNanos = 2'000'000;
constexpr int64_t kRestPart = 16;         // of that time a thread may rest at once
constexpr size_t kEarlyLimit = 16 << 20;  // bytes of small messages that nobody has asked for

MessageKey keyOf(const FrameHeader& header) {
  return {header.comm, header.seq, header.tag, header.from, header.to};
}

// The rank on this side: a credit comes from the receiver of the message.
uint16_t mine(const FrameHeader& header) {
  return header.kind == FrameKind::kCredit ? header.from : header.to;
}

}  // namespace

Bundle::~Bundle() {
  for (auto& slot : slots_) slot->link->quiesce();
}

const void* Bundle::Unacked::payload() const {
  if (large) return large->data + header.offset;
  return small ? small->data() : nullptr;
}

void Bundle::listen(uint64_t comm, uint16_t rank, std::function<void(const FrameHeader&)> heard) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (heard) {
    listeners_[{comm, rank}] = std::move(heard);
    std::erase(closed_, std::pair{comm, rank});
  } else {
    listeners_.erase({comm, rank});
  }
}

FrameHeader Bundle::headerOf(const Message& message, FrameKind kind, size_t length) {
  FrameHeader header;
  header.kind = kind;
  header.comm = message.key.comm;
  header.seq = message.key.seq;
  header.tag = message.key.tag;
  header.from = message.key.from;
  header.to = message.key.to;
  header.signature = message.signature;
  header.count = message.count;
  header.length = static_cast<uint32_t>(length);
  if (kind != FrameKind::kChunk) header.chunk = ++numbers_;
  return header;
}

void Bundle::send(const Message& message, const void* data, size_t bytes, Pending* pending) {
  std::lock_guard<std::mutex> lock(mutex_);
  pending->fetch_add(1, std::memory_order_relaxed);
  if (bytes <= kEagerMessageBytes) {
    Unacked frame;
    frame.header = headerOf(message, FrameKind::kEager, bytes);
    const auto* from = static_cast<const uint8_t*>(data);
    frame.small = std::make_shared<std::vector<uint8_t>>(from, from + bytes);
    repost(std::move(frame));
    pending->fetch_sub(1, std::memory_order_release);
    return;
  }
  auto out = std::make_shared<Outbound>();
  out->message = message;
  out->data = static_cast<const uint8_t*>(data);
  out->bytes = out->unacked = bytes;
  out->pending = pending;
  if (credits_.erase(message.key) != 0) {
    ready_.push_back(std::move(out));
    pump();
  } else {
    waiting_[message.key] = std::move(out);
  }
}

void Bundle::receive(const Message& message, void* data, size_t bytes, Pending* pending) {
  std::lock_guard<std::mutex> lock(mutex_);
  pending->fetch_add(1, std::memory_order_relaxed);
  auto early = early_.find(message.key);
  if (early != early_.end() && early->second.whole) {
    size_t part = std::min(bytes, early->second.bytes.size());
    if (part != 0) memcpy(data, early->second.bytes.data(), part);
    earlyBytes_ -= early->second.bytes.size();
    early_.erase(early);
    pending->fetch_sub(1, std::memory_order_release);
    return;
  }
  inbound_[message.key] = {static_cast<uint8_t*>(data), bytes, 0, {}, pending};
  if (bytes <= kEagerMessageBytes) return;
  Unacked frame;
  frame.header = headerOf(message, FrameKind::kCredit, 0);
  repost(std::move(frame));
}

uint8_t* Bundle::place(const FrameHeader& header) {
  auto found = inbound_.find(keyOf(header));
  if (header.kind == FrameKind::kChunk) {
    if (found == inbound_.end()) return nullptr;
    Inbound& in = found->second;
    bool known = header.chunk < in.chunks.size() && in.chunks[header.chunk];
    return known || !in.holds(header) ? nullptr : in.data + header.offset;
  }
  if (header.kind != FrameKind::kEager || isOld(header.chunk)) return nullptr;
  if (found != inbound_.end())
    return header.length <= found->second.bytes ? found->second.data : nullptr;
  if (isClosed(header.comm, header.to)) return nullptr;
  if (earlyBytes_ + header.length > kEarlyLimit) return nullptr;
  Early& early = early_[keyOf(header)];
  if (!early.bytes.empty()) return nullptr;  // a replay of what is there
  early.bytes.resize(header.length);
  earlyBytes_ += header.length;
  return early.bytes.data();
}

void Bundle::arrived(Slot* slot, const FrameHeader& header) {
  slot->heardAt = nowNanos();
  slot->state.bytesIn += header.length;
  if (header.kind == FrameKind::kAck) return acknowledged(slot, header.offset);
  ++slot->received;
  if (header.kind == FrameKind::kNudge) return;
  if (header.kind == FrameKind::kLeft) {
    leftByPeer_.push_back(
        {static_cast<uint32_t>(header.offset), static_cast<uint32_t>(header.seq)});
    return;
  }
  auto listener = listeners_.find({header.comm, mine(header)});
  if (listener != listeners_.end()) listener->second(header);
  switch (header.kind) {
    case FrameKind::kChunk:
      return chunkArrived(header);
    case FrameKind::kEager:
      return eagerArrived(header);
    default:
      return credited(header);
  }
}

bool Bundle::isOld(uint32_t number) const {
  auto ahead = static_cast<int32_t>(number - highest_);
  if (ahead > 0) return false;
  return ahead <= -static_cast<int32_t>(seen_.size()) || seen_.test(number % seen_.size());
}

// Frames may come twice, where the acknowledgement was lost with a link.
bool Bundle::firstTime(uint32_t number) {
  if (isOld(number)) return false;
  auto ahead = static_cast<int32_t>(number - highest_);
  for (int32_t i = 1; i <= ahead; ++i)
    seen_.reset((highest_ + static_cast<uint32_t>(i)) % seen_.size());
  if (ahead > 0) highest_ = number;
  seen_.set(number % seen_.size());
  return true;
}

void Bundle::chunkArrived(const FrameHeader& header) {
  auto found = inbound_.find(keyOf(header));
  if (found == inbound_.end()) return;
  Inbound& in = found->second;
  if (!in.holds(header) || header.chunk > in.bytes) return;
  if (header.chunk >= in.chunks.size()) in.chunks.resize(header.chunk + 1);
  if (in.chunks[header.chunk]) return;
  in.chunks[header.chunk] = true;
  in.got += header.length;
  if (in.got < in.bytes) return;
  Inbound done = std::move(in);
  inbound_.erase(found);
  // The same chunk may be on its way over two links.
  keepOff(done.data, done.bytes);
  finish(&done.pending);
}

void Bundle::eagerArrived(const FrameHeader& header) {
  if (!firstTime(header.chunk)) return;
  auto found = inbound_.find(keyOf(header));
  if (found == inbound_.end()) {
    if (isClosed(header.comm, header.to)) return;
    Early& early = early_[keyOf(header)];
    early.whole = true;
    if (early.bytes.size() == header.length) return;
    failure_ =
        makeStatus(Code::kRemote,
                   "%s has sent more than %zu MiB of small messages that nobody here has asked "
                   "for",
                   peer_.c_str(), kEarlyLimit >> 20);
    return;
  }
  if (found->second.bytes != header.length) return;  // unlike calls: the listener knows
  Inbound done = std::move(found->second);
  inbound_.erase(found);
  // It may have been on its way into the early memory when the receive was posted.
  auto early = early_.find(keyOf(header));
  if (early != early_.end()) {
    size_t part = std::min(done.bytes, early->second.bytes.size());
    if (part != 0) memcpy(done.data, early->second.bytes.data(), part);
    earlyBytes_ -= early->second.bytes.size();
    early_.erase(early);
  }
  finish(&done.pending);
}

void Bundle::credited(const FrameHeader& header) {
  if (!firstTime(header.chunk)) return;
  auto found = waiting_.find(keyOf(header));
  if (found == waiting_.end()) {
    if (isClosed(header.comm, header.from)) return;
    credits_[keyOf(header)] = header;
    return;
  }
  ready_.push_back(std::move(found->second));
  waiting_.erase(found);
}

void Bundle::acknowledged(Slot* slot, uint64_t frames) {
  if (slot->acked >= frames || slot->unacked.empty()) return;
  int64_t sentAt = slot->unacked.front().sentAt;
  uint64_t before = slot->unacked.front().queuedBefore, bytes = 0;
  for (; slot->acked < frames && !slot->unacked.empty(); ++slot->acked) {
    Unacked frame = std::move(slot->unacked.front());
    slot->unacked.pop_front();
    bytes += sizeof(FrameHeader) + frame.header.length;
    if (!frame.large) continue;
    frame.large->unacked -= frame.header.length;
    if (frame.large->unacked == 0) finish(&frame.large->pending);
  }
  slot->queued -= bytes;
  slot->model.observe(sentAt, nowNanos(), bytes, before, slot->queued == 0);
}

void Bundle::pump() {
  int64_t now = nowNanos();
  while (!ready_.empty()) {
    std::shared_ptr<Outbound> out = ready_.front();
    const LinkOutlook all = outlook(now);
    size_t rest = out->bytes - out->next;
    Slot* slot = linkFor(rest, all, now);
    if (slot == nullptr) return;
    size_t bytes = chunkBytes(slot->model.bytesPerSecond(), rest, all);
    Unacked frame;
    frame.header = headerOf(out->message, FrameKind::kChunk, bytes);
    frame.header.offset = out->next;
    frame.header.chunk = out->chunks++;
    frame.large = out;
    out->next += bytes;
    if (out->next == out->bytes) ready_.pop_front();
    post(slot, std::move(frame), now);
  }
}

void Bundle::post(Slot* slot, Unacked frame, int64_t now) {
  frame.sentAt = slot->usedAt = now;
  frame.queuedBefore = slot->queued;
  slot->queued += sizeof(FrameHeader) + frame.header.length;
  slot->state.bytesOut += frame.header.length;
  slot->unacked.push_back(std::move(frame));
  const Unacked& kept = slot->unacked.back();
  slot->link->post(kept.header, kept.payload());
  if (owes_ || !owner_.owes) return;
  owes_ = true;
  owner_.owes();
}

bool Bundle::anyAlive() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const auto& slot) { return slot->state.alive; });
}

void Bundle::keepOff(const void* begin, size_t bytes) {
  for (auto& slot : slots_) slot->link->keepOff(begin, bytes);
}

// Every look at a socket costs a system call.
bool Bundle::pollLinks(Which which) {
  bool moved = false;
  std::map<Slot*, Status> broken;
  auto pollEach = [&] {
    for (auto& slot : slots_) {
      if (!slot->state.alive || broken.count(slot.get()) != 0) continue;
      if (which == Which::kUnsent && slot->link->flushed()) continue;
      Status status = slot->link->poll();
      moved = moved || status.ok();
      if (!status.ok() && status.code() != Code::kInProgress) broken[slot.get()] = status;
    }
  };
  pollEach();
  if (!broken.empty()) {  // its last word came before its end, maybe over another
    which = Which::kAll;
    pollEach();
  }
  for (auto& [slot, status] : broken) leave(slot, status);
  for (auto& slot : slots_) {
    if (!slot->state.alive || slot->received == slot->told) continue;
    FrameHeader ack;
    ack.kind = FrameKind::kAck;
    ack.offset = slot->told = slot->received;
    slot->link->post(ack, nullptr);
  }
  if (!leftByPeer_.empty()) leaveAsPeerDid();
  return moved;
}

// Before sleeping it is not enough that another thread is at it, for that one may be through.
Status Bundle::poll() {
  std::unique_lock<std::mutex> lock(mutex_, std::defer_lock);
  if (aboutToSleep) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return Status::inProgress();
  }
  if (!failure_.ok()) return failure_;
  bool moved = pollLinks(Which::kAll);
  pump();
  // What that gave rise to leaves at once: nobody may poll for a while.
  if (moved) (void)pollLinks(Which::kUnsent);
  if (!failure_.ok()) return failure_;
  if (!moved && aboutToSleep) armBells();
  noteRest(moved);
  return moved ? Status() : Status::inProgress();
}

// Tells the waiting thread how long it may rest, while much is on its way both ways.
void Bundle::noteRest(bool moved) {
  restUntil = 0;
  int64_t now = nowNanos();
  if (moved) movedAt_ = now;
  if (now - movedAt_ > kFlowNanos) return;  // nobody knows when it goes on
  double out = 0, rate = 0;
  for (const auto& one : ready_) out += static_cast<double>(one->bytes - one->next);
  for (const auto& slot : slots_) {
    if (!slot->state.alive) continue;
    out += static_cast<double>(slot->queued);
    rate += slot->model.bytesPerSecond();
  }
  int64_t rest = static_cast<int64_t>(out / rate * 1e9);
  if (rest > kFlowNanos) restUntil = now + rest / kRestPart;
}

void Bundle::armBells() {
  if (bell_ == nullptr) return;
  for (auto& slot : slots_) {
    if (slot->state.alive) bell_->arm(slot->link->fd(), !slot->link->flushed());
  }
}

bool Bundle::flushed() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const auto& slot) { return !slot->state.alive || slot->link->flushed(); });
}

bool Bundle::delivered() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::all_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return !slot->state.alive || slot->link->delivered();
  });
}

int Bundle::awaited(uint64_t comm, uint16_t rank, uint32_t standing) const {
  std::lock_guard<std::mutex> lock(mutex_);
  int lowest = -1;
  for (const auto& [key, in] : inbound_) {
    if (key.comm != comm || key.to != rank || key.tag >= standing) continue;
    if (lowest < 0 || key.from < lowest) lowest = key.from;
  }
  return lowest;
}

void Bundle::leaveOut(const std::string& name, const std::string& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto known = [&](const LinkState& one) { return one.name == name; };
  for (auto& slot : slots_) {
    if (!known(slot->state)) continue;
    if (!slot->state.alive) slot->state.whyNot = why;
    return;
  }
  auto found = std::find_if(leftOut_.begin(), leftOut_.end(), known);
  if (found == leftOut_.end()) found = leftOut_.insert(found, LinkState{name});
  found->whyNot = why;
  found->alive = false;
  found->never = true;
}

std::vector<LinkState> Bundle::state() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<LinkState> all;
  for (const auto& slot : slots_) {
    all.push_back(slot->state);
    all.back().bytesPerSecond = slot->model.bytesPerSecond();
    // What the model has left over for it may be nothing at all on a link that is never idle.
    all.back().latencyNanos = std::max(slot->model.latency(), slot->roundTrip);
  }
  all.insert(all.end(), leftOut_.begin(), leftOut_.end());
  return all;
}

}  // namespace flexlink
