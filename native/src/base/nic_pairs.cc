// SPDX-License-Identifier: Apache-2.0
// Which NIC of ours is joined with which of a peer's: the second half of nic_pairs.h.
#include "base/nic_pairs.h"

#include <algorithm>
#include <string_view>

namespace flexlink {
namespace {

// PCI vendors, as /sys has them.
constexpr std::string_view kAmazon = "0x1d0f";
constexpr std::string_view kGoogle = "0x1ae0";

// How two addresses reach each other; lower is better.
enum Reach : int {
  kDirect,     // each is on the other's subnet
  kBootstrap,  // both are on the subnets over which ranks meet, which are connected
  kNamed,      // a user has named them: any route will do
  kUnknown,    // different subnets
  kLoopback,   // lo and lo: only where there is no other way
  kNever,      // IPv4 and IPv6, or lo and a NIC
};

bool isUsable(Reach reach) { return reach < kUnknown; }

bool isNear(const SocketAddress& address, const NicAddress& bootstrap) {
  return !address.isLinkLocal() && address.sameSubnet(bootstrap.address, bootstrap.prefixLength);
}

Reach reachOf(const NicSide& own, const NicAddress& a, const NicSide& peer, const NicAddress& b) {
  if (a.address.family() != b.address.family()) return kNever;
  if (a.address.isLoopback() != b.address.isLoopback()) return kNever;
  const bool bothNamed = own.named && peer.named;
  if (a.address.isLoopback()) return bothNamed ? kDirect : kLoopback;
  const int bits = std::max(a.prefixLength, b.prefixLength);
  const bool linkLocal = a.address.isLinkLocal() || b.address.isLinkLocal();
  if (!linkLocal && a.address.sameSubnet(b.address, bits)) return kDirect;
  const bool meet = a.address.sameSubnet(own.bootstrap.address, 128) &&
                    b.address.sameSubnet(peer.bootstrap.address, 128);
  if (meet || (isNear(a.address, own.bootstrap) && isNear(b.address, peer.bootstrap))) {
    return kBootstrap;
  }
  return !linkLocal && (own.named || peer.named) ? kNamed : kUnknown;
}

// The addresses of each NIC.
using Nics = std::vector<std::vector<size_t>>;

Nics nicsOf(const NicSide& side) {
  Nics nics;
  for (size_t i = 0; i < side.addresses.size(); ++i) {
    const auto same = std::find_if(nics.begin(), nics.end(), [&](const auto& nic) {
      return side.addresses[nic[0]].nic == side.addresses[i].nic;
    });
    if (same != nics.end()) {
      same->push_back(i);
    } else {
      nics.push_back({i});
    }
  }
  return nics;
}

// Our NICs are rows, the peer's are columns.
struct Cell {
  Reach reach = kNever;
  size_t own = 0;  // the addresses that reach each other best
  size_t peer = 0;
  bool joined = false;
};

class Joining {
 public:
  Joining(const NicSide& own, const NicSide& peer) : own_(own), peer_(peer) {
    const Nics rows = nicsOf(own);
    const Nics columns = nicsOf(peer);
    rows_ = rows.size();
    columns_ = columns.size();
    for (const auto& row : rows) {
      for (const auto& column : columns) cells_.push_back(best(row, column));
    }
  }

  void run(bool oneLoopback) {
    for (const Reach limit : {kDirect, kBootstrap, kNamed}) {
      for (size_t row = 0; row < rows_; ++row) {
        std::vector<bool> tried(columns_);
        if (usesOfRow(row) == 0) (void)joinAlone(row, limit, &tried);
      }
    }
    for (size_t row = 0; row < rows_; ++row) {
      if (usesOfRow(row) == 0) joinLeastUsed(row * columns_, 1, columns_);
    }
    for (size_t column = 0; column < columns_; ++column) {
      if (usesOfColumn(column) == 0) joinLeastUsed(column, columns_, rows_);
    }
    if (oneLoopback) joinLoopbacks();
  }

  std::vector<Cell> cells() const { return cells_; }

 private:
  Cell best(const std::vector<size_t>& row, const std::vector<size_t>& column) const {
    Cell found{kNever, row[0], column[0], false};
    for (size_t i : row) {
      for (size_t j : column) {
        const Reach reach = reachOf(own_, own_.addresses[i], peer_, peer_.addresses[j]);
        if (reach < found.reach) found = {reach, i, j, false};
      }
    }
    return found;
  }

  int usesOfRow(size_t row) const {
    int uses = 0;
    for (size_t column = 0; column < columns_; ++column) {
      uses += cells_[row * columns_ + column].joined ? 1 : 0;
    }
    return uses;
  }

  int usesOfColumn(size_t column) const {
    int uses = 0;
    for (size_t row = 0; row < rows_; ++row) uses += cells_[row * columns_ + column].joined ? 1 : 0;
    return uses;
  }

  // Columns in the order in which a row prefers them: the NIC of the same name, then as they come.
  std::vector<size_t> preferred(size_t row) const {
    std::vector<size_t> order;
    const auto sameName = [&](size_t column) {
      const Cell& cell = cells_[row * columns_ + column];
      return own_.addresses[cell.own].nic == peer_.addresses[cell.peer].nic;
    };
    for (size_t column = 0; column < columns_; ++column) {
      order.insert(sameName(column) ? order.begin() : order.end(), column);
    }
    return order;
  }

