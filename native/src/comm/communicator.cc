// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.h"

#include <sys/mman.h>

#include <algorithm>
#include <numeric>

#include "base/log.h"
#include "base/reactor.h"
#include "base/settings.h"
#include "comm/copies.h"
#include "comm/unique_id.h"
#include "lane/vendor/vendor_lane.h"

namespace flexlink {

void CommParts::releasePeers() {
  copies.reset();  // before the memory that it uses
  images.reset();
  dropStaging(this);
  for (size_t rank = 0; rank < peers.size(); ++rank) {
    if (peers[rank].process == nullptr) continue;
    peers[rank].process->forget(cards[rank].segmentRegion);
    releasePeer(std::move(peers[rank].process));
  }
}

Communicator::Communicator(CommParts parts, Driven* shell)
    : parts_(std::move(parts)),
      hash_(publicHash(parts_.cookie)),
      shell_(shell),
      policy_(waitPolicy(parts_.oversubscribed)),
      timeout_(settings().timeoutSeconds) {
  ProbeCommInfo info;
  info.id = hash_;
  info.parent = parts_.parentHash;
  info.rank = static_cast<uint32_t>(parts_.rank);
  info.ranks = static_cast<uint32_t>(parts_.cards.size());
  info.host = static_cast<uint32_t>(parts_.hosts.host());
  info.hosts = static_cast<uint32_t>(parts_.hosts.hosts());
  info.name = parts_.config.name.c_str();
  probe_ = ProbeWriter::process()->openComm(info);
  probe_->state(ProbeState::kReady);
  lane_ = makeLane();
  queue_ = BatchQueue(ranks(), lane_->overlaps());
}

std::unique_ptr<MemoryLane> Communicator::makeMemoryLane(ProbeComm* probe) {
  std::vector<MemoryPeer> neighbours;
  for (int rank : parts_.hosts.neighbours()) {
    neighbours.push_back(parts_.peers[static_cast<size_t>(rank)]);
  }
  return std::make_unique<MemoryLane>(parts_.hosts.local(), std::move(neighbours), parts_.layout,
                                      parts_.tuning, probe, std::move(parts_.copies));
}

// `place` of `ranks` is this one.
std::unique_ptr<MessageLane> Communicator::makeMessageLane(const std::vector<int>& ranks, int place,
                                                           uint64_t id, ProbeComm* probe) const {
  std::vector<MessagePeer> peers;
  for (int rank : ranks) {
    const auto at = static_cast<size_t>(rank);
    peers.push_back({parts_.bundles[at], rank, parts_.peers[at].name});
  }
  return std::make_unique<MessageLane>(place, std::move(peers), id, MessageTuning{}, probe);
}

std::unique_ptr<Lane> Communicator::makeLane() {
  std::unique_ptr<Lane> own = makeOwnLane();
  if (parts_.vendor == nullptr) return own;
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.push_back(std::make_unique<VendorLane>(std::move(parts_.vendor), rank(), ranks(), probe_));
  lanes.push_back(std::move(own));
  std::optional<Weights> fixed = fixedWeights(parts_.cards[0].vendor);
  auto board = std::make_shared<EpochBoard>(rank(), static_cast<int>(lanes.size()), fixed);
  Result<Meeting> meeting = epochMeeting();
  if (!fixed && meeting.ok()) epochs_ = EpochMeeting::join(meeting.value(), board);
  return std::make_unique<SplitLane>(std::move(lanes), std::move(board));
}

Result<Meeting> Communicator::epochMeeting() const {
  Meeting meeting;
  FLEXLINK_TRY_ASSIGN(meeting.address, SocketAddress::fromBytes(parts_.cards[0].door));
  meeting.cookie = parts_.cookie;
  meeting.key = kLastingMeeting;
  meeting.size = static_cast<uint32_t>(ranks());
  meeting.index = static_cast<uint32_t>(rank());
  return meeting;
}

std::unique_ptr<Lane> Communicator::makeOwnLane() {
  if (hosts() == 1) return makeMemoryLane(probe_);
  const bool scattered = parts_.hosts.scattered();
  probeLane_ = scattered ? MessageLane::kProbeLane : HierLane::kProbeLane;
  if (!scattered || parts_.images) unseen_ = ProbeWriter::process()->openUnseen();
  if (!parts_.images) return makeLaneOverHosts(probe_);
  return std::make_unique<ImageLane>(ImageLane::Rank{rank(), ranks()}, std::move(parts_.images),
                                     makeLaneOverHosts(unseen_), probe_, probeLane_);
}

std::unique_ptr<Lane> Communicator::makeLaneOverHosts(ProbeComm* probe) {
  const HostMap& hosts = parts_.hosts;
  std::vector<int> all(static_cast<size_t>(hosts.ranks()));
  std::iota(all.begin(), all.end(), 0);
  if (hosts.scattered()) return makeMessageLane(all, rank(), hash_, probe);
  HierLanes lanes;
  lanes.memory = makeMemoryLane(unseen_);
  lanes.pairs = makeMessageLane(all, rank(), hash_, unseen_);
  if (hosts.onRail()) {
    std::vector<int> rail;
    for (const auto& ranks : hosts.ranksOf) {
      rail.push_back(ranks[static_cast<size_t>(hosts.local())]);
    }
    uint64_t id = hash_ ^ (0x9e3779b97f4a7c15u * (static_cast<uint64_t>(hosts.local()) + 1));
    lanes.rail = makeMessageLane(rail, hosts.host(), id, unseen_);
  }
  return std::make_unique<HierLane>(hosts, std::move(lanes), probe);
}

std::string Communicator::laneText() const {
  std::string text = lane_->state().name;
  if (byImages()) text += " (on images in the host's memory)";
  if (parts_.hosts.scattered() && ranks() > 1) return text;
  if (parts_.tuning.byDevice) {
    return text += parts_.staging != nullptr ? " (copies by the device, through its memory)"
                                             : " (copies by the device)";
  }
  text += std::string(" (") + (parts_.tuning.direct ? "direct" : "no direct") + ", " +
          (parts_.tuning.cma ? "cross-memory attach" : "segment copies") + ")";
  return text;
}

Communicator::~Communicator() {
  lane_->close();
  lane_.reset();  // nothing writes to a receive that is still open from now on
  const Status left = makeStatus(
      Code::kInvalidUsage, "rank %d has left the communicator before the message came", rank());
  for (auto& pending : queue_.takeAll()) finish(pending.get(), left);
  const bool aborted = aborted_.load(std::memory_order_relaxed);
  ProbeWriter::process()->closeComm(probe_, aborted ? ProbeState::kAborted : ProbeState::kClosed);
  if (unseen_ != nullptr) ProbeWriter::process()->closeComm(unseen_);
  dismissCookie(parts_.cookie);
  dropStaging(&parts_);  // here: a driver may wait for the GPU before it closes memory
  Result<Reactor*> reactor = Reactor::instance();
  reactor.value()->postAndWait([this] {
    if (epochs_) epochs_->leave();
    if (!parts_.bundles.empty()) rememberLinks();
    parts_.releasePeers();
  });
}

Status Communicator::usable() const {
  if (failed_.load(std::memory_order_acquire)) return firstFailure();
  if (suspended_) {
    return makeStatus(Code::kInvalidUsage,
                      "the communicator is suspended; call ncclCommResume first");
  }
  if (finalized_) {
    return makeStatus(Code::kInvalidUsage,
                      "the communicator is finalized: nothing but "
                      "ncclCommDestroy may follow");
  }
  return {};
}

Status Communicator::firstFailure() const {
  if (!failed_.load(std::memory_order_acquire)) return {};
  std::lock_guard<std::mutex> lock(failureMutex_);
  return failure_;
}

void Communicator::noteFailure(const Status& status, const Status& told) {
  {
    std::lock_guard<std::mutex> lock(failureMutex_);
    if (!failure_.ok()) return;
    failure_ = status;
    told_ = told;
  }
  failed_.store(true, std::memory_order_release);
  probe_->state(ProbeState::kFailed);
  FLEXLINK_WARN("rank %d of communicator %s(%016llx): %s", rank(), parts_.config.name.c_str(),
                static_cast<unsigned long long>(hash_), status.text());
}

void Communicator::tellPeers() {
  Status told;
  {
    std::lock_guard<std::mutex> lock(failureMutex_);
    told = told_;
  }
  lane_->abort(told);
}

// Whoever drives meanwhile may see the failure first: he tells peers the same.
void Communicator::giveUp(const Status& reason) {
  noteFailure(reason, Status(Code::kRemote,
                             "rank " + std::to_string(rank()) + " has given up: " + reason.text()));
  tellPeers();
}

void Communicator::revoke() {
  revoked_.store(true, std::memory_order_release);
  giveUp(makeStatus(Code::kInvalidUsage, "the communicator was revoked"));
}

void Communicator::abort() {
  aborted_.store(true, std::memory_order_relaxed);
  giveUp(makeStatus(Code::kInvalidUsage, "ncclCommAbort was called"));
}

bool Communicator::oneProcess() const {
  return std::all_of(parts_.cards.begin(), parts_.cards.end(), [this](const RankCard& card) {
    return card.process.id == parts_.cards[0].process.id;
  });
}

void Communicator::addAttendant(int rank, std::vector<Attendant>* to) const {
  const MemoryPeer& peer = parts_.peers[static_cast<size_t>(rank)];
  if (peer.process != nullptr) to->push_back({peer.process, nullptr, peer.name});
  if (parts_.hosts.sameHost(rank)) return;
  to->push_back({nullptr, parts_.bundles[static_cast<size_t>(rank)], peer.name});
}

bool Attendant::dead() const {
  if (process != nullptr) return process->dead();
  Status status = bundle->poll();
  return !status.ok() && status.code() != Code::kInProgress;
}

void Communicator::failAll(const Status& status) {
  noteFailure(status, status);
  tellPeers();
  lane_->probeFailure(status);
  Status home = lane_->rehomeExposed();
  if (!home.ok()) FLEXLINK_WARN("user memory stays reachable for peers: %s", home.text());
  Status first = firstFailure();
  for (auto& pending : queue_.takeAll()) finish(pending.get(), first);
}

// With work at hand the last poll comes first: a peer that has left may have done its part before.
// After a failure the lane is not asked: the batches that it had at hand are gone.
Status Communicator::lookAtPeers() {
  if (drive(true) != DriveResult::kIdle || failed_.load(std::memory_order_acquire))
    return firstFailure();
  Status status = lane_->check();
  if (!status.ok()) failAll(status);
  return firstFailure();
}

// Has any bundle a link of this name? lo may, although it is out by itself.
bool Communicator::uses(const std::string& name) const {
  return std::any_of(parts_.bundles.begin(), parts_.bundles.end(), [&](const auto& bundle) {
    if (bundle == nullptr) return false;
    const std::vector<LinkState> links = bundle->state();
    return std::any_of(links.begin(), links.end(),
                       [&](const LinkState& link) { return link.name == name && !link.never; });
  });
}

// Once: they stay what they are.
void Communicator::noteNicsOut() {
  nicsOut_ = 0;
  for (const NicPlace& place : myNicPlaces()) {
    const std::string name = "tcp:" + place.name;
    if (place.verdict != NicVerdict::kNo || uses(name)) continue;
    ProbeLinkInfo info;
    info.name = name.c_str();
    info.why = place.why.c_str();
    info.state = ProbeLinkState::kNever;
    probe_->link(static_cast<uint32_t>(nicsOut_++), info);
  }
}

// For people, some hundred times a second at most: what every link to another host does.
void Communicator::noteLinks() {
  if (parts_.bundles.empty() || !probe_->linksDue()) return;
  if (nicsOut_ < 0) noteNicsOut();
  auto index = static_cast<uint32_t>(nicsOut_);
  for (size_t rank = 0; rank < parts_.bundles.size(); ++rank) {
    if (parts_.bundles[rank] == nullptr) continue;
    for (const LinkState& link : parts_.bundles[rank]->state()) {
      ProbeLinkInfo info;
      info.name = link.name.c_str();
      info.host = parts_.cards[rank].process.hostName;
      info.why = link.whyNot.c_str();
      info.peer = static_cast<uint32_t>(rank);
      info.peerHost = static_cast<uint32_t>(parts_.hosts.hostOf[rank]);
      info.state = link.never   ? ProbeLinkState::kNever
                   : link.alive ? ProbeLinkState::kUsed
                                : ProbeLinkState::kLeft;
      info.bytesOut = link.bytesOut;
      info.bytesIn = link.bytesIn;
      info.replays = link.replays;
      info.bytesPerSecond = static_cast<uint64_t>(link.bytesPerSecond);
      info.latencyNanos = static_cast<uint64_t>(link.latencyNanos);
      probe_->link(index++, info);
    }
  }
}

Status Communicator::finalize() {
  if (finalized_ || revoked()) {
    return makeStatus(Code::kInvalidUsage, "ncclCommFinalize: the communicator was %s before",
                      finalized_ ? "finalized" : "revoked");
  }
  {
    // Never over a failure: noteFailure() says it after it has had the lock.
    std::lock_guard<std::mutex> lock(failureMutex_);
    if (failure_.ok()) probe_->state(ProbeState::kFinalizing);
  }
  drainOrFail();
  FLEXLINK_TRY(firstFailure());
  finalized_ = true;
  return {};
}

// The staging memory's pages go back to the kernel; they come again, zeroed, when they are touched.
Status Communicator::suspend() {
  if (parts_.gpu != nullptr) {  // pinned: the GPU would go on with the pages of before
    suspended_ = true;
    return {};
  }
  auto* pool = static_cast<uint8_t*>(parts_.segment->base()) + parts_.layout.poolAt();
  if (madvise(pool, parts_.layout.stagingBytes(), MADV_REMOVE) != 0) {
    return makeStatus(Code::kSystem, "cannot give the staging memory back (MADV_REMOVE)");
  }
  suspended_ = true;
  return {};
}

Status Communicator::resume() {
  if (!suspended_) {
    return makeStatus(Code::kInvalidUsage, "ncclCommResume: the communicator is not suspended");
  }
  suspended_ = false;
  return {};
}

}  // namespace flexlink
