// SPDX-License-Identifier: Apache-2.0
#include "comm/rank_card.h"

#include <sched.h>
#include <string.h>

#include <algorithm>
#include <bitset>

#include "base/settings.h"
#include "comm/rendezvous.h"

namespace flexlink {

Result<RankCard> myRankCard(int device, const CudaDevice* gpu) {
  RankCard card{};
  FLEXLINK_TRY_ASSIGN(const ProcessCard* process, myProcessCard());
  FLEXLINK_TRY_ASSIGN(SocketAddress door, myDoor());
  card.process = *process;
  memcpy(card.door, door.bytes().data(), sizeof card.door);
  card.device = device;
  card.onHost = gpu == nullptr;
  card.direct = settings().directCopy;
  card.cma = settings().cma;
  card.eagerBytes = settings().eagerBytes;
  card.chunkBytes = settings().chunkBytes;
  card.byDevice = gpu != nullptr || settings().copies == "device";
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  static_assert(sizeof cpus == sizeof card.cpus);
  memcpy(card.cpus, &cpus, sizeof cpus);
  return card;
}

Status checkCards(const std::vector<RankCard>& cards) {
  for (size_t rank = 0; rank < cards.size(); ++rank) {
    if (cards[rank].onHost == cards[0].onHost) continue;
    return makeStatus(
        Code::kInvalidUsage,
        "%s is on %s memory, %s is not; FLEXLINK_DEVICE must be the same on all ranks",
        rankName(static_cast<int>(rank), cards[rank]).c_str(),
        cards[rank].onHost != 0 ? "host" : "cuda", rankName(0, cards[0]).c_str());
  }
  return {};
}

int coresOf(const std::vector<RankCard>& cards, const std::vector<int>& ranks) {
  std::bitset<1024> cpus;
  for (int rank : ranks) {
    const RankCard& card = cards[static_cast<size_t>(rank)];
    for (size_t cpu = 0; cpu < cpus.size(); ++cpu) {
      if (card.cpus[cpu / 8] >> (cpu % 8) & 1) cpus.set(cpu);
    }
  }
  return static_cast<int>(std::max<size_t>(cpus.count(), 1));
}

std::string processName(const ProcessCard& card) {
  return "pid " + std::to_string(card.pid) + " on host " +
         std::string(card.hostName, strnlen(card.hostName, sizeof card.hostName));
}

std::string rankName(int rank, const RankCard& card) {
  return "rank " + std::to_string(rank) + " (" + processName(card.process) + ")";
}

}  // namespace flexlink
