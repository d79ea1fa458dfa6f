// SPDX-License-Identifier: Apache-2.0
// The supervisor of a run: starts the children, waits with a deadline, reports who failed and
// where.
#include "support/rank_run.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "support/sanitized.h"

namespace ranktest {
namespace {

// When one rank has failed, the others get this long to fail by themselves.
constexpr double kGraceSeconds = 5;

std::string joinInts(const std::vector<int>& numbers) {
  std::string text;
  for (int n : numbers) {
    if (!text.empty()) text += ',';
    text += std::to_string(n);
  }
  return text;
}

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

const char* howName(How how) {
  switch (how) {
    case How::kThreads:
      return "threads";
    case How::kProcesses:
      return "processes";
    case How::kMixed:
      return "mixed";
  }
  return "?";
}

std::string Outcome::report() const {
  std::ostringstream text;
  for (const std::string& line : problems) text << line << "\n";
  text << "(" << seconds << " s)";
  if (!output.empty()) text << "\n--- output of the ranks ---\n" << output;
  return text.str();
}

RankRun::RankRun(const std::string& body, RunOptions options)
    : body_(body), options_(std::move(options)) {
  // A whole test program can be run as if between hosts.
  const char* hosts = getenv("FLEXLINK_TEST_HOSTS");
  const bool may = options_.how == How::kProcesses && options_.hosts.empty();
  if (hosts != nullptr && may) options_.hosts = hosts;
}

RankRun::~RankRun() {
  killAll();
  if (board_ != nullptr) unmapBoard(board_);
  if (boardFd_ >= 0) close(boardFd_);
  if (outputFd_ >= 0) close(outputFd_);
  for (Child& child : children_) {
    if (child.pidfd >= 0) close(child.pidfd);
  }
}

// Ranks are dealt out in turn, so that neighbours live in different processes.
std::vector<std::vector<int>> RankRun::layout() const {
  const int n = options_.size;
  int processes = n;
  if (options_.how == How::kThreads) processes = 1;
  if (options_.how == How::kMixed) processes = (n + 1) / 2;
  std::vector<std::vector<int>> out(processes);
  for (int rank = 0; rank < n; ++rank) {
    if (!contains(options_.absent, rank)) out[rank % processes].push_back(rank);
  }
  return out;
}

void RankRun::start() {
  boardFd_ = createBoard();
  outputFd_ = memfd_create("ranktest-output", 0);
  if (boardFd_ >= 0) board_ = mapBoard(boardFd_);
  if (board_ == nullptr || outputFd_ < 0) {
    throw std::runtime_error(std::string("no shared board for the ranks: ") + strerror(errno));
  }
  fcntl(outputFd_, F_SETFL, O_APPEND);
  started_ = nowSeconds();
  for (const std::vector<int>& ranks : layout()) {
    if (!ranks.empty()) spawn(ranks);
  }
}

void RankRun::spawn(const std::vector<int>& ranks) {
  std::vector<std::string> words = {"/proc/self/exe",
                                    "--rank-body=" + body_,
                                    "--rank-list=" + joinInts(ranks),
                                    "--rank-size=" + std::to_string(options_.size),
                                    "--rank-board=" + std::to_string(boardFd_),
                                    "--rank-parent=" + std::to_string(getpid()),
                                    "--rank-args=" + options_.args};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  // The environment is built before the fork: between fork and exec nothing may allocate.
  std::vector<std::string> envWords;
  for (char** e = environ; *e != nullptr; ++e) envWords.emplace_back(*e);
  std::vector<std::string> changes = options_.env;
  if (options_.hosts.empty()) {
    changes.push_back("FLEXLINK_TEST_HOSTS");
  } else {
    const size_t first = static_cast<size_t>(ranks.front());
    changes.push_back(std::string("FLEXLINK_HOSTID=") +
                      options_.hosts[first % options_.hosts.size()]);
    changes.push_back("FLEXLINK_TEST_HOSTS=" + options_.hosts);
  }
  if (!options_.lanes.empty()) {
    changes.push_back("FLEXLINK_LANES=" + options_.lanes);
    changes.push_back("FLEXLINK_NCCL_PATH=" FLEXLINK_SECOND_COPY);
  }
  for (const std::string& entry : changes) {
    const std::string name = entry.substr(0, entry.find('=')) + "=";
    std::erase_if(envWords, [&](const std::string& word) { return word.starts_with(name); });
    if (entry.find('=') != std::string::npos) envWords.push_back(entry);
  }
  std::vector<char*> envp;
  for (std::string& word : envWords) envp.push_back(word.data());
  envp.push_back(nullptr);

  Child child;
  child.ranks = ranks;
  child.pid = fork();
  if (child.pid == 0) {
    dup2(outputFd_, 1);
    dup2(outputFd_, 2);
    execve("/proc/self/exe", argv.data(), envp.data());
    _exit(127);
  }
  if (child.pid < 0) throw std::runtime_error(std::string("fork: ") + strerror(errno));
  child.pidfd = static_cast<int>(syscall(SYS_pidfd_open, child.pid, 0));
  if (child.pidfd >= 0) fcntl(child.pidfd, F_SETFD, FD_CLOEXEC);
  children_.push_back(std::move(child));
}

bool RankRun::waitFlag(int flag, double seconds) {
  return waitChange(board_->flags[flag], 0, seconds * kSlowdown, &board_->failed) != 0;
}

void RankRun::setFlag(int flag, uint32_t value) { ranktest::setFlag(board_->flags[flag], value); }

pid_t RankRun::pidOf(int rank) const {
  for (const Child& child : children_) {
    if (contains(child.ranks, rank)) return child.pid;
  }
  return -1;
}

void RankRun::signalRank(int rank, int signal) const {
  for (const Child& child : children_) {
    if (contains(child.ranks, rank) && !child.ended) kill(child.pid, signal);
  }
}

bool RankRun::alive(int rank) {
  reapEnded();
  for (const Child& child : children_) {
    if (contains(child.ranks, rank)) return !child.ended;
  }
  return false;
}

void RankRun::reapEnded() {
  for (Child& child : children_) {
    if (child.ended || waitpid(child.pid, &child.status, WNOHANG) != child.pid) continue;
    child.ended = true;
    const bool expected = std::any_of(child.ranks.begin(), child.ranks.end(),
                                      [&](int rank) { return contains(options_.mayDie, rank); });
    // The others must not wait for a rank that crashed.
    if (WIFSIGNALED(child.status) && !expected) board_->failed.fetch_add(1);
  }
}

// True when all children have ended before `end`.
bool RankRun::reapUntil(double end) {
  double graceEnd = 0;
  for (;;) {
    reapEnded();
    std::vector<pollfd> waits;
    for (const Child& child : children_) {
      if (!child.ended) waits.push_back({child.pidfd, POLLIN, 0});
    }
    if (waits.empty()) return true;
    const double now = nowSeconds();
    if (graceEnd == 0 && board_->failed.load() != 0) graceEnd = now + kGraceSeconds * kSlowdown;
    if (now >= end || (graceEnd != 0 && now >= graceEnd)) return false;
    poll(waits.data(), waits.size(), 50);
  }
}

void RankRun::killAll() {
  for (Child& child : children_) {
    if (child.ended) continue;
    kill(child.pid, SIGKILL);
    waitpid(child.pid, &child.status, 0);
    child.ended = true;
  }
}

Outcome RankRun::finish() {
  const bool late = !reapUntil(started_ + options_.deadlineSeconds * kSlowdown);
  Outcome out;
  out.seconds = nowSeconds() - started_;
  describe(out, late);
  killAll();
  out.output = readOutput();
  out.values.resize(options_.size);
  for (int rank = 0; rank < options_.size; ++rank) {
    const RankSlot& slot = board_->slots[rank];
    out.values[rank].assign(slot.values, slot.values + slot.nValues.load());
  }
  return out;
}

void RankRun::describe(Outcome& out, bool late) {
  for (int rank = 0; rank < options_.size; ++rank) {
    const RankSlot& slot = board_->slots[rank];
    if (slot.state.load() == RankState::kFailed) {
      out.problems.push_back("rank " + std::to_string(rank) + ": " + slot.failure);
    }
  }
  for (const Child& child : children_) describeChild(child, late, out);
}

void RankRun::describeChild(const Child& child, bool late, Outcome& out) {
  if (!child.ended) {
    for (int rank : child.ranks) {
      const RankSlot& slot = board_->slots[rank];
      const RankState state = slot.state.load();
      if (state == RankState::kFailed) continue;
      const std::string what = state == RankState::kPassed ? "passed, but its process did not end"
                                                           : std::string("still at ") + slot.where;
      out.problems.push_back("rank " + std::to_string(rank) + ": " + what);
    }
    if (!late) out.problems.push_back("process not reaped");
    return;
  }
  bool mayDie = false;
  bool reported = false;
  for (int rank : child.ranks) {
    mayDie = mayDie || contains(options_.mayDie, rank);
    reported = reported || board_->slots[rank].state.load() == RankState::kFailed;
  }
  const std::string who = "process of rank(s) " + joinInts(child.ranks);
  if (WIFSIGNALED(child.status)) {
    if (mayDie) return;
    out.problems.push_back(who + ": ended by signal " + std::to_string(WTERMSIG(child.status)) +
                           ", last at " + board_->slots[child.ranks.front()].where);
  } else if (WEXITSTATUS(child.status) != 0 && !reported) {
    out.problems.push_back(who + ": exit status " + std::to_string(WEXITSTATUS(child.status)) +
                           ", last at " + board_->slots[child.ranks.front()].where);
  }
}

std::string RankRun::readOutput() const {
  constexpr size_t kMost = 64 * 1024;
  std::string text(kMost, '\0');
  const ssize_t n = pread(outputFd_, text.data(), kMost, 0);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return text;
}

Outcome runRanks(const std::string& body, const RunOptions& options) {
  RankRun run(body, options);
  run.start();
  return run.finish();
}

Outcome expectRanksPass(const std::string& body, const RunOptions& options) {
  Outcome out = runRanks(body, options);
  if (!out.ok()) {
    ADD_FAILURE() << body << " on " << options.size << " ranks as " << howName(options.how)
                  << (options.args.empty() ? "" : " with " + options.args) << "\n"
                  << out.report();
  }
  return out;
}

}  // namespace ranktest
