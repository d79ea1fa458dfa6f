// SPDX-License-Identifier: Apache-2.0
#include "lane/hier/hier_plan.h"

#include <algorithm>

namespace flexlink {
namespace {

constexpr size_t kSegmentBytes = 8 << 20;  // of a block that goes over the rails
constexpr size_t kScratchBytes = 8 << 20;  // for the blocks of a ReduceScatter
constexpr size_t kLeastBytes = 64 << 10;   // of a segment
constexpr size_t kLeastOnRail = 32 << 10;  // what is smaller takes fewer rails
constexpr size_t kGatherBytes = 1 << 20;   // segment of an AllGather's blocks

// Where every rank's block is reduced for it: on the rail of its place among its host's ranks.
// Hosts with more ranks than there are rails take several turns.
int railOf(const HostMap& map, int rank) {
  return map.localOf[static_cast<size_t>(rank)] % map.rails;
}

int turns(const HostMap& map) {
  size_t most = 0;
  for (const auto& ranks : map.ranksOf) most = std::max(most, ranks.size());
  return (static_cast<int>(most) + map.rails - 1) / map.rails;
}

class Planner {
 public:
  Planner(const HostMap& map, const Call& call, const Whole* whole, ElementRange segment,
          uint8_t* scratch)
      : map_(map),
        call_(call),
        whole_(whole),
        segment_(segment),
        scratch_(scratch),
        size_(typeSize(call.type)) {}

  HierPart plan() {
    switch (call_.kind) {
      case Collective::kAllReduce:
        allReduce();
        break;
      case Collective::kReduce:
        reduce();
        break;
      case Collective::kReduceScatter:
        reduceScatter();
        break;
      case Collective::kBroadcast:
        broadcast();
        break;
      case Collective::kAllGather:
        allGather();
        break;
      default:
        personal();
        break;
    }
    return std::move(part_);
  }

 private:
  const uint8_t* send(size_t element) const {
    return static_cast<const uint8_t*>(call_.send) + element * size_;
  }
  uint8_t* recv(size_t element) const {
    return static_cast<uint8_t*>(call_.recv) + element * size_;
  }
  size_t blockAt(int rank) const {
    return static_cast<size_t>(rank) * strideOf(call_) + segment_.begin;
  }

  Call part(Collective kind, const void* from, void* to, size_t count, int root = 0) const {
    Call one = call_;
    one.kind = kind;
    one.send = from;
    one.recv = to;
    one.count = count;
    one.stride = 0;
    one.root = root;
    one.whole = whole_;
    return one;
  }

  // Partial sums of a host are sums; what is to be done with the sum is done once, at the end.
  Call inside(Collective kind, const void* from, void* to, size_t count, int root) const {
    Call one = part(kind, from, to, count, root);
    if (one.op == ReduceOp::kAvg) one.op = ReduceOp::kSum;
    return one;
  }
  Call between(Collective kind, const void* from, void* to, size_t count, int root = 0) const {
    Call one = part(kind, from, to, count, root);
    if (one.op == ReduceOp::kPreMulSum) one.op = ReduceOp::kSum;
    one.divisor = map_.ranks();
    return one;
  }

  int railsFor() const {
    size_t most = std::max<size_t>(1, segment_.size() * size_ / kLeastOnRail);
    return static_cast<int>(std::min(static_cast<size_t>(map_.rails), most));
  }
  // The part of the segment that goes over rail `rail` of `rails`.
  ElementRange share(int rail, int rails) const {
    auto at = [&](int i) {
      return segment_.begin + segment_.size() * static_cast<size_t>(i) / static_cast<size_t>(rails);
    };
    return {at(rail), at(rail + 1)};
  }
  int rootHost() const { return map_.hostOf[static_cast<size_t>(call_.root)]; }
  int rootLocal() const { return map_.localOf[static_cast<size_t>(call_.root)]; }
  bool atRoot() const { return map_.rank == call_.root; }

  // Every call begins with something that all ranks of a host make in their memory lane, and has
  // something on rail 0: there ranks find out whether all mean the same call.
  void announce() {
    Call nothing = part(Collective::kBroadcast, nullptr, nullptr, 0);
    part_.before.collective.push_back(nothing);
    if (map_.local() == 0) part_.rail.collective.push_back(nothing);
  }