  // Gives a row a column of its own; rows that are directly connected give way where they have
  // another one (a maximum matching by augmenting paths).
  bool joinAlone(size_t row, Reach limit, std::vector<bool>* tried) {
    for (size_t column : preferred(row)) {
      Cell& cell = cells_[row * columns_ + column];
      if (cell.reach > limit || (*tried)[column]) continue;
      (*tried)[column] = true;
      if (usesOfColumn(column) != 0 && !(limit == kDirect && giveWay(column, tried))) continue;
      cell.joined = true;
      return true;
    }
    return false;
  }

  bool giveWay(size_t column, std::vector<bool>* tried) {
    for (size_t row = 0; row < rows_; ++row) {
      Cell& cell = cells_[row * columns_ + column];
      if (!cell.joined) continue;
      cell.joined = false;
      if (joinAlone(row, kDirect, tried)) return true;
      cell.joined = true;
    }
    return false;
  }

  // Joins one of the cells first, first + step, ...: the best reach, then the least used NICs.
  void joinLeastUsed(size_t first, size_t step, size_t count) {
    Cell* chosen = nullptr;
    int leastUses = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t at = first + i * step;
      Cell& cell = cells_[at];
      if (!isUsable(cell.reach)) continue;
      const int uses = usesOfRow(at / columns_) + usesOfColumn(at % columns_);
      const bool better = chosen == nullptr || cell.reach < chosen->reach ||
                          (cell.reach == chosen->reach && uses < leastUses);
      if (!better) continue;
      chosen = &cell;
      leastUses = uses;
    }
    if (chosen != nullptr) chosen->joined = true;
  }

  void joinLoopbacks() {
    const bool any =
        std::any_of(cells_.begin(), cells_.end(), [](const Cell& cell) { return cell.joined; });
    for (Cell& cell : cells_) {
      if (!any && cell.reach == kLoopback) cell.joined = true;
    }
  }

  const NicSide& own_;
  const NicSide& peer_;
  size_t rows_ = 0;
  size_t columns_ = 0;
  std::vector<Cell> cells_;
};

std::string whyOf(const Cell& cell, const NicAddress& own, const NicAddress& peer) {
  if (isUsable(cell.reach) && !cell.joined) {
    return "could be reached, but both are joined with others";
  }
  switch (cell.reach) {
    case kDirect:
      return "directly connected by " +
             own.address.subnet(std::max(own.prefixLength, peer.prefixLength));
    case kBootstrap:
      return "on the subnets over which ranks meet";
    case kNamed:
      return "named by a user";
    case kLoopback:
      return cell.joined ? "the only way between these processes of one machine"
                         : "lo: only between processes of one machine, without another way";
    case kUnknown:
      return own.address.subnet(own.prefixLength) + " here, " +
             peer.address.subnet(peer.prefixLength) + " there: not the same subnet";
    case kNever:
      break;
  }
  return own.address.family() != peer.address.family() ? "one has IPv4 and the other IPv6"
                                                       : "lo leads to lo only";
}

// One order of two sides for both of them.
bool goesFirst(const NicSide& a, const NicSide& b) {
  return std::lexicographical_compare(a.addresses.begin(), a.addresses.end(), b.addresses.begin(),
                                      b.addresses.end(),
                                      [](const NicAddress& one, const NicAddress& other) {
                                        return one.address.host() < other.address.host();
                                      });
}

}  // namespace

std::vector<NicPair> pairNics(const NicSide& own, const NicSide& peer, bool oneLoopback) {
  const bool swapped = goesFirst(peer, own);
  Joining joining(swapped ? peer : own, swapped ? own : peer);
  joining.run(oneLoopback);
  std::vector<NicPair> pairs;
  for (Cell cell : joining.cells()) {
    if (swapped) std::swap(cell.own, cell.peer);
    pairs.push_back({cell.own, cell.peer, cell.joined,
                     whyOf(cell, own.addresses[cell.own], peer.addresses[cell.peer])});
  }
  std::stable_sort(pairs.begin(), pairs.end(), [](const NicPair& a, const NicPair& b) {
    return std::pair(a.own, a.peer) < std::pair(b.own, b.peer);
  });
  return pairs;
}

size_t connectionsOf(const std::string& nic, const std::vector<NicFacts>& facts, int64_t wish) {
  if (wish > 0) return static_cast<size_t>(wish);
  if (wish == 0) return 1;
  const auto found = std::find_if(facts.begin(), facts.end(),
                                  [&](const NicFacts& one) { return one.name == nic; });
  const std::string vendor = found != facts.end() ? found->vendor : "";
  if (vendor == kAmazon) return 8;
  return vendor == kGoogle ? 4 : 1;
}

std::vector<NicPlace> unusedNics(const NicSide& own, const std::vector<NicPair>& pairs) {
  std::vector<NicPlace> unused;
  for (const auto& nic : nicsOf(own)) {
    const NicAddress& first = own.addresses[nic[0]];
    const auto isOf = [&](const NicPair& pair) { return own.addresses[pair.own].nic == first.nic; };
    const auto any = std::find_if(pairs.begin(), pairs.end(), isOf);
    const bool used = std::any_of(pairs.begin(), pairs.end(),
                                  [&](const NicPair& pair) { return isOf(pair) && pair.used; });
    if (used || first.address.isLoopback()) continue;
    unused.push_back(
        {first.nic, NicVerdict::kPeer, any != pairs.end() ? any->why : "the peer offers no NIC"});
  }
  return unused;
}

}  // namespace flexlink
