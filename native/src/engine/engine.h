// SPDX-License-Identifier: Apache-2.0
// The one progress machine of this process for host memory: whoever waits drives the work himself;
// work that nobody drives is taken over by the engine's thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/status.h"
#include "device/host/stream.h"
#include "engine/waiter.h"

namespace flexlink {

enum class DriveResult : uint8_t {
  kIdle,     // no work is left here
  kWaiting,  // work is there, but somebody else is awaited
  kMoved,
  kBusy,  // another thread drives it
};

// Something with work to push forward: a communicator's shell. It lives as long as the process, so
// that a thread may still try to drive a communicator that another thread has just destroyed.
struct Driven {
  // look: also look at deadlines and dead peers. Any thread.
  DriveResult (*drive)(Driven* self, bool look) = nullptr;
  std::atomic<uint32_t> work{0};  // pieces enqueued and not finished; seq_cst, pairs with `listed`
  std::atomic<bool> listed{false};  // in the engine's list; changed with its mutex
  std::atomic<int> attended{0};     // threads that wait and drive; seq_cst, pairs with `work`
};

// Who drives work that was enqueued.
enum class Adoption : uint8_t {
  kNone,    // a caller, who waits for it
  kSoon,    // the engine's thread, after a short time in which a caller may come back and wait
  kAtOnce,  // the engine's thread: who waits for it does so elsewhere, on a stream of a GPU
};

class Engine {
 public:
  // Starts the thread on first use.
  static Result<Engine*> instance();

  // There is work (counted in driven->work already).
  void adopt(Driven* driven, Adoption how);

  // Drives what `stream` waits for until `ticket` is finished or the deadline has passed.
  static Status waitStream(HostStream& stream, uint64_t ticket, Deadline deadline);

 private:
  Engine() = default;
  Status start();
  void loop();
  enum class Left : uint8_t { kNothing, kAttended, kWork };
  bool driveAll(bool look, Left* left);
  bool unattended() const;
  void wake();
  void dropIfIdle(Driven* driven);
  void sleepUntilNeeded();

  friend class Attendance;
  static std::atomic<Engine*> running;  // release when its thread runs, acquire in Attendance

  static constexpr int64_t kGraceNanos = 50'000;

  std::mutex mutex_;  // guards list_
  std::condition_variable needed_;
  std::vector<Driven*> list_;
  std::atomic<bool> asleep_{false};  // set with mutex_; seq_cst, pairs with `attended` and `listed`
  std::atomic<int64_t> lastAdopted_{0};  // relaxed: only delays the engine's thread
};

}  // namespace flexlink
