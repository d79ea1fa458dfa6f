// SPDX-License-Identifier: Apache-2.0
#include "lane/message/message_lane.h"

#include <sched.h>
#include <string.h>

#include <algorithm>

#include "base/clock.h"
#include "device/host/kernels.h"
#include "engine/waiter.h"
#include "lane/call_text.h"
#include "schedule/pattern_choice.h"

namespace flexlink {
namespace {

constexpr size_t kLine = 64;
constexpr int64_t kDeliveryNanos = 1'000'000'000;  // for the last bytes to leave this machine
constexpr int kQuietLooks = 2;                     // another thread may be at a link in one of them
constexpr size_t kLeastSegmentBytes = 128 << 10;
constexpr size_t kCopyPiece = 64 << 10;

}  // namespace

MessageLane::MessageLane(int rank, std::vector<MessagePeer> peers, uint64_t comm,
                         MessageTuning tuning, ProbeComm* probe)
    : rank_(rank),
      ranks_(static_cast<int>(peers.size())),
      peers_(std::move(peers)),
      comm_(comm),
      tuning_(tuning),
      probe_(probe),
      sources_(peers_.size()),
      scalars_(peers_.size()),
      shown_(probe, kProbeLane),
      oneSided_(comm_, rank_, peers_),
      sent_(peers_.size()),
      received_(peers_.size()),
      farewells_(peers_.size()),
      left_(peers_.size()),
      quietLooks_(peers_.size()) {
  for (int peer = 0; peer < ranks_; ++peer) {
    farewellPending_.push_back(std::make_unique<Pending>(0));
    Bundle* bundle = peers_[static_cast<size_t>(peer)].bundle.get();
    if (bundle == nullptr) continue;
    if (std::find(bundles_.begin(), bundles_.end(), bundle) == bundles_.end()) {
      bundles_.push_back(bundle);
      bundle->listen(comm_, static_cast<uint16_t>(rank_),
                     [this](const FrameHeader& header) { heard(header); });
    }
    Message message{
        {comm_, 0, kTagFarewell, static_cast<uint16_t>(peer), static_cast<uint16_t>(rank_)}, 0, 0};
    bundle->receive(message, &farewells_[static_cast<size_t>(peer)], sizeof(Farewell),
                    farewellPending_[static_cast<size_t>(peer)].get());
  }
  moves_.resize(bundles_.size());
}

MessageLane::~MessageLane() {
  for (Bundle* bundle : bundles_) {
    bundle->listen(comm_, static_cast<uint16_t>(rank_), {});
    bundle->forget(comm_, static_cast<uint16_t>(rank_));
  }
}

void MessageLane::start(const Batch& batch) {
  outcome_ = {};
  if (batch.single.empty()) return startCollectives(batch);
  startSingles(batch);
  stage_ = Stage::kSingle;
}

void MessageLane::startCollective(const Call& call) {
  lone_.collective.assign(1, call);
  start(lone_);
}

// ---- Collectives.

void MessageLane::startCollectives(const Batch& batch) {
  batch_ = &batch;
  batchIndex_ = 0;
  nextCollective();
}

void MessageLane::nextCollective() {
  if (batchIndex_ == batch_->collective.size()) {
    stage_ = Stage::kIdle;
    finishedBatch_ = batch_ == &lone_ ? nullptr : batch_;
    return;
  }
  call_ = batch_->collective[batchIndex_++];
  beginCollective();
}

void MessageLane::beginCollective() {
  const size_t element = typeSize(call_.type);
  shape_ = {call_.kind, rank_, ranks_, call_.root, call_.count * element, strideOf(call_) * element,
            false};
  size_t mine = static_cast<size_t>(rank_) * shape_.stride;
  const auto* recv = static_cast<const uint8_t*>(call_.recv);
  switch (call_.kind) {
    case Collective::kAllGather:
    case Collective::kGather:
      shape_.inPlace = recv + mine == call_.send;
      break;
    case Collective::kScatter:
      shape_.inPlace = recv == static_cast<const uint8_t*>(call_.send) + mine;
      break;
    default:
      shape_.inPlace = recv == call_.send;
  }
  WireCost cost;
  cost.eagerBytes = kEagerMessageBytes;
  shape_.pattern = tuning_.pattern && hasPattern(shape_, *tuning_.pattern)
                       ? *tuning_.pattern
                       : cheapestPattern(shape_, cost);
  planSegments();
  stage_ = Stage::kCollective;
  ++seq_;
  announce();
  probe_->begin(call_.seq, probeCall(call_, shape_.block), kProbeLane);
  probe_->phase(ProbePhase::kMoving, kProbeLane);
  // A call without bytes must also be known to be the same call everywhere.
  if (call_.op == ReduceOp::kPreMulSum || segments_ == 0) exchangeScalars();
}

// Whoever folds multiplies, so that every product is rounded alike.
void MessageLane::exchangeScalars() {
  auto me = static_cast<size_t>(rank_);
  if (call_.scalarAddress != nullptr)
    memcpy(&call_.scalar, call_.scalarAddress, typeSize(call_.type));
  scalars_[me] = call_.scalar;
  for (int peer = 0; peer < ranks_; ++peer) {
    if (peer == rank_) continue;
    Bundle* bundle = peers_[static_cast<size_t>(peer)].bundle.get();
    bundle->send(messageTo(peer, kTagScalar), &scalars_[me], sizeof scalars_[me], &scalarsPending_);
    bundle->receive(messageFrom(peer, kTagScalar), &scalars_[static_cast<size_t>(peer)],
                    sizeof scalars_[0], &scalarsPending_);
  }
}

// Equal on all ranks: tags count segments. Several, so that sending, folding and sending on
// overlap; not too small, for each costs two hand-overs.
void MessageLane::planSegments() {
  size_t places = static_cast<size_t>(ranks_) * static_cast<size_t>(tuning_.window);
  size_t most = std::max<size_t>(kEagerMessageBytes, tuning_.scratchBytes / places / kLine * kLine);
  most = std::min(tuning_.segmentBytes, most);
  size_t piece = pieceBytes(shape_);
  size_t share = piece / static_cast<size_t>(tuning_.window) / kLine * kLine;
  segmentBytes_ = std::clamp(share, std::min(most, kLeastSegmentBytes), most);
  segments_ = static_cast<uint32_t>((piece + segmentBytes_ - 1) / segmentBytes_);
  launched_ = 0;
  if (!scratch_.empty() || segments_ == 0 || !folds(call_.kind)) return;
  for (int i = 0; i < tuning_.window; ++i) {
    scratch_.emplace_back(new uint8_t[most * static_cast<size_t>(ranks_)]);
    freeScratch_.push_back(scratch_.back().get());
  }
}

bool MessageLane::launch() {
  if (launched_ == segments_ || active_.size() == static_cast<size_t>(tuning_.window)) return false;
  auto segment = std::make_unique<Segment>();
  segment->number = launched_++;
  ByteRange range = chunkOf(pieceBytes(shape_), segmentBytes_, segment->number);
  segment->steps = makeSteps(shape_, range);
  int last = 0;
  for (const Step& step : segment->steps) last = std::max<int>({last, step.phase, step.gate});
  segment->gates = std::vector<Pending>(static_cast<size_t>(last) + 1);
  if (folds(call_.kind)) {
    segment->scratch = freeScratch_.back();
    freeScratch_.pop_back();
  }
  active_.push_back(std::move(segment));
  return true;
}

Message MessageLane::messageTo(int peer, uint32_t tag) const {
  return {{comm_, seq_, tag, static_cast<uint16_t>(rank_), static_cast<uint16_t>(peer)},
          signatureOf(call_),
          countOf(call_)};
}

Message MessageLane::messageFrom(int peer, uint32_t tag) const {
  return {{comm_, seq_, tag, static_cast<uint16_t>(peer), static_cast<uint16_t>(rank_)},
          signatureOf(call_),
          countOf(call_)};
}

uint8_t* MessageLane::at(const Segment& segment, Space space, int owner, size_t offset) const {
  switch (space) {
    case Space::kSend:
      return static_cast<uint8_t*>(const_cast<void*>(call_.send)) + offset;
    case Space::kRecv:
      return static_cast<uint8_t*>(call_.recv) + offset;
    default:
      return segment.scratch + static_cast<size_t>(owner) * segmentBytes_ + offset;
  }
}

void MessageLane::run(Segment* segment, const Step& step) {
  uint32_t tag = segment->number * kTagsPerSegment + step.tag;
  switch (step.kind) {
    case Step::Kind::kSend:
      return peers_[static_cast<size_t>(step.peer)].bundle->send(
          messageTo(step.peer, tag), at(*segment, step.from, rank_, step.fromOffset), step.bytes,
          &segment->gates[step.gate]);
    case Step::Kind::kRecv:
      return peers_[static_cast<size_t>(step.peer)].bundle->receive(
          messageFrom(step.peer, tag), at(*segment, step.to, step.peer, step.toOffset), step.bytes,
          &segment->gates[step.gate]);
    case Step::Kind::kCopy:
      copies_.push_back({at(*segment, step.to, rank_, step.toOffset),
                         at(*segment, step.from, rank_, step.fromOffset), step.bytes});
      return;
    case Step::Kind::kFold:
      return fold(segment, step);
  }
}

void MessageLane::fold(Segment* segment, const Step& step) {
  for (int rank = 0; rank < ranks_; ++rank) {
    sources_[static_cast<size_t>(rank)] = rank == rank_
                                              ? at(*segment, step.from, rank, step.fromOffset)
                                              : at(*segment, Space::kScratch, rank, 0);
  }
  void* dst = at(*segment, step.to, rank_, step.toOffset);
  FoldArgs args{};
  args.dsts = &dst;
  args.nDsts = 1;
  args.srcs = sources_.data();
  args.nSrcs = ranks_;
  args.count = step.bytes / typeSize(call_.type);
  args.type = call_.type;
  args.op = call_.op;
  args.divisor = call_.divisor != 0 ? call_.divisor : ranks_;
  args.scalars = scalars_.data();
  flexlink::fold(args);
}

// Runs the phases that may run; true: something was done.
bool MessageLane::advance(Segment* segment) {
  bool moved = false;
  const int last = static_cast<int>(segment->gates.size()) - 1;
  while (segment->phase < last && segment->isOpen(segment->phase + 1) &&
         (segment->phase < 0 || scalarsPending_.load(std::memory_order_acquire) == 0)) {
    ++segment->phase;
    for (const Step& step : segment->steps) {
      if (step.phase == segment->phase) run(segment, step);
    }
    moved = true;
  }
  return moved;
}

// What a rank owes itself, a piece at a time: meanwhile links must not run dry.
bool MessageLane::copySome() {
  if (copies_.empty()) return false;
  OwnCopy& copy = copies_.front();
  size_t part = std::min(copy.bytes, kCopyPiece);
  void* to = copy.to;
  copyTo(&to, 1, copy.from, part, 0);
  copy = {copy.to + part, copy.from + part, copy.bytes - part};
  if (copy.bytes == 0) copies_.pop_front();
  return true;
}

Progress MessageLane::pollCollective() {
  bool moved = false;
  while (launch()) moved = true;
  for (auto& segment : active_) moved = advance(segment.get()) || moved;
  moved = copySome() || moved;
  while (!active_.empty()) {
    Segment& first = *active_.front();
    moved = advance(&first) || moved;
    bool over = std::all_of(first.gates.begin(), first.gates.end(), [](const Pending& gate) {
      return gate.load(std::memory_order_acquire) == 0;
    });
    if (first.phase + 1 < static_cast<int>(first.gates.size()) || !over) break;
    if (first.scratch != nullptr) freeScratch_.push_back(first.scratch);
    active_.pop_front();
    moved = true;
  }
  bool through = active_.empty() && launched_ == segments_ && copies_.empty() &&
                 scalarsPending_.load(std::memory_order_acquire) == 0;
  if (!through || !flushed()) {
    return moved ? Progress::kMoved : Progress::kWaiting;
  }
  finished_ = seq_;
  probe_->end(call_.seq, 0, kProbeLane);
  operations_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(shape_.block, std::memory_order_relaxed);
  nextCollective();
  return stage_ == Stage::kIdle ? Progress::kDone : Progress::kMoved;
}

// ---- Progress and failure.

// Who has done his part may be away for long: what the others need of him must be on its way.
bool MessageLane::flushed() const {
  return std::all_of(bundles_.begin(), bundles_.end(),
                     [](const Bundle* bundle) { return bundle->flushed(); });
}

// For people: whom this rank waits for; of several batches of messages, with the oldest.
void MessageLane::noteAwaited() {
  int lowest = -1;
  auto ask = [&](const Bundle* bundle) {
    int peer = bundle->awaited(comm_, static_cast<uint16_t>(rank_), kTagStanding);
    if (peer >= 0 && (lowest < 0 || peer < lowest)) lowest = peer;
  };
  if (letters_.size() > 1) {
    for (const Call& call : letters_.front()->batch->single) {
      const Bundle* bundle = peers_[static_cast<size_t>(call.root)].bundle.get();
      if (call.kind == Collective::kRecv && bundle != nullptr) ask(bundle);
    }
  } else {
    for (const Bundle* bundle : bundles_) ask(bundle);
  }
  waitingFor_.store(lowest, std::memory_order_relaxed);
}

Status MessageLane::pollBundles(bool* moved) {
  for (size_t i = 0; i < bundles_.size(); ++i) {
    Bundle* bundle = bundles_[i];
    Status status = bundle->poll();
    if (status.ok()) {
      ++moves_[i];
      *moved = true;
    } else if (status.code() != Code::kInProgress) {
      FLEXLINK_TRY(linksFailed(bundle, status));
    }
  }
  return {};
}

// No error where all peers behind these links have left and owe nothing.
Status MessageLane::linksFailed(Bundle* bundle, const Status& links) {
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    if (peers_[peer].bundle.get() != bundle) continue;
    FLEXLINK_TRY(hearFarewell(peer));  // says more than that its links are down
    loseReceives(peer);
    bool needed = bundle->awaited(comm_, static_cast<uint16_t>(rank_), kTagStanding) >= 0;
    if (!left_[peer] || needed) return outOfReach(peer, links);
  }
  return {};
}

