// SPDX-License-Identifier: Apache-2.0
// The command loop of worker.h.
#include "worker.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>

#include "fail.h"
#include "line_socket.h"
#include "place.h"
#include "workload.h"

namespace flexlink::perf {
namespace {

class Worker {
 public:
  Worker(Backend* backend, Control* control) : backend_(backend), control_(control) {}

  std::string answer(const std::string& command) {
    std::istringstream words(command);
    std::string verb;
    words >> verb;
    if (verb == "buffers") return makeBuffers(words);
    if (verb == "case") return prepare(words);
    if (verb == "run") return run(words);
    if (verb == "check") return check(words);
    if (verb == "copy") return seconds(workload_->copySeconds());
    return "no such command: " + command;
  }

 private:
  static std::string seconds(double value) {
    char text[64];
    std::snprintf(text, sizeof text, "time %.12g", value);
    return text;
  }

  std::string makeBuffers(std::istringstream& words) {
    BufferSetup setup;
    words >> setup.maxBytes >> setup.ofLibrary >> setup.registration >> setup.unalign;
    workload_ = std::make_unique<Workload>(backend_, control_, setup);
    return "ok";
  }

  std::string prepare(std::istringstream& words) {
    std::string collective;
    std::string type;
    std::string op;
    Case what;
    words >> collective >> type >> op >> what.root >> what.bytes >> what.inPlace;
    const auto foundCollective = findCollective(collective);
    const auto foundType = findType(type);
    const auto foundOp = findOp(op);
    if (!words || !foundCollective || !foundType || !foundOp) return "no such case";
    what.collective = *foundCollective;
    what.type = *foundType;
    what.op = *foundOp;
    const std::string refusal = workload_->prepare(what);
    return refusal.empty() ? "ok" : "no " + refusal;
  }

  std::string run(std::istringstream& words) {
    TimedLoop loop;
    words >> loop.iterations;
    // One call that does not count: a process that was stopped has cold caches, on every side.
    control_->barrier();
    workload_->run(1);
    return seconds(workload_->time(loop).seconds);
  }

  std::string check(std::istringstream& words) {
    uint64_t seed = 0;
    words >> seed;
    return "wrong " + std::to_string(workload_->check(seed));
  }

  Backend* backend_;
  Control* control_;
  std::unique_ptr<Workload> workload_;
};

}  // namespace

std::string workerSetting(const char* name) {
  const char* value = std::getenv(name);
  if (!value) fail("%s is not set: workers are started by flexlink_perf --vs", name);
  return value;
}

void pinWorker(int localRank) {
  if (workerSetting(kPinVariable) != "1") return;
  pinToCore(localRank, std::atoi(workerSetting(kRanksVariable).c_str()));
}

int serveWorker(Backend* backend) {
  const int rank = backend->firstRank();
  setFailRank(rank);
  const std::string pagePath = workerSetting(kPageVariable);
  SharedPage* page = mapPageFile(pagePath);
  if (!page) fail("cannot map %s: %s", pagePath.c_str(), std::strerror(errno));
  SharedControl control(page, backend->ranks(), rank);
  LineSocket socket(connectTo(workerSetting(kSocketVariable)));
  if (socket.fd() < 0) fail("cannot reach the controller: %s", std::strerror(errno));
  socket.send("hello " + std::to_string(rank) + " " + std::to_string(getpid()) + " " +
              backend->name());
  Worker worker(backend, &control);
  std::string command;
  while (socket.receive(&command, -1)) {
    if (command == "quit") return 0;
    if (!socket.send(worker.answer(command))) break;
  }
  fail("the controller has gone");
}

}  // namespace flexlink::perf
