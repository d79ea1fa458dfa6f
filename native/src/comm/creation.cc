// SPDX-License-Identifier: Apache-2.0
#include "comm/creation.h"

#include <string.h>

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "base/reactor.h"
#include "comm/copies.h"
#include "comm/paths.h"
#include "comm/shell.h"
#include "comm/unique_id.h"
#include "comm/wire.h"
#include "device/host/region.h"

namespace flexlink {
namespace {

constexpr int64_t kWatchNanos = 50'000'000;

struct ColorKey {
  int32_t color;
  int32_t key;
};

struct Readiness {
  int32_t code;
  uint8_t cma;      // this rank may read the memory of all others
  uint8_t vendor;   // its vendor lane is there
  uint8_t staging;  // its GPU reaches the staging memory of all
  char text[505];
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

// Control thread only. Kept alive by the handlers of its participant until it has ended.
class Creation : public std::enable_shared_from_this<Creation> {
 public:
  Creation(ncclComm* shell, CreationPlan plan) : shell_(shell), plan_(std::move(plan)) {}

  void start();
  void cancel() { end(makeStatus(Code::kInvalidUsage, "the creation was aborted")); }

 private:
  // What the next round tells.
  enum class Round : uint8_t { kColors, kCards, kNics, kReadiness };
  // What follows from the readiness of all.
  struct Agreed {
    bool cma = true;
    bool vendor = true;
    bool staging = true;
    bool denials = false;      // somebody cannot share memory, maybe in another group of a split
    std::vector<Denial> mine;  // those of this communicator
  };
  void heard(const Result<std::vector<std::string>>& blobs);
  void hearColors(const std::vector<std::string>& blobs);
  void hearCards(const std::vector<std::string>& blobs);
  void sayNics();
  void hearNics(const std::vector<std::string>& blobs);
  void hearReadiness(const std::vector<std::string>& blobs);
  Status readAll(const std::vector<std::string>& blobs, Agreed* agreed) const;
  void regroup(const std::vector<Denial>& denials);
  void dropPeers();
  Status makeCard(std::string* bytes);
  void reachPeers(std::vector<PeerNics> nics);
  void enterVendor();
  bool openCopies();
  void sayReady();
  Status deadAttendant() const;
  void watchAttendants();
  void endUnlessSomebodyDied(const Status& status);
  void end(const Status& status);

