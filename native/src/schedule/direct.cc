// SPDX-License-Identifier: Apache-2.0
#include "schedule/steps.h"

namespace flexlink {
namespace {

constexpr uint8_t kContribution = 0;
constexpr uint8_t kResult = 1;

// One rank's view of one segment.
class Direct {
 public:
  Direct(const ScheduleCall& call, ByteRange segment) : call_(call), segment_(segment) {}

  std::vector<Step> steps() {
    switch (call_.kind) {
      case Collective::kAllReduce:
        reduceToOwners();
        for (int peer : others()) result(peer);
        break;
      case Collective::kReduce:
        reduceToOwners();
        gatherResults();
        break;
      case Collective::kReduceScatter:
        reduceBlocks();
        break;
      case Collective::kBroadcast:
        fromRoot(false);
        break;
      case Collective::kScatter:
        fromRoot(true);
        break;
      case Collective::kGather:
        toRoot();
        break;
      case Collective::kAllGather:
      case Collective::kAlltoAll:
        allToAll(call_.kind == Collective::kAlltoAll);
        break;
      default:
        break;
    }
    return std::move(steps_);
  }

 private:
  // Each rank begins with its right neighbour, so that not all send to one.
  std::vector<int> others() const {
    std::vector<int> peers;
    for (int turn = 1; turn < call_.ranks; ++turn)
      peers.push_back((call_.rank + turn) % call_.ranks);
    return peers;
  }

  // The segment's part of the shard of `rank`, of a buffer that holds one block.
  ByteRange ofShard(int rank) const {
    ByteRange shard = shardOf(call_.block, call_.ranks, rank);
    size_t begin = std::min(shard.end, shard.begin + segment_.begin);
    return {begin, std::min(shard.end, shard.begin + segment_.end)};
  }

  // The segment's part of block `index` of a buffer with a block for each rank.
  ByteRange ofBlock(int index) const {
    size_t base = static_cast<size_t>(index) * call_.stride;
    return {base + std::min(call_.block, segment_.begin),
            base + std::min(call_.block, segment_.end)};
  }

  void send(int peer, Space from, ByteRange what, uint8_t tag, uint8_t phase) {
    if (what.size() == 0) return;
    steps_.push_back(
        {Step::Kind::kSend, phase, 0, tag, from, Space::kRecv, peer, what.begin, 0, what.size()});
  }

  void receive(int peer, Space to, size_t at, size_t bytes, uint8_t tag) {
    if (bytes == 0) return;
    uint8_t gate = tag == kContribution ? 1 : 0;  // the fold waits for it
    steps_.push_back({Step::Kind::kRecv, 0, gate, tag, Space::kSend, to, peer, 0, at, bytes});
  }

  void copy(ByteRange from, size_t to) {
    if (from.size() == 0 || call_.inPlace) return;
    steps_.push_back(
        {Step::Kind::kCopy, 0, 0, 0, Space::kSend, Space::kRecv, -1, from.begin, to, from.size()});
  }

  void fold(Space to, ByteRange from, size_t at) {
    if (from.size() == 0) return;
    steps_.push_back(
        {Step::Kind::kFold, 1, 0, 0, Space::kSend, to, -1, from.begin, at, from.size()});
  }

  bool isRoot() const { return call_.rank == call_.root; }

  void reduceToOwners() {
    ByteRange mine = ofShard(call_.rank);
    for (int peer : others()) {
      send(peer, Space::kSend, ofShard(peer), kContribution, 0);
      receive(peer, Space::kScratch, 0, mine.size(), kContribution);
    }
    // Whoever has no result buffer keeps the result in his own place of the scratch memory.
    bool keeps = call_.kind == Collective::kAllReduce || isRoot();
    fold(keeps ? Space::kRecv : Space::kScratch, mine, keeps ? mine.begin : 0);
  }

  void result(int peer) {
    ByteRange theirs = ofShard(peer);
    send(peer, Space::kRecv, ofShard(call_.rank), kResult, 2);
    receive(peer, Space::kRecv, theirs.begin, theirs.size(), kResult);
  }

  void gatherResults() {
    if (!isRoot()) {
      send(call_.root, Space::kScratch, {0, ofShard(call_.rank).size()}, kResult, 2);
      return;
    }
    for (int peer : others()) {
      ByteRange theirs = ofShard(peer);
      receive(peer, Space::kRecv, theirs.begin, theirs.size(), kResult);
    }
  }

  void reduceBlocks() {
    ByteRange mine = ofBlock(call_.rank);
    for (int peer : others()) {
      send(peer, Space::kSend, ofBlock(peer), kContribution, 0);
      receive(peer, Space::kScratch, 0, mine.size(), kContribution);
    }
    fold(Space::kRecv, mine, ofBlock(0).begin);
  }

  void fromRoot(bool blocks) {
    ByteRange whole = ofBlock(0);
    if (!isRoot()) return receive(call_.root, Space::kRecv, whole.begin, whole.size(), kResult);
    for (int peer : others()) send(peer, Space::kSend, blocks ? ofBlock(peer) : whole, kResult, 0);
    copy(blocks ? ofBlock(call_.rank) : whole, whole.begin);
  }

  void toRoot() {
    ByteRange whole = ofBlock(0);
    if (!isRoot()) return send(call_.root, Space::kSend, whole, kResult, 0);
    for (int peer : others())
      receive(peer, Space::kRecv, ofBlock(peer).begin, whole.size(), kResult);
    copy(whole, ofBlock(call_.rank).begin);
  }

  void allToAll(bool personal) {
    ByteRange whole = ofBlock(0);
    for (int peer : others()) {
      send(peer, Space::kSend, personal ? ofBlock(peer) : whole, kResult, 0);
      receive(peer, Space::kRecv, ofBlock(peer).begin, whole.size(), kResult);
    }
    copy(personal ? ofBlock(call_.rank) : whole, ofBlock(call_.rank).begin);
  }

  const ScheduleCall& call_;
  const ByteRange segment_;
  std::vector<Step> steps_;
};

}  // namespace

std::vector<Step> directSteps(const ScheduleCall& call, ByteRange segment) {
  return Direct(call, segment).steps();
}

}  // namespace flexlink