// A bundle knows its peer as a process, people as a rank.
Status MessageLane::outOfReach(size_t peer, const Status& links) const {
  return {links.code(), peers_[peer].name + " is out of reach: " + links.text()};
}

Progress MessageLane::poll() {
  if (aborted_.ends(&failure_)) return Progress::kFailed;
  bool moved = false;
  Status links = pollBundles(&moved);
  if (book_.differs()) return fail(book_.difference());
  Status puts = oneSided_.poll();
  if (!puts.ok()) return fail(puts);
  if (stage_ == Stage::kIdle) {
    finishedBatch_ = nullptr;
    return Progress::kDone;
  }
  Progress progress = stage_ == Stage::kSingle ? pollSingles() : pollCollective();
  if (progress != Progress::kWaiting) return progress;
  // What has come before the links went down was looked at first.
  if (!links.ok()) return fail(links);
  return moved ? Progress::kMoved : Progress::kWaiting;
}

Progress MessageLane::fail(Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  abort(failure_);
  return Progress::kFailed;
}

Status MessageLane::check() {
  if (!failure_.ok()) return failure_;
  int64_t now = nowNanos();
  bool moved = false;
  for (Bundle* bundle : bundles_) bundle->check(now);  // poll() tells what it has found
  Status status = pollBundles(&moved);
  if (status.ok()) status = farewells(moved);
  noteAwaited();
  if (stage_ != Stage::kIdle)
    probe_->waitsFor(waitingFor_.load(std::memory_order_relaxed), kProbeLane);
  if (!status.ok()) (void)fail(status);
  return failure_;
}

