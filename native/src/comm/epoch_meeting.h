// SPDX-License-Identifier: Apache-2.0
// The ranks of a communicator with several lanes agree on their weights (balance/epochs.h): rounds
// of a meeting that lasts as long as the communicator. Control thread only: ranks answer also while
// their program computes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/rendezvous.h"
#include "lane/split/epoch_board.h"

namespace flexlink {

class EpochMeeting : public std::enable_shared_from_this<EpochMeeting> {
 public:
  static std::shared_ptr<EpochMeeting> join(const Meeting& meeting,
                                            std::shared_ptr<EpochBoard> board);

  // The communicator is going: no more rounds.
  void leave();

 private:
  enum class Round : uint8_t { kReports, kVotes };

  explicit EpochMeeting(std::shared_ptr<EpochBoard> board)
      : lanes_(board->epochs.lanes()), board_(std::move(board)) {}
  void heard(const Result<std::vector<std::string>>& blobs);
  Status hearReports(const std::vector<std::string>& blobs);
  void hearVotes(const std::vector<std::string>& blobs);
  void rest();
  void look();
  void end(const Status& status);

  const int lanes_;
  const std::shared_ptr<EpochBoard> board_;
  std::shared_ptr<Participant> participant_;  // null: over
  Round next_ = Round::kReports;
};

// What a rank says in a round of reports, as bytes. Pure; here for their test.
std::string packReport(const EpochReport& report, int lanes);
Result<EpochReport> unpackReport(const std::string& bytes, int lanes);

}  // namespace flexlink
