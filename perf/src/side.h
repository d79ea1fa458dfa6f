// SPDX-License-Identifier: Apache-2.0
// One side of a comparison as the controller sees it: its processes, their sockets, and commands to
// all of them at once.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "line_socket.h"

namespace flexlink::perf {

// How a side is started: one process for each rank, or one launcher that starts them all.
struct StartPlan {
  std::string title;  // "ours", "theirs": in messages
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=value, on top of ours
  bool oneForEachRank = true;
};

class Side {
 public:
  // Both ends the program with a text when a worker does not come or goes away.
  void start(const StartPlan& plan, int ranks, bool pin, const std::string& folder);
  void quit();

  // Sends to all workers and returns what each said, by rank.
  std::vector<std::string> ask(const std::string& command);

  // The same for answers "WORD NUMBER".
  std::vector<double> askNumbers(const std::string& command, const std::string& word);

  void pause();
  void resume();
  const std::string& name() const { return name_; }

  // For a program that is about to give up: nothing of this side stays.
  void kill();

 private:
  struct Worker {
    LineSocket socket;
    pid_t pid = -1;
  };
  void spawn(const StartPlan& plan, int rank);
  void accept(int listener, int ranks);
  void checkAlive();

  std::string title_;
  std::string name_;
  std::vector<Worker> workers_;  // by rank
  std::vector<pid_t> children_;  // that we started, each the leader of its process group
  bool paused_ = false;
};

}  // namespace flexlink::perf