// What a peer has sent before it left may come over another link than its last word.
Status MessageLane::farewells(bool moved) {
  for (size_t peer = 0; peer < peers_.size(); ++peer) {
    quietLooks_[peer] = left_[peer] && !moved ? quietLooks_[peer] + 1 : 0;
    FLEXLINK_TRY(hearFarewell(peer));
    if (quietLooks_[peer] >= kQuietLooks) loseReceives(peer);
  }
  return {};
}

// A peer that has given up, or that has left while it is still needed, is an error. One that has
// left after it was through with this call has all that this rank has sent, acknowledged or not.
Status MessageLane::hearFarewell(size_t peer) {
  bool none = peers_[peer].bundle == nullptr || left_[peer] ||
              farewellPending_[peer]->load(std::memory_order_acquire) != 0;
  if (none) return {};
  Farewell& said = farewells_[peer];
  said.text[sizeof said.text - 1] = '\0';
  if (said.code != 0) return {static_cast<Code>(said.code), said.text};
  if (stage_ == Stage::kCollective && said.finished < seq_) {
    return makeStatus(
        Code::kRemote, "%s has left the communicator while rank %d waits in operation %llu",
        peers_[peer].name.c_str(), nameOf(rank_), static_cast<unsigned long long>(call_.seq));
  }
  peers_[peer].bundle->settle(comm_, static_cast<uint16_t>(rank_), static_cast<uint16_t>(peer));
  left_[peer] = true;
  return {};
}

