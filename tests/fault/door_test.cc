// SPDX-License-Identifier: Apache-2.0
// Strangers at the bootstrap port, and what a killed job leaves behind for the next one.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/proc.h"
#include "support/rank_run.h"
#include "support/sanitized.h"
#include "support/values.h"

namespace ranktest {
namespace {

constexpr int kListening = 1;
constexpr int kGo = 2;
constexpr int kInside = 3;
constexpr int kGoOn = 4;

void checkSum(ncclComm_t comm, int size, size_t count = 1000) {
  std::vector<int32_t> data(count, 1);
  RANK_OK(ncclAllReduce(data.data(), data.data(), count, ncclInt32, ncclSum, comm, nullptr));
  for (int32_t x : data) RANK_EQ(x, size);
}

// Rank 0 is in init while strangers knock; the others come when they are told.
RANK_BODY(StrangersKnock) {
  const ncclUniqueId id = ctx.id(0);
  if (ctx.rank == 0) {
    ctx.set(kListening);
  } else {
    ctx.wait(kGo);
  }
  Comm comm;
  RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  checkSum(comm, ctx.size);
  ctx.barrier();
  if (ctx.rank == 0) ctx.set(kInside);
  ctx.wait(kGoOn);
  checkSum(comm, ctx.size, 100'000);
  Comm child;
  RANK_OK(ncclCommSplit(comm, 0, ctx.rank, child.put(), nullptr));
  checkSum(child, ctx.size);
  child.destroy();
  comm.destroy();
}

// One visit of every kind; the descriptors that stay open are returned.
std::vector<int> knock(int port, uint64_t seed) {
  std::vector<int> open;
  const auto say = [&](const std::string& text, bool keep) {
    const int fd = connectLocal(port);
    if (fd < 0) return false;
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;  // a door that is already shut is fine
    if (keep) {
      open.push_back(fd);
    } else {
      close(fd);
    }
    return true;
  };
  if (!say("", false)) return open;  // a port scan
  say("", true);                     // a silent visitor
  say("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false);
  say(std::string(64, '\0'), true);
  say(std::string(200'000, '\xff'), false);  // lengths as large as they get
  for (int k = 0; k < 20; ++k) {
    std::string noise(1 + mix(seed, static_cast<uint64_t>(k)) % 600, '\0');
    for (size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<char>(mix(seed, i, 7) & 0xff);
    say(noise, k % 5 == 0);
  }
  return open;
}

TEST(Door, StrangersDuringInitAndLaterDoNoHarm) {
  RunOptions o;
  o.size = 3;
  o.how = How::kProcesses;
  RankRun run("StrangersKnock", o);
  run.start();
  ASSERT_TRUE(run.waitFlag(kListening, 20)) << run.finish().report();
  usleep(100'000);
  std::vector<int> open;
  const auto knockAt = [&](int rank, uint64_t seed) {
    const std::vector<int> ports = listeningPorts(run.pidOf(rank));
    for (int port : ports) {
      for (int fd : knock(port, seed)) open.push_back(fd);
    }
    return ports.size();
  };
  EXPECT_GE(knockAt(0, 1), 1U) << "rank 0 does not listen";
  run.setFlag(kGo);
  EXPECT_TRUE(run.waitFlag(kInside, 20)) << "strangers kept the ranks from meeting";
  for (int rank = 0; rank < o.size; ++rank) knockAt(rank, 100 + static_cast<uint64_t>(rank));
  run.setFlag(kGoOn);
  const Outcome out = run.finish();
  for (int fd : open) close(fd);
  EXPECT_TRUE(out.ok()) << out.report();
}

// An id whose bytes were changed on the way: an error in bounded time, never a wrong meeting.
RANK_BODY(DamagedId) {
  const ncclUniqueId good = ctx.id(0);
  struct Attempt {
    ncclUniqueId id;
    ncclResult_t result = ncclSuccess;
    ncclComm_t comm = nullptr;
    double seconds = 0;
  };
  std::vector<Attempt> attempts;
  for (int byte = 40; byte < 128; byte += 3) {
    attempts.push_back({good});
    attempts.back().id.internal[byte] = static_cast<char>(good.internal[byte] ^ 0x41);
  }
  std::vector<std::thread> threads;
  for (Attempt& a : attempts) {
    threads.emplace_back(
        [&a] { a.seconds = timed([&a] { a.result = ncclCommInitRank(&a.comm, 2, a.id, 1); }); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < attempts.size(); ++i) {
    const Attempt& a = attempts[i];
    RANK_TRUE_MSG(a.result != ncclSuccess && a.comm == nullptr, "byte " << 40 + 3 * i);
    RANK_TRUE_MSG(a.seconds < 3 * kSlowdown, "byte " << 40 + 3 * i << ": " << a.seconds << " s");
  }
}

TEST(Door, DamagedUniqueIdIsAnErrorInBoundedTime) {
  RunOptions o;
  o.size = 1;
  o.env = {"FLEXLINK_INIT_TIMEOUT=1"};
  expectRanksPass("DamagedId", o);
}

RANK_BODY(BusyUntilKilled) {
  Comm comm = makeWorld(ctx);
  Stream stream;
  void* shared = nullptr;
  RANK_OK(ncclMemAlloc(&shared, size_t{8} << 20));
  auto* data = static_cast<float*>(shared);
  if (ctx.rank == 0) ctx.set(kInside);
  for (;;) {
    const ncclResult_t result =
        ncclAllReduce(data, data, 1'000'000, ncclFloat32, ncclMax, comm, nullptr);
    if (result != ncclSuccess) pause();
  }
}

RANK_BODY(OneSum) {
  Comm comm = makeWorld(ctx);
  checkSum(comm, ctx.size);
  comm.destroy();
}

RANK_BODY(OneSumAtAFixedPort) {
  ncclUniqueId id;
  RANK_OK(ncclGetUniqueId(&id));  // every rank: NCCL_COMM_ID says where
  Comm comm;
  RANK_OK(ncclCommInitRank(comm.put(), ctx.size, id, ctx.rank));
  checkSum(comm, ctx.size);
  if (ctx.args == "busy") {
    if (ctx.rank == 0) ctx.set(kInside);
    pause();
  }
  comm.destroy();
}

// Files only: the folder of probes may appear at any time, made by any user of the library.
std::set<std::string> sharedNames() {
  std::set<std::string> out;
  for (const std::string& name : namesIn("/dev/shm")) {
    struct stat about {};
    const std::string path = "/dev/shm/" + name;
    if (stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode)) out.insert(name);
  }
  return out;
}

void killAllInside(RankRun& run, int size) {
  run.start();
  ASSERT_TRUE(run.waitFlag(kInside, 20));
  usleep(100'000);
  for (int rank = 0; rank < size; ++rank) run.signalRank(rank, SIGKILL);
  run.finish();
}

// A folder for probes that outlive their process by design, so that /dev/shm shows only the rest.
class RunFolder {
 public:
  RunFolder() {
    if (mkdtemp(path_) == nullptr) path_[0] = '\0';
  }
  ~RunFolder() {
    const int rc = system((std::string("rm -r ") + path_).c_str());
    (void)rc;
  }
  std::string env() const { return std::string("FLEXLINK_RUN_DIR=") + path_; }

 private:
  char path_[40] = "/tmp/flexlink-test-XXXXXX";
};

TEST(Leftovers, KilledJobLeavesNoSharedMemoryAndTheNextRuns) {
  const RunFolder folder;
  const std::set<std::string> before = sharedNames();
  RunOptions o;
  o.size = 3;
  o.how = How::kProcesses;
  o.env = {folder.env()};
  o.mayDie = {0, 1, 2};
  for (int round = 0; round < 3; ++round) {
    RankRun run("BusyUntilKilled", o);
    killAllInside(run, o.size);
    EXPECT_EQ(sharedNames(), before);
    o.mayDie.clear();
    expectRanksPass("OneSum", o);
    o.mayDie = {0, 1, 2};
  }
  EXPECT_EQ(sharedNames(), before);
}

TEST(Leftovers, KilledJobsPortIsFreeForTheNextAtOnce) {
  RunOptions o;
  o.size = 2;
  o.how = How::kProcesses;
  const int port = 21000 + getpid() % 8000;
  o.env = {"NCCL_COMM_ID=127.0.0.1:" + std::to_string(port)};
  for (int round = 0; round < 3; ++round) {
    o.args = "busy";
    o.mayDie = {0, 1};
    RankRun run("OneSumAtAFixedPort", o);
    killAllInside(run, o.size);
    o.args = "";
    o.mayDie.clear();
    expectRanksPass("OneSumAtAFixedPort", o);
  }
}

}  // namespace
}  // namespace ranktest
