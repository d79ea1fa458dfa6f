// SPDX-License-Identifier: Apache-2.0
// Processes and sockets of side.h.
#include "side.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "fail.h"
#include "worker.h"

namespace flexlink::perf {
namespace {

constexpr int kStartMilliseconds = 120000;
constexpr int kAnswerMilliseconds = 120000;
constexpr useconds_t kLastWordsMicroseconds = 500000;  // for launchers to pass on what a rank said

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

}  // namespace

void Side::start(const StartPlan& plan, int ranks, bool pin, const std::string& folder) {
  title_ = plan.title;
  const std::string base = folder + "/" + plan.title;
  const int listener = listenAt(base + ".sock");
  if (listener < 0) fail("no socket at %s.sock: %s", base.c_str(), std::strerror(errno));
  StartPlan full = plan;
  full.environment.push_back(std::string(kSocketVariable) + "=" + base + ".sock");
  full.environment.push_back(std::string(kPageVariable) + "=" + base + ".page");
  full.environment.push_back(std::string(kRanksVariable) + "=" + std::to_string(ranks));
  full.environment.push_back(std::string(kPinVariable) + "=" + (pin ? "1" : "0"));
  workers_.resize(static_cast<size_t>(ranks));
  for (int rank = 0; rank < (plan.oneForEachRank ? ranks : 1); ++rank) {
    spawn(full, plan.oneForEachRank ? rank : -1);
  }
  accept(listener, ranks);
  close(listener);
}

void Side::spawn(const StartPlan& plan, int rank) {
  std::vector<char*> arguments = pointers(plan.command);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) fail("fork failed: %s", std::strerror(errno));
  if (child > 0) {
    children_.push_back(child);
    return;
  }
  setpgid(0, 0);
  // A launcher then ends its ranks. A rank may be stopped and would never see SIGTERM.
  prctl(PR_SET_PDEATHSIG, rank < 0 ? SIGTERM : SIGKILL);
  if (getppid() != parent) _exit(1);
  for (const std::string& entry : plan.environment) {
    const size_t equals = entry.find('=');
    setenv(entry.substr(0, equals).c_str(), entry.c_str() + equals + 1, 1);
  }
  if (rank >= 0) setenv(kRankVariable, std::to_string(rank).c_str(), 1);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);            // launchers forward it to rank 0
  dup2(STDERR_FILENO, STDOUT_FILENO);  // the table is ours alone
  execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "flexlink_perf: cannot start %s: %s\n", arguments[0], std::strerror(errno));
  _exit(127);
}

void Side::accept(int listener, int ranks) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(kStartMilliseconds);
  for (int come = 0; come < ranks;) {
    if (Clock::now() > deadline) {
      fail("%s: only %d of %d ranks came within %d s", title_.c_str(), come, ranks,
           kStartMilliseconds / 1000);
    }
    checkAlive();
    pollfd poller{listener, POLLIN, 0};
    if (poll(&poller, 1, 200) <= 0) continue;
    LineSocket socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    std::string hello;
    if (!socket.receive(&hello, kAnswerMilliseconds)) continue;
    std::istringstream words(hello);
    std::string verb;
    int rank = -1;
    pid_t pid = -1;
    words >> verb >> rank >> pid;
    if (verb != "hello" || rank < 0 || rank >= ranks || pid <= 0) continue;
    std::getline(words >> std::ws, name_);
    Worker& worker = workers_[static_cast<size_t>(rank)];
    if (worker.pid < 0) ++come;
    worker.socket = std::move(socket);
    worker.pid = pid;
  }
}

void Side::checkAlive() {
  for (const pid_t child : children_) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) != child) continue;
    children_.erase(std::find(children_.begin(), children_.end(), child));
    fail("%s: process %d ended with status %d before the end of the comparison", title_.c_str(),
         static_cast<int>(child), WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
}

std::vector<std::string> Side::ask(const std::string& command) {
  std::vector<std::string> answers(workers_.size());
  for (Worker& worker : workers_) worker.socket.send(command);
  for (size_t rank = 0; rank < workers_.size(); ++rank) {
    if (workers_[rank].socket.receive(&answers[rank], kAnswerMilliseconds)) continue;
    usleep(kLastWordsMicroseconds);
    checkAlive();
    fail("%s (%s): rank %zu did not answer '%s'", title_.c_str(), name_.c_str(), rank,
         command.c_str());
  }
  return answers;
}

std::vector<double> Side::askNumbers(const std::string& command, const std::string& word) {
  std::vector<double> numbers;
  for (const std::string& answer : ask(command)) {
    std::istringstream words(answer);
    std::string got;
    double value = 0;
    words >> got >> value;
    if (!words || got != word) {
      fail("%s (%s) answered '%s' to '%s'", title_.c_str(), name_.c_str(), answer.c_str(),
           command.c_str());
    }
    numbers.push_back(value);
  }
  return numbers;
}

void Side::pause() {
  for (const Worker& worker : workers_) ::kill(worker.pid, SIGSTOP);
  paused_ = true;
}

void Side::resume() {
  for (const Worker& worker : workers_) ::kill(worker.pid, SIGCONT);
  paused_ = false;
}

void Side::quit() {
  resume();
  for (Worker& worker : workers_) worker.socket.send("quit");
  constexpr int kTries = 100;  // × 100 ms, then by force
  for (int i = 0; i < kTries && !children_.empty(); ++i) {
    for (size_t c = 0; c < children_.size();) {
      if (waitpid(children_[c], nullptr, WNOHANG) == children_[c]) {
        children_.erase(children_.begin() + static_cast<ptrdiff_t>(c));
      } else {
        ++c;
      }
    }
    if (!children_.empty()) usleep(100000);
  }
  kill();
}

void Side::kill() {
  for (const pid_t child : children_) ::kill(-child, SIGKILL);
  for (const Worker& worker : workers_) {
    if (!children_.empty() && worker.pid > 0) ::kill(worker.pid, SIGKILL);
  }
}

}  // namespace flexlink::perf
