// SPDX-License-Identifier: Apache-2.0
#include "comm/creation.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/uio.h>

#include <algorithm>
#include <bitset>

#include "base/clock.h"
#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "comm/shell.h"
#include "comm/unique_id.h"
#include "comm/wire.h"

namespace flexlink {
namespace {

constexpr int64_t kWatchNanos = 50'000'000;
constexpr int64_t kConnectNanos = 20'000'000'000;  // for the data connections to a peer
constexpr size_t kPoolBytes = 4 << 20;             // with the rest of a segment below 8 MiB

struct ColorKey {
  int32_t color;
  int32_t key;
};

struct Readiness {
  int32_t code;
  uint8_t cma;  // this rank may read the memory of all others
  char text[507];
};

template <typename T>
std::string asBytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <typename T>
bool fromBytes(const std::string& bytes, T* value) {
  if (bytes.size() != sizeof *value) return false;
  memcpy(value, bytes.data(), sizeof *value);
  return true;
}

std::string rankName(int rank, const RankCard& card) {
  return "rank " + std::to_string(rank) + " (pid " + std::to_string(card.process.pid) +
         " on host " +
         std::string(card.process.hostName,
                     strnlen(card.process.hostName, sizeof card.process.hostName)) +
         ")";
}

// Control thread only. Kept alive by the handlers of its participant until it has ended.
class Creation : public std::enable_shared_from_this<Creation> {
 public:
  Creation(ncclComm* shell, CreationPlan plan) : shell_(shell), plan_(std::move(plan)) {}

  void start();
  void cancel() { end(makeStatus(Code::kInvalidUsage, "the creation was aborted")); }

 private:
  void heard(uint32_t round, Result<std::vector<std::string>> blobs);
  void hearColors(const std::vector<std::string>& blobs);
  void hearCards(const std::vector<std::string>& blobs);
  void hearReadiness(const std::vector<std::string>& blobs);
  Status makeCard(std::string* bytes);
  Status checkCards() const;
  bool severalHosts() const;
  void connectNext();
  void mapNext();
  void mapPeer(size_t rank, std::shared_ptr<PeerProcess> process);
  void mapWake(size_t rank);
  void sayReady(const Status& status);
  bool mayAttach(size_t rank) const;
  bool oversubscribed() const;
  Status deadAttendant() const;
  void watchAttendants();
  void endUnlessSomebodyDied(const Status& status);
  void end(const Status& status);

