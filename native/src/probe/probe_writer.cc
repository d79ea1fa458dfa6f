// SPDX-License-Identifier: Apache-2.0
// The cold half of the probe: opening and closing communicators' slots, the file's clock, fork.
#include "probe/probe_writer.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "base/settings.h"
#include "probe/probe_file.h"
#include "probe/run_folder.h"

namespace flexlink {
namespace {

// Where a communicator writes that has no slot in the file.
struct PrivatePlace {
  FlexlinkProbeSlot slot{};
  FlexlinkProbeRecord ring{};
};

constexpr uint64_t pair(uint32_t low, uint32_t high) { return low | uint64_t{high} << 32; }

const ProbeFile* processFile = nullptr;  // for forkedChild, set before it is registered

void forkedChild() { processFile->replaceInChild(); }

}  // namespace

struct ProbeWriter::Parts {
  std::optional<ProbeFile> file;
  bool counter = false;
  std::mutex mutex;  // guards what follows
  std::array<bool, FLEXLINK_PROBE_SLOTS> open{};
  std::array<uint64_t, FLEXLINK_PROBE_SLOTS> closedAt{};  // order of closing; 0: never used
  uint64_t closings = 0;
  std::array<bool, FLEXLINK_PROBE_LINKS> linkTaken{};
  std::array<uint64_t, FLEXLINK_PROBE_LINKS> linkFreedAt{};  // order; 0: never used
  std::atomic_flag clockBusy;  // its partner is itself: whoever finds it set lets the other refresh
};

ProbeWriter::ProbeWriter(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ProbeWriter::~ProbeWriter() = default;

Result<std::unique_ptr<ProbeWriter>> ProbeWriter::create(const std::string& folder) {
  FLEXLINK_TRY_ASSIGN(ProbeFile file, ProbeFile::create(folder));
  auto parts = std::make_unique<Parts>();
  parts->counter = file.header().clockKind == FLEXLINK_PROBE_CLOCK_COUNTER;
  parts->file.emplace(std::move(file));
  return std::unique_ptr<ProbeWriter>(new ProbeWriter(std::move(parts)));
}

ProbeWriter* ProbeWriter::process() {
  static ProbeWriter* const writer = [] {
    if (settings().probe) {
      auto made = create(runFolder(settings().runDir));
      if (made.ok()) {
        processFile = &*made.value()->parts_->file;
        ::pthread_atfork(nullptr, nullptr, forkedChild);
        FLEXLINK_INFO(kInit, "probe: %s", made.value()->path().c_str());
        return made.value().release();
      }
      FLEXLINK_WARN(
          "probe is off, diagnosis will not see this process: %s. FLEXLINK_RUN_DIR names another "
          "folder; FLEXLINK_PROBE=0 ends this warning.",
          made.status().text());
    }
    auto parts = std::make_unique<Parts>();
    parts->counter = counterIsSteady();  // callers measure with ticks() also when the probe is off
    return new ProbeWriter(std::move(parts));
  }();
  return writer;
}

const std::string& ProbeWriter::path() const {
  static const std::string* const none = new std::string;
  return parts_->file.has_value() ? parts_->file->path() : *none;
}

// A slot that was never used, else the one closed longest ago, so that the records of closed
// communicators stay as long as possible. -1: all are open.
int ProbeWriter::takeSlot() {
  if (!parts_->file.has_value()) return -1;
  ProbeComm::add(parts_->file->header().opened, 1);
  int best = -1;
  for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_SLOTS); ++i) {
    if (parts_->open[i]) continue;
    if (best < 0 || parts_->closedAt[i] < parts_->closedAt[best]) best = i;
  }
  if (best < 0)
    ProbeComm::add(parts_->file->header().unrecorded, 1);
  else
    parts_->open[best] = true;
  return best;
}

ProbeComm* ProbeWriter::openComm(const ProbeCommInfo& info) {
  const std::lock_guard lock(parts_->mutex);
  const int number = takeSlot();
  if (number < 0) return openUnseen();
  refreshClock();
  auto* comm = new ProbeComm(
      this,
      {&parts_->file->slot(number), parts_->file->ring(number), FLEXLINK_PROBE_RECORDS - 1, number},
      parts_->counter);
  comm->resetSlot(info);
  return comm;
}

ProbeComm* ProbeWriter::openUnseen() {
  auto* place = new PrivatePlace;
  return new ProbeComm(this, {&place->slot, &place->ring, 0, -1}, parts_->counter);
}

void ProbeWriter::closeComm(ProbeComm* comm, ProbeState end) {
  if (comm->slotNumber_ < 0) {
    // The slot is the first member of its PrivatePlace.
    delete reinterpret_cast<PrivatePlace*>(comm->slot_);
  } else {
    const std::lock_guard lock(parts_->mutex);
    comm->state(end);
    ProbeComm::put(comm->slot_->comm.closedTicks, comm->ticks());
    parts_->open[comm->slotNumber_] = false;
    parts_->closedAt[comm->slotNumber_] = ++parts_->closings;
    for (int place : comm->linkPlaces_) {
      if (place < 0) continue;
      parts_->linkTaken[place] = false;
      parts_->linkFreedAt[place] = parts_->closings;
    }
  }
  delete comm;
}

