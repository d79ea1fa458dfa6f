// SPDX-License-Identifier: Apache-2.0
// Asks perf/peers/prepare.py; it answers with lines "start each|once", "arg WORD", "env
// NAME=VALUE".
#include "peers.h"

#include <sys/wait.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "fail.h"

namespace flexlink::perf {
namespace {

std::string peersFolder() {
  const char* folder = std::getenv("FLPERF_PEERS");
  std::string path = folder && *folder ? folder : FLEXLINK_PERF_FOLDER "/peers";
  if (!std::filesystem::exists(path + "/prepare.py")) {
    fail("%s has no prepare.py: set FLPERF_PEERS to the folder perf/peers of a source checkout",
         path.c_str());
  }
  return path;
}

}  // namespace

bool isLibraryPath(const std::string& peer) { return peer.find('/') != std::string::npos; }

StartPlan planOfLibrary(const std::string& path, const std::string& title) {
  StartPlan plan;
  plan.title = title;
  plan.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "worker", "--library",
                  path};
  return plan;
}

StartPlan planOfPeer(const std::string& peer, int ranks) {
  if (isLibraryPath(peer)) return planOfLibrary(peer, "theirs");
  for (const char c : peer) {
    if (c < 'a' || c > 'z')
      fail("--vs takes a peer's name or a path with a slash, not '%s'", peer.c_str());
  }
  const std::string command =
      "exec python3 '" + peersFolder() + "/prepare.py' " + peer + " " + std::to_string(ranks);
  std::FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) fail("cannot start python3 for %s", peer.c_str());
  StartPlan plan;
  plan.title = "theirs";
  char line[PATH_MAX + 64];
  while (std::fgets(line, sizeof line, pipe)) {
    const std::string text(line, std::string_view(line).find_last_not_of('\n') + 1);
    if (text.rfind("arg ", 0) == 0) plan.command.push_back(text.substr(4));
    if (text.rfind("env ", 0) == 0) plan.environment.push_back(text.substr(4));
    if (text == "start once") plan.oneForEachRank = false;
  }
  if (pclose(pipe) != 0 || plan.command.empty()) {
    fail("%s cannot be measured here (its own words are above)", peer.c_str());
  }
  return plan;
}

}  // namespace flexlink::perf
