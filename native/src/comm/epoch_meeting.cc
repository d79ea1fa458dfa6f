// SPDX-License-Identifier: Apache-2.0
#include "comm/epoch_meeting.h"

#include <numeric>

#include "base/log.h"
#include "base/reactor.h"
#include "comm/frame.h"
#include "device/host/doorbell.h"

namespace flexlink {
namespace {

// Operations of so long are told together, and weights move at most so often.
constexpr int64_t kWindowNanos = 20'000'000;
constexpr uint32_t kMostSamples = 4096;  // kinds times sizes, and more

bool sane(const Weights& weights) {
  uint32_t sum = std::accumulate(weights.parts.begin(), weights.parts.end(), 0u);
  return sum == kWholeWeight && weights.fastest >= 0 && weights.fastest < weights.lanes;
}

std::string whatOf(uint16_t operationClass) {
  if (operationClass == kEveryClass) return "all";
  return std::string(collectiveName(kindOf(operationClass))) + " of blocks from " +
         std::to_string(sizeOf(operationClass)) + " B";
}

// "from operation 70 on, AllReduce of 1 MiB blocks: shares 900 124 of 1024".
std::string textOf(const Epochs::Change& change) {
  std::string text = "from split operation " + std::to_string(change.first) + " on, " +
                     whatOf(change.what.operationClass) + ": lanes' shares";
  for (int32_t lane = 0; lane < change.what.weights.lanes; ++lane) {
    text.append(" ").append(std::to_string(change.what.weights.parts[static_cast<size_t>(lane)]));
  }
  return text + " of " + std::to_string(kWholeWeight);
}

}  // namespace

std::string packReport(const EpochReport& report, int lanes) {
  Packer packer;
  packer.put(report.begun).put(static_cast<uint32_t>(report.samples.size()));
  for (const LaneSample& sample : report.samples) {
    packer.put(sample.operationClass).put(sample.operations).put(sample.epoch);
    for (size_t lane = 0; lane < static_cast<size_t>(lanes); ++lane) {
      packer.put(sample.bytes[lane]).put(sample.seconds[lane]);
    }
  }
  packer.put(static_cast<uint8_t>(report.proposal ? 1 : 0));
  if (report.proposal) {
    const WeightProposal& what = *report.proposal;
    packer.put(what.operationClass).put(what.ahead).put(what.weights.fastest);
    packer.put(what.weights.wholeBelow);
    for (size_t lane = 0; lane < static_cast<size_t>(lanes); ++lane) {
      packer.put(what.weights.parts[lane]);
    }
  }
  return packer.bytes();
}

Result<EpochReport> unpackReport(const std::string& bytes, int lanes) {
  Unpacker unpacker(bytes);
  EpochReport report;
  uint32_t samples = 0;
  bool ok = unpacker.get(&report.begun) && unpacker.get(&samples) && samples <= kMostSamples;
  for (uint32_t i = 0; ok && i < samples; ++i) {
    LaneSample sample;
    ok = unpacker.get(&sample.operationClass) && unpacker.get(&sample.operations) &&
         unpacker.get(&sample.epoch);
    for (size_t lane = 0; ok && lane < static_cast<size_t>(lanes); ++lane) {
      ok = unpacker.get(&sample.bytes[lane]) && unpacker.get(&sample.seconds[lane]);
    }
    report.samples.push_back(sample);
  }
  uint8_t proposes = 0;
  ok = ok && unpacker.get(&proposes);
  if (ok && proposes != 0) {
    WeightProposal what;
    what.weights.lanes = lanes;
    ok = unpacker.get(&what.operationClass) && unpacker.get(&what.ahead) &&
         unpacker.get(&what.weights.fastest) && unpacker.get(&what.weights.wholeBelow);
    for (size_t lane = 0; ok && lane < static_cast<size_t>(lanes); ++lane) {
      ok = unpacker.get(&what.weights.parts[lane]);
    }
    ok = ok && sane(what.weights);
    report.proposal = what;
  }
  if (!ok) return makeStatus(Code::kInternal, "%zu bytes are no report of lanes", bytes.size());
  return report;
}

std::shared_ptr<EpochMeeting> EpochMeeting::join(const Meeting& meeting,
                                                 std::shared_ptr<EpochBoard> board) {
  std::shared_ptr<EpochMeeting> self(new EpochMeeting(std::move(board)));
  std::string first;
  {
    std::lock_guard<std::mutex> lock(self->board_->mutex);
    first = packReport(self->board_->epochs.report(), self->lanes_);
    self->board_->awake = true;  // until the first round is over
    self->board_->wake = [weak = self->weak_from_this()] {
      Reactor::instance().value()->post([weak] {
        if (auto meeting = weak.lock()) meeting->rest();
      });
    };
  }
  self->participant_ = Participant::join(
      meeting, std::move(first),
      [weak = self->weak_from_this()](uint32_t, const Result<std::vector<std::string>>& blobs) {
        if (auto meeting = weak.lock()) meeting->heard(blobs);
      });
  return self;
}

void EpochMeeting::leave() {
  {
    std::lock_guard<std::mutex> lock(board_->mutex);
    board_->wake = nullptr;
  }
  if (participant_) participant_->leave();
  participant_.reset();
}

void EpochMeeting::heard(const Result<std::vector<std::string>>& blobs) {
  if (!blobs.ok()) return end(blobs.status());
  if (next_ == Round::kVotes) return hearVotes(blobs.value());
  Status status = hearReports(blobs.value());
  if (!status.ok()) end(status);
}

Status EpochMeeting::hearReports(const std::vector<std::string>& blobs) {
  std::vector<EpochReport> reports;
  for (const std::string& blob : blobs) {
    FLEXLINK_TRY_ASSIGN(EpochReport report, unpackReport(blob, lanes_));
    reports.push_back(std::move(report));
  }
  std::optional<bool> vote;
  {
    std::lock_guard<std::mutex> lock(board_->mutex);
    vote = board_->epochs.heard(reports);
  }
  if (vote) {
    next_ = Round::kVotes;
    participant_->say(std::string(1, *vote ? 'y' : 'n'));
  } else {
    rest();
  }
  return {};
}

void EpochMeeting::hearVotes(const std::vector<std::string>& blobs) {
  std::vector<bool> votes;
  std::string say;
  for (const std::string& blob : blobs) votes.push_back(blob == "y");
  {
    std::lock_guard<std::mutex> lock(board_->mutex);
    board_->epochs.decided(votes);
    if (board_->epochs.agreed() != nullptr) say = textOf(*board_->epochs.agreed());
  }
  if (!say.empty()) FLEXLINK_INFO(kTuning, "%s", say.c_str());
  myDoorbell().ring();  // somebody may wait to begin an operation
  next_ = Round::kReports;
  rest();
}

void EpochMeeting::rest() {
  auto weak = weak_from_this();
  Reactor::instance().value()->after(kWindowNanos, [weak] {
    if (auto meeting = weak.lock()) meeting->look();
  });
}

// Without new operations nobody is asked: the next one wakes this up again.
void EpochMeeting::look() {
  if (!participant_) return;
  std::string report;
  {
    std::lock_guard<std::mutex> lock(board_->mutex);
    board_->awake = board_->epochs.due();
    if (!board_->awake) return;
    report = packReport(board_->epochs.report(), lanes_);
  }
  participant_->say(report);
}

// A rank has left or died: the shares stay. Who has promised to begin no further can only give up.
void EpochMeeting::end(const Status& status) {
  {
    std::lock_guard<std::mutex> lock(board_->mutex);
    board_->wake = nullptr;
    if (board_->epochs.awaitsVotes()) {
      board_->broken = makeStatus(
          Code::kRemote, "the ranks could not agree on the shares of the lanes: %s", status.text());
    }
  }
  FLEXLINK_INFO(kTuning, "the shares of the lanes stay as they are: %s", status.text());
  participant_.reset();
  myDoorbell().ring();
}

}  // namespace flexlink
