// SPDX-License-Identifier: Apache-2.0
// Runs one body on N ranks: threads of one process, one process each, or a mixture. The test
// process supervises and never calls FlexLink for them: every run lives in children (fork and exec
// of this executable), so that a rank that hangs can be named and ended. README.md shows how to
// write one.
#pragma once

#include <sys/types.h>

#include <cstdarg>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "flexlink/nccl.h"
#include "support/board.h"

namespace ranktest {

enum class How { kThreads, kProcesses, kMixed };
const char* howName(How how);

// What a rank throws when a check fails: the text, with file and line.
struct RankFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a body gets. Used by the rank's own thread only, except `board`.
class RankContext {
 public:
  RankContext(Board* board, int rank, int size, std::string args)
      : rank(rank), size(size), args(std::move(args)), board(board) {}

  const int rank;
  const int size;
  const std::string args;  // RunOptions::args, the same for all ranks
  Board* const board;

  // The unique id number n: made by `maker` at its first call, awaited by all others.
  ncclUniqueId id(int n = 0, int maker = 0) const;

  // Until all ranks of the run are here. Fails when a rank failed or after `seconds`.
  void barrier(double seconds = 60) const;
  void set(int flag, uint32_t value = 1) const;
  // Until the flag is set; fails after `seconds`.
  uint32_t wait(int flag, double seconds = 60) const;

  // A number for the test: Outcome::values[rank], in the order of the calls.
  void publish(uint64_t value) const;
  // Where this rank is now, shown when the run does not end.
  void at(const char* format, ...) const __attribute__((format(printf, 2, 3)));

  RankSlot& slot() const { return board->slots[rank]; }
};

using RankBody = void (*)(RankContext&);

struct BodyRegistration {
  BodyRegistration(const char* name, RankBody body);
};

// Defines and registers a body: RANK_BODY(Name) { ... ctx ... }
#define RANK_BODY(Name)                                                             \
  static void rankBody##Name(::ranktest::RankContext& ctx);                         \
  static const ::ranktest::BodyRegistration kRankBody##Name(#Name, rankBody##Name); \
  static void rankBody##Name([[maybe_unused]] ::ranktest::RankContext& ctx)

struct RunOptions {
  int size = 2;
  How how = How::kProcesses;
  double deadlineSeconds = 60;   // for the whole run; times kSlowdown
  std::string args;              // handed to every rank
  std::vector<std::string> env;  // "NAME=value" for all children; "NAME" removes it
  std::string lanes;             // FLEXLINK_LANES, with a second copy as the vendor; "": our own
  std::string hosts;             // "0011": a host for each rank, then over again; "": one host
  std::vector<int> mayDie;       // ranks whose process may end by a signal (the test sends it)
  std::vector<int> absent;       // ranks that are not started at all
};

struct Outcome {
  std::vector<std::string> problems;          // one line each; empty: everything passed
  std::vector<std::vector<uint64_t>> values;  // per rank
  std::string output;                         // stdout and stderr of all children
  double seconds = 0;                         // from start to the end of the last child
  bool ok() const { return problems.empty(); }
  std::string report() const;
};

// One run under supervision. Not movable while it runs; the destructor ends what is left.
class RankRun {
 public:
  RankRun(const std::string& body, RunOptions options);
  ~RankRun();
  RankRun(const RankRun&) = delete;
  RankRun& operator=(const RankRun&) = delete;

  void start();
  // True once the flag is set; false after `seconds` or when a rank failed.
  bool waitFlag(int flag, double seconds);
  void setFlag(int flag, uint32_t value = 1);
  pid_t pidOf(int rank) const;  // of the process that holds the rank; -1: none
  void signalRank(int rank, int signal) const;
  bool alive(int rank);
  // Until all children ended or the deadline passed; then kills what is left and reports it.
  Outcome finish();

 private:
  struct Child {
    pid_t pid = -1;
    int pidfd = -1;
    std::vector<int> ranks;
    bool ended = false;
    int status = 0;
  };

  std::vector<std::vector<int>> layout() const;
  void spawn(const std::vector<int>& ranks);
  bool reapUntil(double end);
  void reapEnded();
  void killAll();
  void describe(Outcome& out, bool late);
  void describeChild(const Child& child, bool late, Outcome& out);
  std::string readOutput() const;

  std::string body_;
  RunOptions options_;
  int boardFd_ = -1;
  int outputFd_ = -1;
  Board* board_ = nullptr;
  std::vector<Child> children_;
  double started_ = 0;
};

// Start and finish in one.
Outcome runRanks(const std::string& body, const RunOptions& options);

// Runs the body and adds a GoogleTest failure with the report when it did not pass.
Outcome expectRanksPass(const std::string& body, const RunOptions& options);

// main() of a child: returns true when argv asks for ranks, with the exit code.
bool runRankMain(int argc, char** argv, int* exitCode);

// The context of the calling thread's rank; nullptr outside a body.
RankContext* currentRank();

}  // namespace ranktest