  ncclComm* const shell_;
  CreationPlan plan_;
  std::shared_ptr<Participant> participant_;
  CommParts parts_;
  std::vector<uint32_t> members_;  // parent ranks of the new communicator, in its order
  Round next_ = Round::kCards;
  std::shared_ptr<Paths> paths_;
  std::optional<Status> reached_;        // how paths_ has ended
  std::shared_ptr<VendorEntry> vendor_;  // null: not all ranks have the vendor
  std::shared_ptr<CopiesEntry> copies_;  // null: the ranks' threads copy
  bool copiesAsked_ = false;
  bool regrouped_ = false;
  bool admitted_ = false;  // the new communicator's cookie; from end() on its own affair
  bool ended_ = false;
};

void Creation::start() {
  std::string first;
  parts_.config = plan_.config;
  parts_.gpu = plan_.gpu;
  parts_.parentHash = plan_.parentHash;
  if (plan_.split) {
    next_ = Round::kColors;
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
  participant_ = Participant::join(
      plan_.meeting, first,
      [self](uint32_t, const Result<std::vector<std::string>>& blobs) { self->heard(blobs); });
}

void Creation::heard(const Result<std::vector<std::string>>& blobs) {
  auto self = shared_from_this();  // end() drops the participant, which holds us
  if (!blobs.ok()) return endUnlessSomebodyDied(blobs.status());
  switch (next_) {
    case Round::kColors:
      return hearColors(blobs.value());
    case Round::kCards:
      return hearCards(blobs.value());
    case Round::kNics:
      return hearNics(blobs.value());
    case Round::kReadiness:
      return hearReadiness(blobs.value());
  }
}

Status Creation::deadAttendant() const {
  for (const Attendant& attendant : plan_.attendants) {
    if (!attendant.dead()) continue;
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
  next_ = Round::kCards;
  participant_->say(card);
}

Status Creation::makeCard(std::string* bytes) {
  parts_.layout = SegmentLayout{static_cast<int>(members_.size()), kPoolBytes};
  FLEXLINK_TRY_ASSIGN(parts_.segment, OwnSegment::create(parts_.layout));
  if (plan_.gpu != nullptr) {
    preferNode(parts_.segment->base(), parts_.layout.bytes(), plan_.gpu->numaNode());
  }
  SegmentHeader& header = Segment(parts_.segment->base(), parts_.layout).header();
  header.rank = static_cast<uint32_t>(parts_.rank);
  header.selfAddress = reinterpret_cast<uint64_t>(&header);
  header.magic = kSegmentMagic;
  FLEXLINK_TRY_ASSIGN(RankCard card, myRankCard(plan_.device, plan_.gpu.get()));
  card.segmentRegion = parts_.segment->regionId();
  parts_.staging = std::move(plan_.staging);
  if (parts_.staging != nullptr) parts_.staging->announce(&card);
  if (!isSideMeeting(plan_.meeting.key)) {  // there the program itself holds the vendor's
    FLEXLINK_TRY_ASSIGN(card.vendor, myVendorCard(parts_.rank == 0));
  }
  *bytes = asBytes(card);
  return {};
}

void Creation::hearCards(const std::vector<std::string>& blobs) {
  std::vector<uint64_t> hosts;  // of all who are here, also of those in other groups of a split
  for (const std::string& blob : blobs) {
    RankCard card;
    if (fromBytes(blob, &card)) hosts.push_back(card.process.hostHash);
  }
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
  Status status = checkCards(parts_.cards);
  if (!status.ok()) return end(status);
  std::vector<uint64_t> mine;
  for (const RankCard& card : parts_.cards) mine.push_back(card.process.hostHash);
  parts_.hosts = makeHostMap(parts_.rank, mine);
  admitCookie(parts_.cookie);  // some may be back at the door before this rank is through
  admitted_ = true;
  enterVendor();
  bool severalHosts =
      std::any_of(hosts.begin(), hosts.end(), [&](uint64_t host) { return host != hosts.front(); });
  severalHosts ? sayNics() : reachPeers({});
}

void Creation::sayNics() {
  NicCard card{};  // said only where there are other hosts
  if (parts_.hosts.hosts() > 1) {
    Result<NicCard> mine = myNicCard();
    if (!mine.ok()) return end(mine.status());
    card = mine.value();
  }
  next_ = Round::kNics;
  participant_->say(asBytes(card));
}

void Creation::hearNics(const std::vector<std::string>& blobs) {
  std::vector<PeerNics> nics(members_.size());
  for (size_t rank = 0; rank < members_.size(); ++rank) {
    NicCard card{};
    if (!fromBytes(blobs[members_[rank]], &card)) continue;
    Result<NicSide> side = unpackNics(card);
    if (!side.ok()) return end(side.status());
    nics[rank] = {std::move(side.value()), card.loopback != 0 && card.loopback == loopbackId()};
  }
  reachPeers(std::move(nics));
}

void Creation::reachPeers(std::vector<PeerNics> nics) {
  reached_.reset();
  if (parts_.cards.empty()) {  // no colour
    reached_ = Status();
    return sayReady();
  }
  auto self = shared_from_this();
  paths_ = std::make_shared<Paths>(&parts_, std::move(nics), [self](const Status& status) {
    self->reached_ = status;
    self->sayReady();
  });
  paths_->start();
}

// All of them could open it: their communicator in it is made while paths are connected.
void Creation::enterVendor() {
  bool wanted = false, all = !parts_.cards.empty();
  for (const RankCard& card : parts_.cards) {
    wanted = wanted || card.vendor.wanted != 0;
    all = all && card.vendor.able != 0;
  }
  if (wanted && !all) FLEXLINK_INFO(kInit, "no vendor lane: not every rank could open it");
  if (!all) return;
  auto self = shared_from_this();
  vendor_ = VendorEntry::start(static_cast<int>(members_.size()), parts_.rank,
                               parts_.cards[0].vendor, [self] { self->sayReady(); });
}

// Where peers are reached. True: it is open, or nothing is to be opened.
bool Creation::openCopies() {
  if (!reached_->ok() || (paths_ != nullptr && !paths_->denied().empty())) return true;
  if (!copiesAsked_) {
    copiesAsked_ = true;
    auto self = shared_from_this();
    copies_ = CopiesEntry::start(parts_, [self] { self->sayReady(); });
  }
  return copies_ == nullptr || copies_->settled();
}

// Once paths, vendor and device are there, or cannot be.
void Creation::sayReady() {
  const bool settled = vendor_ == nullptr || vendor_->settled();
  if (ended_ || !reached_ || (reached_->ok() && !settled) || !openCopies()) return;
  Status status = *reached_;
  if (status.ok() && copies_ != nullptr) status = copies_->status();
  if (status.ok() && copies_ != nullptr) copies_->give(&parts_);
  Readiness ready{};
  ready.staging = parts_.staging != nullptr;
  ready.vendor = vendor_ != nullptr && vendor_->there();
  ready.code = static_cast<int32_t>(status.code());
  ready.cma = status.ok() && (paths_ == nullptr || paths_->cma());
  strncpy(ready.text, status.text(), sizeof ready.text - 1);
  next_ = Round::kReadiness;
  std::string word = asBytes(ready);
  if (paths_ != nullptr) {
    for (uint32_t rank : paths_->denied()) word += asBytes(rank);
  }
  if (participant_) participant_->say(word);
}

// Reads what all have said of their paths. The error: somebody cannot join.
Status Creation::readAll(const std::vector<std::string>& blobs, Agreed* agreed) const {
  for (size_t i = 0; i < blobs.size(); ++i) {
    Readiness ready{static_cast<int32_t>(Code::kInternal), 0, 0, 0, {}};
    const bool whole = fromBytes(blobs[i].substr(0, sizeof ready), &ready);
    ready.text[sizeof ready.text - 1] = '\0';
    auto code = static_cast<Code>(ready.code);
    if (code != Code::kOk) return makeStatus(code, "rank %zu cannot join: %s", i, ready.text);
    auto member = std::find(members_.begin(), members_.end(), i);
    agreed->denials = agreed->denials || (whole && blobs[i].size() > sizeof ready);
    if (member == members_.end()) continue;
    agreed->cma = agreed->cma && ready.cma != 0;
    agreed->vendor = agreed->vendor && ready.vendor != 0;
    agreed->staging = agreed->staging && ready.staging != 0;
    for (size_t at = sizeof ready; at + sizeof(uint32_t) <= blobs[i].size(); at += 4) {
      uint32_t to = 0;
      memcpy(&to, blobs[i].data() + at, sizeof to);
      agreed->mine.push_back({static_cast<int>(member - members_.begin()), static_cast<int>(to)});
    }
  }
  return {};
}

void Creation::hearReadiness(const std::vector<std::string>& blobs) {
  Agreed agreed;
  Status status = readAll(blobs, &agreed);
  if (!status.ok()) return end(status);
  if (agreed.denials) return regroup(agreed.mine);
  if (parts_.cards.empty()) return end({});  // no colour, no communicator
  TuningFacts facts;
  facts.ranks = static_cast<int>(parts_.hosts.neighbours().size());
  parts_.cores = coresOf(parts_.cards, parts_.hosts.neighbours());
  facts.oversubscribed = parts_.oversubscribed = facts.ranks > parts_.cores;
  for (const RankCard& card : parts_.cards) facts.direct = facts.direct && card.direct != 0;
  facts.cma = agreed.cma;
  facts.eagerBytes = parts_.cards[0].eagerBytes;
  facts.chunkBytes = parts_.cards[0].chunkBytes;
  facts.byDevice = parts_.cards[0].byDevice != 0 && !parts_.byImages();
  parts_.tuning = memoryTuning(facts);
  if (!agreed.staging) dropStaging(&parts_);
  if (agreed.vendor) parts_.vendor = vendor_->take();
  end({});
}

// Ranks of one host that cannot share memory count as ranks of several. All hear the same and take
// part in the rounds that follow, also those whose paths are as they were.
void Creation::regroup(const std::vector<Denial>& denials) {
  if (regrouped_) {
    return end(makeStatus(Code::kSystem,
                          "ranks of one host could share memory at first, and then could not"));
  }
  regrouped_ = true;
  dropPeers();
  std::vector<uint64_t> hashes;
  for (const RankCard& card : parts_.cards) hashes.push_back(card.process.hostHash);
  parts_.hosts = makeHostMap(parts_.rank, setApart(std::move(hashes), denials));
  sayNics();
}

// What was made of the paths so far.
void Creation::dropPeers() {
  if (copies_) copies_->cancel();
  copies_.reset();
  copiesAsked_ = false;
  parts_.releasePeers();
  parts_.peers.clear();
  parts_.bundles.clear();
  if (parts_.segment == nullptr) return;
  Segment own(parts_.segment->base(), parts_.layout);
  for (int peer = 0; peer < static_cast<int>(members_.size()); ++peer) {
    own.pair(peer).attaches.store(0, std::memory_order_release);
  }
}

void Creation::end(const Status& status) {
  auto self = shared_from_this();
  if (ended_) return;
  ended_ = true;
  plan_.attendants.clear();
  if (vendor_) {
    vendor_->cancel();
    Reactor::instance().value()->post([held = std::move(vendor_)] {});
  }
  if (copies_) {
    copies_->cancel();  // it holds us
    copies_.reset();
  }
  if (paths_) {
    paths_->cancel();
    Reactor::instance().value()->post([held = std::move(paths_)] {});  // it holds us
  }
  if (participant_) {
    participant_->leave();
    // It may be what is calling us: let go of it when the call is over.
    Reactor::instance().value()->post([held = std::move(participant_)] {});
  }
  bool made = status.ok() && (!plan_.split || plan_.color >= 0);
  std::unique_ptr<Communicator> impl;
  if (made) {
    impl = std::make_unique<Communicator>(std::move(parts_), shell_);
    FLEXLINK_INFO(kInit, "rank %d of %d: communicator%s%s ready, lane %s", impl->rank(),
                  impl->ranks(), impl->config().name.empty() ? "" : " ",
                  impl->config().name.c_str(), impl->laneText().c_str());
  } else {
    dropPeers();
    if (admitted_) dismissCookie(parts_.cookie);
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
  double limit = meetingSeconds(plan.meeting.key);
  // A little longer than the door waits, so that the door's answer, which knows who is missing,
  // wins.
  if (limit > 0) plan.meeting.deadlineNanos = nowNanos() + static_cast<int64_t>((limit + 1) * 1e9);
  shell->blocking = plan.config.blocking;
  shell->gpu = plan.gpu;
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