  void allReduce() {
    int rails = railsFor();
    for (int rail = 0; rail < rails; ++rail) {
      ElementRange range = share(rail, rails);
      part_.before.collective.push_back(
          inside(Collective::kReduce, send(range.begin), recv(range.begin), range.size(), rail));
      part_.after.collective.push_back(
          part(Collective::kBroadcast, recv(range.begin), recv(range.begin), range.size(), rail));
      if (rail != map_.local()) continue;
      part_.rail.collective.push_back(
          between(Collective::kAllReduce, recv(range.begin), recv(range.begin), range.size()));
    }
  }

  void reduce() {
    int rails = railsFor();
    for (int rail = 0; rail < rails; ++rail) {
      ElementRange range = share(rail, rails);
      uint8_t* sum = atRoot() ? recv(range.begin) : scratch_;
      bool mine = rail == map_.local();
      part_.before.collective.push_back(
          inside(Collective::kReduce, send(range.begin), sum, range.size(), rail));
      if (mine) {
        part_.rail.collective.push_back(
            between(Collective::kReduce, sum, sum, range.size(), rootHost()));
      }
      if (map_.host() != rootHost() || rail == rootLocal()) continue;
      if (mine) {
        part_.after.single.push_back(
            part(Collective::kSend, sum, nullptr, range.size(), rootLocal()));
      }
      if (atRoot()) {
        part_.after.single.push_back(
            part(Collective::kRecv, nullptr, recv(range.begin), range.size(), rail));
      }
    }
  }

  // In turn t, rail r reduces the block of local rank t * rails + r of every host.
  void reduceScatter() {
    size_t count = segment_.size(), bytes = count * size_;
    uint8_t* turnAt = scratch_;
    for (int turn = 0; turn < turns(map_); ++turn) {
      reduceBlocks(turn, turnAt, bytes);
      if (!map_.onRail()) continue;
      int local = turn * map_.rails + map_.local();
      bool somebody = local < static_cast<int>(map_.neighbours().size());
      int whose = somebody ? map_.neighbours()[static_cast<size_t>(local)] : -1;
      uint8_t* own = turnAt + static_cast<size_t>(map_.host()) * bytes;
      uint8_t* result = whose == map_.rank ? recv(segment_.begin) : own;
      part_.rail.collective.push_back(between(Collective::kReduceScatter, turnAt, result, count));
      if (somebody && whose != map_.rank) {
        part_.after.single.push_back(part(Collective::kSend, own, nullptr, count, local));
      }
      turnAt += static_cast<size_t>(map_.hosts()) * bytes;
    }
    if (!map_.onRail()) {
      part_.after.single.push_back(
          part(Collective::kRecv, nullptr, recv(segment_.begin), count, railOf(map_, map_.rank)));
    }
  }

  // This host's contributions to the blocks of one turn, each to the rail that reduces it.
  void reduceBlocks(int turn, uint8_t* to, size_t bytes) {
    for (int host = 0; host < map_.hosts(); ++host) {
      const std::vector<int>& ranks = map_.ranksOf[static_cast<size_t>(host)];
      for (int rail = 0; rail < map_.rails; ++rail) {
        auto local =
            static_cast<size_t>(turn) * static_cast<size_t>(map_.rails) + static_cast<size_t>(rail);
        if (local >= ranks.size()) continue;
        uint8_t* sum = rail == map_.local() ? to + static_cast<size_t>(host) * bytes : nullptr;
        part_.before.collective.push_back(
            inside(Collective::kReduce, send(blockAt(ranks[local])), sum, segment_.size(), rail));
      }
    }
  }

  void broadcast() {
    bool here = map_.host() == rootHost();
    if (here) {
      uint8_t* to = recv(segment_.begin);
      const void* from = atRoot() ? send(segment_.begin) : to;
      part_.before.collective.push_back(
          part(Collective::kBroadcast, from, to, segment_.size(), rootLocal()));
    }
    int rails = railsFor();
    for (int rail = 0; rail < rails; ++rail) {
      ElementRange range = share(rail, rails);
      if (!here) {
        part_.after.collective.push_back(
            part(Collective::kBroadcast, recv(range.begin), recv(range.begin), range.size(), rail));
      }
      if (rail == map_.local()) {
        part_.rail.collective.push_back(part(Collective::kBroadcast, recv(range.begin),
                                             recv(range.begin), range.size(), rootHost()));
      }
    }
  }

