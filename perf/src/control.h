// SPDX-License-Identifier: Apache-2.0
// How the participants of one benchmark (threads that drive ranks) wait for each other and exchange
// a few numbers, apart from the library under test: a shared page on one host, else the library.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"

namespace flexlink::perf {

inline constexpr int kMaxParticipants = 256;
inline constexpr int kMaxNumbers = 32;  // in one exchange

class Control {
 public:
  virtual ~Control() = default;

  virtual void barrier() = 0;

  // Everybody's `mine` (all of one length ≤ kMaxNumbers), by participant. A barrier, too.
  virtual std::vector<std::vector<double>> exchange(const std::vector<double>& mine) = 0;
};

enum class Fold { kRank0, kAverage, kMin, kMax, kSum };  // the first four: -a 0 to 3

double foldOver(Control* control, double mine, Fold fold);

// The page that processes of one host share: mapped before fork, or from a file.
struct SharedPage {
  std::atomic<uint32_t> arrived;     // of the barrier in progress; the last one sets it to 0
  std::atomic<uint32_t> generation;  // barriers done; waiters watch it, the last arriver bumps it
  std::atomic<uint32_t> failed;      // a process of the job has ended badly (set by the launcher)
  std::atomic<uint32_t> idReady;     // uniqueId is written (release), readers acquire
  char uniqueId[128];
  alignas(64) double numbers[kMaxParticipants][kMaxNumbers];
};

// Anonymous, for children of fork; or the file `path`, which is made if it is not there. Lives as
// long as the process. Null on failure (errno says why).
SharedPage* mapAnonymousPage();
SharedPage* mapPageFile(const std::string& path);

class SharedControl final : public Control {
 public:
  SharedControl(SharedPage* page, int participants, int self)
      : page_(page), participants_(participants), self_(self) {}
  void barrier() override;
  std::vector<std::vector<double>> exchange(const std::vector<double>& mine) override;

 private:
  SharedPage* page_;
  int participants_;
  int self_;
};

// Over the library itself, for jobs that a launcher started: works between hosts.
class LibraryControl final : public Control {
 public:
  explicit LibraryControl(Backend* backend);
  void barrier() override;
  std::vector<std::vector<double>> exchange(const std::vector<double>& mine) override;

 private:
  Backend* backend_;  // outlives this
  std::vector<std::vector<double>> sent_;
  std::vector<std::vector<double>> received_;
  std::vector<void*> deviceSent_;  // by local rank, where buffers live on devices; else empty
  std::vector<void*> deviceReceived_;
};

}  // namespace flexlink::perf
