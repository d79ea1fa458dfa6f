// SPDX-License-Identifier: Apache-2.0
// launchProcesses of process.h: fork before any library is open, one shared page, no orphan.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "fail.h"
#include "process.h"

namespace flexlink::perf {
namespace {

[[noreturn]] void runChild(const Options& options, int index, SharedPage* page,
                           const std::vector<std::string>& arguments, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it died before the line above
  Place place;
  place.process = index;
  place.processes = options.processes;
  place.localProcess = index;
  const int status = runProcess(options, place, page, arguments);
  std::fflush(stdout);
  _exit(status);
}

int statusOf(int waited) {
  return WIFEXITED(waited) ? WEXITSTATUS(waited) : 128 + WTERMSIG(waited);
}

}  // namespace

int launchProcesses(const Options& options, const std::vector<std::string>& arguments) {
  SharedPage* page = mapAnonymousPage();
  if (!page) fail("no shared memory for %d processes: %s", options.processes, std::strerror(errno));
  const pid_t self = getpid();
  std::vector<pid_t> children;
  for (int i = 0; i < options.processes; ++i) {
    const pid_t child = fork();
    if (child < 0) fail("fork failed: %s", std::strerror(errno));  // the children die with us
    if (child == 0) runChild(options, i, page, arguments, self);
    children.push_back(child);
  }
  constexpr unsigned kGrace = 5;  // seconds for the others to say what they saw
  int status = 0;
  for (int left = options.processes; left > 0; --left) {
    int waited = 0;
    const pid_t ended = waitpid(-1, &waited, 0);
    if (ended < 0 && errno == EINTR) {
      ++left;
      continue;
    }
    const int result = statusOf(waited);
    if (result == 0 || status != 0) continue;
    status = result;
    if (WIFSIGNALED(waited)) {
      std::fprintf(stderr, "flexlink_perf: process %d was ended by signal %d (%s)\n",
                   static_cast<int>(ended), WTERMSIG(waited), strsignal(WTERMSIG(waited)));
    }
    page->failed.store(1);
    signal(SIGALRM, [](int) { _exit(1); });  // and with us the children
    alarm(kGrace);
  }
  return status;
}

}  // namespace flexlink::perf