  // A block goes once to every other host, to the rank with its owner's place there.
  int guestOf(int rank, int host) const {
    const std::vector<int>& there = map_.ranksOf[static_cast<size_t>(host)];
    return there[static_cast<size_t>(map_.localOf[static_cast<size_t>(rank)]) % there.size()];
  }

  void allGather() {
    announce();
    size_t count = segment_.size();
    for (int host = 0; host < map_.hosts(); ++host) {
      if (host == map_.host()) continue;
      part_.pairs.single.push_back(
          part(Collective::kSend, send(segment_.begin), nullptr, count, guestOf(map_.rank, host)));
    }
    for (int rank = 0; rank < map_.ranks(); ++rank) {
      uint8_t* block = recv(blockAt(rank));
      int holder = rank;
      if (!map_.sameHost(rank)) {
        holder = guestOf(rank, map_.host());
        if (holder == map_.rank) {
          part_.pairs.single.push_back(part(Collective::kRecv, nullptr, block, count, rank));
        }
      }
      const void* from = rank == map_.rank ? send(segment_.begin) : block;
      part_.after.collective.push_back(part(Collective::kBroadcast, from, block, count,
                                            map_.localOf[static_cast<size_t>(holder)]));
    }
  }

  // AlltoAll, Gather, Scatter: whoever has something for another sends it to him.
  void personal() {
    bool all = call_.kind == Collective::kAlltoAll;
    bool gathers = call_.kind == Collective::kGather;
    announce();
    part_.together = true;
    for (int peer = 0; peer < map_.ranks(); ++peer) {
      Batch& batch = map_.sameHost(peer) ? part_.after : part_.pairs;
      int root = map_.sameHost(peer) ? map_.localOf[static_cast<size_t>(peer)] : peer;
      if (sendsTo(call_, map_.rank, peer)) {
        const void* from = send(gathers ? segment_.begin : blockAt(peer));
        batch.single.push_back(part(Collective::kSend, from, nullptr, segment_.size(), root));
      }
      if (sendsTo(call_, peer, map_.rank)) {
        void* to = recv(all || gathers ? blockAt(peer) : segment_.begin);
        batch.single.push_back(part(Collective::kRecv, nullptr, to, segment_.size(), root));
      }
    }
  }

  const HostMap& map_;
  const Call& call_;
  const Whole* const whole_;
  const ElementRange segment_;
  uint8_t* const scratch_;
  const size_t size_;
  HierPart part_;
};

}  // namespace

size_t hierSegmentElements(const HostMap& map, const Call& call) {
  size_t bytes = 0;
  switch (call.kind) {
    case Collective::kAllReduce:
    case Collective::kReduce:
    case Collective::kBroadcast:
      bytes = kSegmentBytes;
      break;
    case Collective::kReduceScatter:
      bytes = std::max(kScratchBytes / static_cast<size_t>(turns(map) * map.hosts()), kLeastBytes);
      break;
    case Collective::kAllGather:
      bytes = kGatherBytes;
      break;
    default:
      return std::max<size_t>(1, call.count);
  }
  return std::max<size_t>(1, bytes / typeSize(call.type));
}

size_t hierScratchBytes(const HostMap& map, const Call& call, size_t elements) {
  size_t bytes = elements * typeSize(call.type);
  if (call.kind == Collective::kReduce) return bytes;
  if (call.kind != Collective::kReduceScatter || !map.onRail()) return 0;
  return bytes * static_cast<size_t>(turns(map) * map.hosts());
}

HierPart hierPart(const HostMap& map, const Call& call, const Whole* whole, ElementRange segment,
                  uint8_t* scratch) {
  return Planner(map, call, whole, segment, scratch).plan();
}

HierSingles hierSingles(const HostMap& map, const std::vector<Call>& calls) {
  HierSingles part;
  for (const Call& call : calls) {
    if (map.sameHost(call.root)) {
      part.inside.single.push_back(call);
      part.inside.single.back().root = map.localOf[static_cast<size_t>(call.root)];
    } else {
      part.pairs.single.push_back(call);
    }
  }
  return part;
}

}  // namespace flexlink