  ncclComm* const shell_;
  CreationPlan plan_;
  std::shared_ptr<Participant> participant_;
  CommParts parts_;
  std::vector<uint32_t> members_;  // parent ranks of the new communicator, in its order
  size_t mapped_ = 0;
  bool cma_ = true;
  bool ended_ = false;
};

void Creation::start() {
  std::string first;
  parts_.config = plan_.config;
  parts_.parentHash = plan_.parentHash;
  if (plan_.split) {
    first = asBytes(ColorKey{plan_.color, plan_.key});
  } else {
    parts_.cookie = deriveCookie(plan_.meeting.cookie, plan_.meeting.key, 0);
    parts_.rank = static_cast<int>(plan_.meeting.index);
    for (uint32_t i = 0; i < plan_.meeting.size; ++i) members_.push_back(i);
    Status status = makeCard(&first);
    if (!status.ok()) return end(status);
  }
  auto self = shared_from_this();
  if (!plan_.attendants.empty()) watchAttendants();
  participant_ = Participant::join(plan_.meeting, first,
                                   [self](uint32_t round, Result<std::vector<std::string>> blobs) {
                                     self->heard(round, std::move(blobs));
                                   });
}

void Creation::heard(uint32_t round, Result<std::vector<std::string>> blobs) {
  auto self = shared_from_this();  // end() drops the participant, which holds us
  if (!blobs.ok()) return endUnlessSomebodyDied(blobs.status());
  if (plan_.split && round == 0) return hearColors(blobs.value());
  if (plan_.split) --round;
  if (round == 0) return hearCards(blobs.value());
  hearReadiness(blobs.value());
}

Status Creation::deadAttendant() const {
  for (const Attendant& attendant : plan_.attendants) {
    if (!attendant.process->dead()) continue;
    return makeStatus(Code::kRemote,
                      "%s is dead: it cannot come to the set-up of the new communicator",
                      attendant.name.c_str());
  }
  return {};
}

void Creation::watchAttendants() {
  if (ended_) return;
  Status dead = deadAttendant();
  if (!dead.ok()) return end(dead);
  auto self = shared_from_this();
  Reactor::instance().value()->after(kWatchNanos, [self] { self->watchAttendants(); });
}

// A broken connection may be heard of before the death that broke it: the death says more.
void Creation::endUnlessSomebodyDied(const Status& status) {
  if (status.code() != Code::kRemote || plan_.attendants.empty()) return end(status);
  auto self = shared_from_this();
  Reactor::instance().value()->after(4 * kWatchNanos, [self, status] { self->end(status); });
}

void Creation::hearColors(const std::vector<std::string>& blobs) {
  if (ended_) return;
  std::vector<std::pair<int32_t, uint32_t>> order;  // key, parent rank
  for (uint32_t i = 0; i < blobs.size(); ++i) {
    ColorKey said;
    if (!fromBytes(blobs[i], &said)) {
      return end(
          makeStatus(Code::kInvalidUsage, "rank %u makes another call than ncclCommSplit", i));
    }
    if (plan_.color >= 0 && said.color == plan_.color) order.push_back({said.key, i});
  }
  std::sort(order.begin(), order.end());
  for (auto [key, parentRank] : order) {
    if (parentRank == plan_.meeting.index) parts_.rank = static_cast<int>(members_.size());
    members_.push_back(parentRank);
  }
  parts_.cookie =
      deriveCookie(plan_.meeting.cookie, plan_.meeting.key, static_cast<uint64_t>(plan_.color) + 1);
  std::string card;
  if (plan_.color >= 0) {
    Status status = makeCard(&card);
    if (!status.ok()) return end(status);
  }
  participant_->say(card);
}

Status Creation::makeCard(std::string* bytes) {
  FLEXLINK_TRY_ASSIGN(const ProcessCard* process, myProcessCard());
  FLEXLINK_TRY_ASSIGN(SocketAddress door, myDoor());
  parts_.layout = SegmentLayout{static_cast<int>(members_.size()), kPoolBytes};
  FLEXLINK_TRY_ASSIGN(parts_.segment, OwnSegment::create(parts_.layout));
  SegmentHeader& header = Segment(parts_.segment->base(), parts_.layout).header();
  header.rank = static_cast<uint32_t>(parts_.rank);
  header.selfAddress = reinterpret_cast<uint64_t>(&header);
  header.magic = kSegmentMagic;
  RankCard card{};
  card.process = *process;
  memcpy(card.door, door.bytes().data(), sizeof card.door);
  card.segmentRegion = parts_.segment->regionId();
  card.device = plan_.device;
  card.onHost = settings().device != "cuda";
  card.direct = settings().directCopy;
  card.cma = settings().cma;
  card.eagerBytes = settings().eagerBytes;
  card.chunkBytes = settings().chunkBytes;
  FLEXLINK_TRY_ASSIGN(std::vector<DataNic> nics, myDataNics());
  card.dataNics = static_cast<uint32_t>(nics.size());
  for (size_t i = 0; i < nics.size(); ++i) {
    memcpy(card.data[i], nics[i].address.bytes().data(), sizeof card.data[i]);
  }
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  static_assert(sizeof cpus == sizeof card.cpus);
  memcpy(card.cpus, &cpus, sizeof cpus);
  *bytes = asBytes(card);
  return {};
}

void Creation::hearCards(const std::vector<std::string>& blobs) {
  if (plan_.split && plan_.color < 0) return sayReady({});
  for (size_t rank = 0; rank < members_.size(); ++rank) {
    RankCard card;
    if (!fromBytes(blobs[members_[rank]], &card)) {
      return end(makeStatus(Code::kInvalidUsage,
                            "rank %zu said %zu bytes of itself, not %zu; do all "
                            "ranks load the same version?",
                            rank, blobs[members_[rank]].size(), sizeof card));
    }
    card.process.hostName[sizeof card.process.hostName - 1] = '\0';
    parts_.cards.push_back(card);
  }
  Status status = checkCards();
  if (!status.ok()) return end(status);
  parts_.peers.resize(members_.size());
  severalHosts() ? connectNext() : mapNext();
}

// All ranks read the same cards and come to the same end.
Status Creation::checkCards() const {
  for (size_t rank = 0; rank < parts_.cards.size(); ++rank) {
    const RankCard& card = parts_.cards[rank];
    if (card.onHost == 0) {
      return makeStatus(Code::kInvalidUsage,
                        "%s asks for FLEXLINK_DEVICE=cuda, which this build does "
                        "not have yet",
                        rankName(static_cast<int>(rank), card).c_str());
    }
  }
  if (!severalHosts()) return {};
  for (size_t rank = 0; rank < parts_.cards.size(); ++rank) {
    for (size_t other = 0; other < rank; ++other) {
      if (parts_.cards[rank].process.id != parts_.cards[other].process.id) continue;
      return makeStatus(
          Code::kInvalidUsage,
          "%s and rank %zu are threads of one process in a communicator over several hosts; "
          "this version needs a process for each rank there",
          rankName(static_cast<int>(rank), parts_.cards[rank]).c_str(), other);
    }
  }
  return {};
}

bool Creation::severalHosts() const {
  return std::any_of(parts_.cards.begin(), parts_.cards.end(), [this](const RankCard& card) {
    return card.process.hostHash != parts_.cards[0].process.hostHash;
  });
}

// Connects to all peers at once.
void Creation::connectNext() {
  parts_.bundles.resize(parts_.cards.size());
  mapped_ = 1;
  for (size_t rank = 0; rank < parts_.cards.size(); ++rank) {
    const RankCard& card = parts_.cards[rank];
    parts_.peers[rank].name = rankName(static_cast<int>(rank), card);
    if (static_cast<int>(rank) == parts_.rank) continue;
    DataPeer peer{card.process.id, card.process.cookie, parts_.peers[rank].name, {}};
    for (size_t i = 0; i < std::min<size_t>(card.dataNics, kMaxDataNics); ++i) {
      Result<SocketAddress> address = SocketAddress::fromBytes(card.data[i]);
      if (address.ok()) peer.nics.push_back(address.value());
    }
    auto self = shared_from_this();
    connectBundle(peer, nowNanos() + kConnectNanos,
                  [self, rank](Result<std::shared_ptr<Bundle>> bundle) {
                    if (!bundle.ok()) return self->sayReady(bundle.status());
                    self->parts_.bundles[rank] = bundle.value();
                    if (++self->mapped_ == self->parts_.cards.size()) self->sayReady({});
                  });
  }
}

// Maps the peers one after the other; the answers come as events.
void Creation::mapNext() {
  if (ended_) return;
  ProcessId mine = myProcessCard().value()->id;
  while (mapped_ < parts_.cards.size()) {
    size_t rank = mapped_;
    const RankCard& card = parts_.cards[rank];
    MemoryPeer& peer = parts_.peers[rank];
    peer.name = rankName(static_cast<int>(rank), card);
    peer.pid = card.process.pid;
    if (card.process.id != mine) {
      auto self = shared_from_this();
      return connectPeer(card.process, [self, rank](Result<std::shared_ptr<PeerProcess>> process) {
        if (!process.ok()) return self->sayReady(process.status());
        self->mapPeer(rank, process.value());
      });
    }
    peer.own = OwnSegment::find(card.segmentRegion);
    if (!peer.own) return sayReady(makeStatus(Code::kRemote, "%s is gone", peer.name.c_str()));
    peer.segment = Segment(peer.own->base(), parts_.layout);
    peer.bell = &myDoorbell();
    ++mapped_;
  }
  sayReady({});
}

void Creation::mapPeer(size_t rank, std::shared_ptr<PeerProcess> process) {
  parts_.peers[rank].process = process;
  auto self = shared_from_this();
  process->fetch(
      parts_.cards[rank].segmentRegion, [self, rank](const Result<PeerProcess::Mapping>& got) {
        if (!got.ok()) return self->sayReady(got.status());
        Segment segment(got.value()->base(), self->parts_.layout);
        // What is advertised is verified: the right bytes must be there.
        bool right = got.value()->bytes() >= self->parts_.layout.bytes() &&
                     segment.header().magic == kSegmentMagic && segment.header().rank == rank;
        if (!right) {
          return self->sayReady(makeStatus(Code::kSystem,
                                           "the shared memory of %s does not hold what it "
                                           "should",
                                           self->parts_.peers[rank].name.c_str()));
        }
        self->parts_.peers[rank].segment = segment;
        self->parts_.peers[rank].mapping = got.value();
        self->mapWake(rank);
      });
}

void Creation::mapWake(size_t rank) {
  auto self = shared_from_this();
  parts_.peers[rank].process->fetch(
      parts_.cards[rank].process.wakeRegion, [self, rank](const Result<PeerProcess::Mapping>& got) {
        if (!got.ok()) return self->sayReady(got.status());
        self->parts_.peers[rank].bell = static_cast<Doorbell*>(got.value()->base());
        bool attach = self->mayAttach(rank);
        self->parts_.peers[rank].cma = attach;
        self->cma_ = self->cma_ && attach;
        Segment own(self->parts_.segment->base(), self->parts_.layout);
        own.pair(static_cast<int>(rank)).attaches.store(attach, std::memory_order_release);
        ++self->mapped_;
        self->mapNext();
      });
}

// Whether the kernel lets us read that process's memory, found out by doing it.
bool Creation::mayAttach(size_t rank) const {
  if (!settings().cma) return false;
  const SegmentHeader& header = parts_.peers[rank].segment.header();
  uint32_t magic = 0;
  iovec local{&magic, sizeof magic};
  iovec remote{reinterpret_cast<void*>(header.selfAddress), sizeof magic};
  ssize_t got = process_vm_readv(parts_.cards[rank].process.pid, &local, 1, &remote, 1, 0);
  if (got == sizeof magic && magic == kSegmentMagic) return true;
  FLEXLINK_INFO(kInit, "no cross-memory attach to %s (%s): copies go through shared memory",
                parts_.peers[rank].name.c_str(),
                got < 0 ? strerror(errno) : "another process answered");
  return false;
}

void Creation::sayReady(const Status& status) {
  if (ended_) return;
  Readiness ready{};
  ready.code = static_cast<int32_t>(status.code());
  ready.cma = cma_;
  strncpy(ready.text, status.text(), sizeof ready.text - 1);
  if (participant_) participant_->say(asBytes(ready));
}

void Creation::hearReadiness(const std::vector<std::string>& blobs) {
  for (size_t i = 0; i < blobs.size(); ++i) {
    Readiness ready;
    if (!fromBytes(blobs[i], &ready))
      ready = Readiness{static_cast<int32_t>(Code::kInternal), 0, {}};
    ready.text[sizeof ready.text - 1] = '\0';
    auto code = static_cast<Code>(ready.code);
    if (code != Code::kOk) {
      return end(makeStatus(code, "rank %zu cannot join: %s", i, ready.text));
    }
    bool member = std::find(members_.begin(), members_.end(), i) != members_.end();
    cma_ = cma_ && (!member || ready.cma != 0);
  }
  if (parts_.cards.empty()) return end({});  // no colour, no communicator
  TuningFacts facts;
  facts.ranks = static_cast<int>(parts_.cards.size());
  facts.oversubscribed = parts_.oversubscribed = oversubscribed();
  for (const RankCard& card : parts_.cards) facts.direct = facts.direct && card.direct != 0;
  facts.cma = cma_;
  facts.eagerBytes = parts_.cards[0].eagerBytes;
  facts.chunkBytes = parts_.cards[0].chunkBytes;
  parts_.tuning = memoryTuning(facts);
  end({});
}

bool Creation::oversubscribed() const {
  std::bitset<1024> cpus;
  for (const RankCard& card : parts_.cards) {
    for (size_t cpu = 0; cpu < cpus.size(); ++cpu) {
      if (card.cpus[cpu / 8] >> (cpu % 8) & 1) cpus.set(cpu);
    }
  }
  return parts_.cards.size() > cpus.count();
}

void Creation::end(const Status& status) {
  auto self = shared_from_this();
  if (ended_) return;
  ended_ = true;
  plan_.attendants.clear();
  if (participant_) {
    participant_->leave();
    // It may be what is calling us: let go of it when the call is over.
    Reactor::instance().value()->post([held = std::move(participant_)] {});
  }
  bool made = status.ok() && (!plan_.split || plan_.color >= 0);
  std::unique_ptr<Communicator> impl;
  if (made) {
    if (!parts_.bundles.empty()) {
      FLEXLINK_INFO(kInit, "rank %d of %zu: communicator%s%s ready, lane message", parts_.rank,
                    parts_.cards.size(), parts_.config.name.empty() ? "" : " ",
                    parts_.config.name.c_str());
    } else
      FLEXLINK_INFO(kInit, "rank %d of %zu: communicator%s%s ready, lane memory (%s, %s)",
                    parts_.rank, parts_.cards.size(), parts_.config.name.empty() ? "" : " ",
                    parts_.config.name.c_str(), parts_.tuning.direct ? "direct" : "no direct",
                    parts_.tuning.cma ? "cross-memory attach" : "segment copies");
    impl = std::make_unique<Communicator>(std::move(parts_), shell_);
  } else {
    for (size_t rank = 0; rank < parts_.peers.size(); ++rank) {
      MemoryPeer& peer = parts_.peers[rank];
      if (peer.process == nullptr) continue;
      peer.process->forget(parts_.cards[rank].segmentRegion);
      releasePeer(std::move(peer.process));
    }
    parts_ = CommParts{};
  }
  std::lock_guard<std::mutex> lock(shell_->life);
  shell_->cancelCreation = nullptr;
  shell_->impl = std::move(impl);
  shell_->creationFailure = status;
  shell_->state.store(made          ? ncclComm::State::kReady
                      : status.ok() ? ncclComm::State::kGone
                                    : ncclComm::State::kFailed,
                      std::memory_order_release);
  shell_->changed.notify_all();
}

}  // namespace

Status startCreation(ncclComm* shell, CreationPlan plan) {
  guardAgainstFork();
  FLEXLINK_TRY_ASSIGN([[maybe_unused]] Engine * engine, Engine::instance());
  FLEXLINK_TRY_ASSIGN(Reactor * reactor, Reactor::instance());
  double limit = settings().initTimeoutSeconds;
  // A little longer than the door waits, so that the door's answer, which knows who is missing,
  // wins.
  if (limit > 0) plan.meeting.deadlineNanos = nowNanos() + static_cast<int64_t>((limit + 1) * 1e9);
  shell->blocking = plan.config.blocking;
  auto creation = std::make_shared<Creation>(shell, std::move(plan));
  {
    std::lock_guard<std::mutex> lock(shell->life);
    shell->cancelCreation = [reactor, creation] {
      reactor->post([creation] { creation->cancel(); });
    };
  }
  reactor->post([creation] { creation->start(); });
  return {};
}

Status awaitCreation(ncclComm* shell) {
  std::unique_lock<std::mutex> lock(shell->life);
  shell->changed.wait(lock, [shell] {
    return shell->state.load(std::memory_order_acquire) != ncclComm::State::kConnecting;
  });
  return shell->creationFailure;
}

}  // namespace flexlink