void MessageLane::abort(const Status& reason) {
  {
    std::lock_guard<std::mutex> lock(farewellMutex_);
    if (saidFarewell_) return;
  }
  aborted_.keep(reason);
  sayFarewell(reason);
  // After a failure nothing may touch the user's memory.
  for (Bundle* bundle : bundles_) bundle->forget(comm_, static_cast<uint16_t>(rank_));
  aborted_.show();
}

void MessageLane::sayFarewell(const Status& reason) {
  {
    std::lock_guard<std::mutex> lock(farewellMutex_);
    if (saidFarewell_) return;
    saidFarewell_ = true;
  }
  mine_.code = static_cast<int32_t>(reason.code());
  mine_.finished = finished_;
  strncpy(mine_.text, reason.text(), sizeof mine_.text - 1);
  Pending sent{0};
  for (int peer = 0; peer < ranks_; ++peer) {
    Bundle* bundle = peers_[static_cast<size_t>(peer)].bundle.get();
    if (bundle == nullptr) continue;
    Message message{
        {comm_, 0, kTagFarewell, static_cast<uint16_t>(rank_), static_cast<uint16_t>(peer)}, 0, 0};
    bundle->send(message, &mine_, sizeof mine_, &sent);
  }
  for (Bundle* bundle : bundles_) (void)bundle->poll();
}