// As takeSlot(), of the links' table.
int ProbeWriter::takeLinkPlace() {
  const std::lock_guard lock(parts_->mutex);
  FlexlinkProbeHeader& header = parts_->file->header();
  int best = -1;
  for (int i = 0; i < static_cast<int>(FLEXLINK_PROBE_LINKS); ++i) {
    if (parts_->linkTaken[i]) continue;
    if (best < 0 || parts_->linkFreedAt[i] < parts_->linkFreedAt[best]) best = i;
  }
  ProbeComm::add(best < 0 ? header.unrecordedLinks : header.linksTaken, 1);
  if (best >= 0) parts_->linkTaken[best] = true;
  return best;
}

void ProbeWriter::refreshClock() {
  if (!parts_->file.has_value() || parts_->clockBusy.test_and_set(std::memory_order_acquire))
    return;
  FlexlinkProbeClock& clock = parts_->file->header().clock;
  const ClockPair now = readClockPair(parts_->counter);
  const uint64_t version = ProbeComm::own(clock.version) | 1;
  ProbeComm::put(clock.version, version);
  ProbeComm::put(clock.lastTicks, now.ticks);
  ProbeComm::put(clock.lastNs, now.nanos);
  ProbeComm::put(clock.version, version + 1);
  parts_->clockBusy.clear(std::memory_order_release);
}

void ProbeComm::refreshClock(uint64_t now) {
  clockAt_ = now;
  writer_->refreshClock();
}

void ProbeComm::putText(char* to, size_t bytes, const char* text) {
  auto* words = reinterpret_cast<uint64_t*>(to);
  const size_t length = strnlen(text, bytes);
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    if (at < length) std::memcpy(&word, text + at, std::min(length - at, sizeof(word)));
    put(words[at / sizeof(uint64_t)], word);
  }
}

int ProbeComm::linkPlace(uint32_t index) {
  if (slotNumber_ < 0 || index >= FLEXLINK_PROBE_LINKS) return -1;
  while (linkPlaces_.size() <= index) linkPlaces_.push_back(writer_->takeLinkPlace());
  return linkPlaces_[index];
}

void ProbeComm::link(uint32_t index, const ProbeLinkInfo& info) {
  const int place = linkPlace(index);
  if (place < 0) return;
  FlexlinkProbeLink& out = writer_->parts_->file->link(place);
  const uint64_t now = ticks();
  const uint64_t owner = pair(static_cast<uint32_t>(slotNumber_), generation_);
  const auto state = static_cast<uint64_t>(info.state);
  const bool same = own(out.owner) == owner && own(out.index) == index && own(out.state) == state;
  const uint64_t version = own(out.version) | 1;
  put(out.version, version);
  if (!same) put(out.sinceTicks, now);
  put(out.owner, owner);
  put(out.peer, pair(info.peer, info.peerHost));
  put(out.index, index);
  put(out.state, state);
  put(out.bytesOut, info.bytesOut);
  put(out.bytesIn, info.bytesIn);
  put(out.replays, info.replays);
  put(out.bytesPerSecond, info.bytesPerSecond);
  put(out.latencyNanos, info.latencyNanos);
  put(out.writtenTicks, now);
  putText(out.name, sizeof(out.name), info.name);
  putText(out.host, sizeof(out.host), info.host);
  putText(out.why, sizeof(out.why), info.why);
  put(out.version, version + 1);
}

// The slot's last user is gone; readers may still be looking at it, so every word goes by put().
void ProbeComm::resetSlot(const ProbeCommInfo& info) {
  FlexlinkProbeComm& comm = slot_->comm;
  const uint64_t version = own(comm.version) | 1;
  put(comm.version, version);
  add(comm.generation, 1);
  generation_ = static_cast<uint32_t>(own(comm.generation));
  for (FlexlinkProbeLane& lane : slot_->lanes) {
    // All but the version, which only ever grows.
    const uint64_t laneVersion = own(lane.version) | 1;
    put(lane.version, laneVersion);
    auto* words = reinterpret_cast<uint64_t*>(&lane);
    for (size_t i = 1; i < sizeof(lane) / sizeof(uint64_t); ++i) put(words[i], 0);
    put(lane.waitRanks, ~uint64_t{0});
    put(lane.version, laneVersion + 1);
  }
  for (uint64_t i = 0; i <= mask_; ++i) put(ring_[i].version, 0);
  for (uint64_t* word : {&comm.closedTicks, &comm.entered, &comm.completed, &comm.operations,
                         &comm.failures, &comm.records}) {
    put(*word, 0);
  }
  put(comm.id, info.id);
  put(comm.parent, info.parent);
  put(comm.rankAndRanks, pair(info.rank, info.ranks));
  put(comm.hostAndHosts, pair(info.host, info.hosts));
  put(comm.openedTicks, ticks());
  putText(comm.name, sizeof(comm.name), info.name);
  state(ProbeState::kConnecting);
  put(comm.version, version + 1);
}

}  // namespace flexlink
