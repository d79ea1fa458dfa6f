// SPDX-License-Identifier: Apache-2.0
// The side of the ranks: main() of a child, the registry of bodies, what a body can ask of its run.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "support/gpu.h"
#include "support/rank_run.h"
#include "support/sanitized.h"

namespace ranktest {
namespace {

thread_local RankContext* tlsRank = nullptr;

std::map<std::string, RankBody>& bodies() {
  static auto* map = new std::map<std::string, RankBody>;
  return *map;
}

void recordFailure(RankContext& ctx, const std::string& text) {
  RankSlot& slot = ctx.slot();
  snprintf(slot.failure, sizeof(slot.failure), "%s", text.c_str());
  slot.state.store(RankState::kFailed);
  setFlag(ctx.board->failed, ctx.board->failed.load() + 1);
}

void runOne(RankContext& ctx, RankBody body) {
  tlsRank = &ctx;
  ctx.slot().pid.store(getpid());
  ctx.slot().state.store(RankState::kRunning);
  ctx.at("the start");
  try {
    (void)Gpu::use(ctx.rank);
    body(ctx);
    if (ctx.slot().state.load() == RankState::kRunning) ctx.slot().state.store(RankState::kPassed);
  } catch (const std::exception& e) {
    recordFailure(ctx, e.what());
  }
  tlsRank = nullptr;
}

std::vector<int> splitInts(const std::string& text) {
  std::vector<int> out;
  for (size_t at = 0; at < text.size();) {
    out.push_back(std::stoi(text.substr(at)));
    const size_t comma = text.find(',', at);
    if (comma == std::string::npos) break;
    at = comma + 1;
  }
  return out;
}

std::string option(int argc, char** argv, const std::string& name) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]).starts_with(prefix)) return argv[i] + prefix.size();
  }
  return "";
}

int runRanksHere(Board* board, RankBody body, const std::vector<int>& ranks, int size,
                 const std::string& args) {
  std::vector<std::unique_ptr<RankContext>> contexts;
  for (int rank : ranks) contexts.push_back(std::make_unique<RankContext>(board, rank, size, args));
  if (ranks.size() == 1) {
    runOne(*contexts.front(), body);  // in the main thread, as a plain program does
  } else {
    std::vector<std::thread> threads;
    for (auto& ctx : contexts) threads.emplace_back([&ctx, body] { runOne(*ctx, body); });
    for (std::thread& thread : threads) thread.join();
  }
  int failures = 0;
  for (auto& ctx : contexts) failures += ctx->slot().state.load() != RankState::kPassed;
  return failures == 0 ? 0 : 1;
}

}  // namespace

BodyRegistration::BodyRegistration(const char* name, RankBody body) { bodies()[name] = body; }

RankContext* currentRank() { return tlsRank; }

ncclUniqueId RankContext::id(int n, int maker) const {
  at("waiting for the unique id %d of rank %d", n, maker);
  if (rank == maker && board->idReady[n].load() == 0) {
    const ncclResult_t result = ncclGetUniqueId(&board->ids[n]);
    if (result != ncclSuccess) {
      throw RankFailure("ncclGetUniqueId returned " + std::to_string(result) + ": " +
                        ncclGetLastError(nullptr));
    }
    setFlag(board->idReady[n], 1);
  }
  if (waitChange(board->idReady[n], 0, 60, &board->failed) == 0) {
    throw RankFailure("the unique id " + std::to_string(n) + " was not made");
  }
  return board->ids[n];
}

void RankContext::barrier(double seconds) const {
  const uint32_t round = board->round.load();
  if (board->arrived.fetch_add(1) + 1 == static_cast<uint32_t>(size)) {
    board->arrived.store(0);
    setFlag(board->round, round + 1);
    return;
  }
  if (waitChange(board->round, round, seconds * kSlowdown, &board->failed) == round) {
    throw RankFailure("not all ranks came to the barrier, or one failed; this one was at " +
                      std::string(slot().where));
  }
  // Who came here before is known to thread sanitizer by this word alone: the last one may have
  // been another process, whose steps it does not see.
  (void)board->arrived.load();
}

void RankContext::set(int flag, uint32_t value) const { setFlag(board->flags[flag], value); }

uint32_t RankContext::wait(int flag, double seconds) const {
  at("waiting for flag %d", flag);
  const uint32_t value = waitChange(board->flags[flag], 0, seconds * kSlowdown, &board->failed);
  if (value == 0) throw RankFailure("flag " + std::to_string(flag) + " was not set in time");
  return value;
}

void RankContext::publish(uint64_t value) const {
  const uint32_t n = slot().nValues.load();
  if (n >= kMaxValues) throw RankFailure("too many published values");
  slot().values[n] = value;
  slot().nValues.store(n + 1);
}

void RankContext::at(const char* format, ...) const {
  va_list list;
  va_start(list, format);
  vsnprintf(slot().where, sizeof(slot().where), format, list);
  va_end(list);
}

bool runRankMain(int argc, char** argv, int* exitCode) {
  const std::string name = option(argc, argv, "rank-body");
  if (name.empty()) return false;
  // A test that is killed takes its ranks along.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != std::stoi(option(argc, argv, "rank-parent"))) _exit(126);
  const auto found = bodies().find(name);
  Board* board = mapBoard(std::stoi(option(argc, argv, "rank-board")));
  if (found == bodies().end() || board == nullptr) {
    fprintf(stderr, "no rank body %s in this executable, or no board\n", name.c_str());
    *exitCode = 125;
    return true;
  }
  close(std::stoi(option(argc, argv, "rank-board")));
  *exitCode =
      runRanksHere(board, found->second, splitInts(option(argc, argv, "rank-list")),
                   std::stoi(option(argc, argv, "rank-size")), option(argc, argv, "rank-args"));
  return true;
}

}  // namespace ranktest

// One main for both: the test program, and (with --rank-body) the processes of its ranks.
int main(int argc, char** argv) {
  int exitCode = 0;
  if (ranktest::runRankMain(argc, argv, &exitCode)) return exitCode;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