// The process may end after this: what peers still need must have reached their machines. The last
// word comes last.
void MessageLane::close() {
  const int64_t deadline = nowNanos() + kDeliveryNanos;
  awaitDelivery(deadline);
  sayFarewell({});
  awaitDelivery(deadline);
}

void MessageLane::awaitDelivery(int64_t deadline) const {
  auto delivered = [](Bundle* bundle) { return bundle->delivered(); };
  while (!std::all_of(bundles_.begin(), bundles_.end(), delivered) && nowNanos() < deadline) {
    for (Bundle* bundle : bundles_) (void)bundle->poll();
    sched_yield();
  }
}

void MessageLane::probeFailure(const Status& status) {
  if (stage_ == Stage::kIdle || probedFailure_) return;
  probedFailure_ = true;
  probe_->end(seqAtHand(), static_cast<uint8_t>(status.code()), kProbeLane);
}

LaneState MessageLane::state() const {
  return {"message", operations_.load(std::memory_order_relaxed),
          bytes_.load(std::memory_order_relaxed), waitingFor_.load(std::memory_order_relaxed)};
}

// Under the lock of a bundle.
void MessageLane::heard(const FrameHeader& header) {
  if (header.tag >= kTagStanding || header.tag == kTagPut) return;
  int peer = header.kind == FrameKind::kCredit ? header.to : header.from;
  if (peer >= ranks_) return;
  CallBook::Which which{header.seq};
  if (header.tag == kTagSingle) which = {header.seq, header.from, header.to};
  book_.theirs(which, {header.signature, header.count, nameOf(peer), header.seq});
}

void MessageLane::announce() {
  book_.mine({seq_}, {signatureOf(call_), countOf(call_), nameOf(rank_), call_.seq});
}

}  // namespace flexlink
