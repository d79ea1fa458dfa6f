// SPDX-License-Identifier: Apache-2.0
#include "lane/message/call_book.h"

#include "lane/call_text.h"

namespace flexlink {
namespace {

constexpr size_t kCollectivesKept = 64;
constexpr size_t kAheadKept = 256;

bool isMessage(const CallBook::Said& said) {
  return (said.signature & 0xff) == static_cast<uint64_t>(Collective::kSend);
}

Status unlikeMessage(const CallBook::Said& sender, const CallBook::Said& receiver) {
  uint64_t asReceive =
      (receiver.signature & ~uint64_t{0xff}) | static_cast<uint64_t>(Collective::kRecv);
  return makeStatus(Code::kInvalidUsage,
                    "a message does not match: rank %d called %s to rank %d, which called %s",
                    sender.rank, describeCall(sender.signature, sender.count).c_str(),
                    receiver.rank, describeCall(asReceive, receiver.count).c_str());
}

Status unlike(const CallBook::Said& mine, const CallBook::Said& theirs) {
  if (isMessage(mine) && isMessage(theirs)) {
    return mine.sends ? unlikeMessage(mine, theirs) : unlikeMessage(theirs, mine);
  }
  const CallBook::Said& first = theirs.rank < mine.rank ? theirs : mine;
  const CallBook::Said& second = theirs.rank < mine.rank ? mine : theirs;
  std::string a = describeCall(first.signature, first.count);
  std::string b = describeCall(second.signature, second.count);
  return makeStatus(
      Code::kInvalidUsage,
      "operation %llu does not match: rank %d called %s, rank %d called %s; all ranks "
      "must make the same calls in the same order",
      static_cast<unsigned long long>(mine.number), first.rank, a.c_str(), second.rank, b.c_str());
}

}  // namespace

void CallBook::compare(const Said& mine, const Said& theirs) {
  bool same = mine.signature == theirs.signature && mine.count == theirs.count;
  if (same || !difference_.ok()) return;
  difference_ = unlike(mine, theirs);
  differs_.store(true, std::memory_order_release);
}

void CallBook::mine(const Which& which, const Said& said) {
  std::lock_guard<std::mutex> lock(mutex_);
  mine_[which] = said;
  begun_[{which.from, which.to}] = which.seq + 1;
  auto found = ahead_.find(which);
  if (found != ahead_.end()) {
    compare(said, found->second);
    ahead_.erase(found);
  }
  // Collectives have no end that all know of; the oldest are not asked for any more.
  if (which.from < 0 && which.seq >= kCollectivesKept) mine_.erase({which.seq - kCollectivesKept});
}

void CallBook::theirs(const Which& which, const Said& said) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = mine_.find(which);
  if (found != mine_.end()) return compare(found->second, said);
  auto begun = begun_.find({which.from, which.to});
  bool past = begun != begun_.end() && which.seq < begun->second;
  if (!past && ahead_.size() < kAheadKept) ahead_.try_emplace(which, said);
}

void CallBook::messagesDone(const std::vector<Which>& messages) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Which& message : messages) mine_.erase(message);
}

Status CallBook::difference() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return difference_;
}

}  // namespace flexlink
