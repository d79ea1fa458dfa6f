// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <time.h>

#include <algorithm>

#include "base/settings.h"
#include "base/thread.h"
#include "device/host/exchange.h"

namespace flexlink {
namespace {

// How long the thread stays awake for the next piece of work; below the time at which a Waiter
// sleeps.
constexpr int64_t kAwakeNanos = 200'000;

}  // namespace

WaitPolicy waitPolicy(bool oversubscribed) {
  WaitPolicy policy =
      oversubscribed ? WaitPolicy{4, 0, 1'000'000} : WaitPolicy{64, 50'000, 500'000};
  if (settings().spinMicros >= 0) {
    policy.spinNanos = settings().spinMicros * 1000;
    policy.yieldNanos = policy.spinNanos + 200'000;
  }
  return policy;
}

Result<Engine*> Engine::instance() {
  static std::mutex mutex;          // guards the first start
  static Engine* engine = nullptr;  // never destroyed: exit does not wait for the thread
  std::lock_guard<std::mutex> lock(mutex);
  if (engine == nullptr) {
    FLEXLINK_TRY_ASSIGN([[maybe_unused]] const ProcessCard* card, myProcessCard());  // the doorbell
    auto fresh = std::unique_ptr<Engine>(new Engine);
    FLEXLINK_TRY(fresh->start());
    engine = fresh.release();
    running.store(engine, std::memory_order_release);
  }
  return engine;
}

Status Engine::start() {
  return startThread("flexlink-engine", "the engine's thread", [this] { loop(); });
}

void Engine::adopt(Driven* driven, Adoption how) {
  if (how == Adoption::kNone) return;
  if (how == Adoption::kSoon) lastAdopted_.store(nowNanos(), std::memory_order_relaxed);
  if (!driven->listed.load(std::memory_order_seq_cst)) {  // pairs with dropIfIdle
    std::lock_guard<std::mutex> lock(mutex_);
    if (!driven->listed.exchange(true, std::memory_order_seq_cst)) list_.push_back(driven);
  }
  // Also where it was listed: the thread sleeps beside work that somebody else attends to, and who
  // has enqueued this may never wait for it.
  if (asleep_.load(std::memory_order_seq_cst) && asleep_.exchange(false)) wake();
}

// Either we see the work that came meanwhile, or its adopt() sees `listed` cleared.
void Engine::dropIfIdle(Driven* driven) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (driven->work.load(std::memory_order_seq_cst) != 0) return;
  driven->listed.store(false, std::memory_order_seq_cst);
  if (driven->work.load(std::memory_order_seq_cst) != 0) {
    driven->listed.store(true, std::memory_order_seq_cst);
    return;
  }
  std::erase(list_, driven);
}

bool Engine::driveAll(bool look, Left* left) {
  std::vector<Driven*> now;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    now = list_;
  }
  bool moved = false;
  for (Driven* driven : now) {
    if (driven->attended.load(std::memory_order_seq_cst) != 0) continue;
    DriveResult result = driven->drive(driven, look);
    moved = moved || result == DriveResult::kMoved;
    if (result == DriveResult::kIdle) dropIfIdle(driven);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  *left = list_.empty() ? Left::kNothing : unattended() ? Left::kWork : Left::kAttended;
  return moved;
}

std::atomic<Engine*> Engine::running{nullptr};

// Without work the thread sleeps apart from the doorbell: it must not be what makes peers' rings
// cost a system call.
void Engine::sleepUntilNeeded() {
  std::unique_lock<std::mutex> lock(mutex_);
  asleep_.store(true, std::memory_order_seq_cst);
  needed_.wait(lock, [this] { return !asleep_.load(std::memory_order_seq_cst) || unattended(); });
  asleep_.store(false, std::memory_order_seq_cst);
}

// With the mutex: is there something in the list that nobody else drives?
bool Engine::unattended() const {
  return std::any_of(list_.begin(), list_.end(), [](const Driven* driven) {
    return driven->attended.load(std::memory_order_seq_cst) == 0;
  });
}

void Engine::wake() {
  std::lock_guard<std::mutex> lock(mutex_);
  needed_.notify_one();
}

// While it stands at something, the engine's thread leaves that to the thread which waits: two that
// take turns would fight for the lock, and for the core where both are pinned to one.
class Attendance {
 public:
  Attendance() = default;
  Attendance(const Attendance&) = delete;
  Attendance& operator=(const Attendance&) = delete;
  ~Attendance() { standAt(nullptr); }

  void standAt(Driven* driven) {
    if (driven == at_) return;
    if (driven != nullptr) driven->attended.fetch_add(1, std::memory_order_seq_cst);
    if (at_ != nullptr && at_->attended.fetch_sub(1, std::memory_order_seq_cst) == 1 &&
        at_->work.load(std::memory_order_seq_cst) != 0) {
      Engine* engine = Engine::running.load(std::memory_order_acquire);
      if (engine != nullptr) engine->wake();
    }
    at_ = driven;
  }

 private:
  Driven* at_ = nullptr;
};

void Engine::loop() {
  Waiter waiter(waitPolicy(false));
  int64_t grace = kGraceNanos;
  for (;;) {
    int64_t age = nowNanos() - lastAdopted_.load(std::memory_order_relaxed);
    if (age < grace) {
      // The caller that has just enqueued may be about to wait, and then drives faster than we
      // could; the longer he keeps to that, the less we disturb him.
      timespec rest{0, grace - age};
      nanosleep(&rest, nullptr);
    }
    Left left = Left::kNothing;
    if (driveAll(waiter.lookDue(), &left)) {
      grace = kGraceNanos;
      waiter.moved();
      continue;
    }
    if (left != Left::kWork) grace = std::min(2 * grace, 16 * kGraceNanos);
    bool longIdle = waiter.sinceNanos() != 0 && nowNanos() - waiter.sinceNanos() > kAwakeNanos;
    if (left == Left::kAttended || (left == Left::kNothing && longIdle)) {
      sleepUntilNeeded();
      waiter.moved();
      continue;
    }
    waiter.idle(myDoorbell(), [this] {
      Left rest = Left::kNothing;
      return !driveAll(false, &rest) && rest == Left::kWork;
    });
  }
}

namespace {

// What this thread has waited for until its deadline: who waits in slices (Python does, to obey
// Ctrl-C) is to sleep in the second one.
thread_local struct {
  const HostStream* stream = nullptr;
  uint64_t ticket = 0;
} unfinished;

}  // namespace

Status Engine::waitStream(HostStream& stream, uint64_t ticket, Deadline deadline) {
  Waiter waiter(waitPolicy(false));
  if (unfinished.stream == &stream && unfinished.ticket == ticket) waiter.goOn();
  unfinished = {};
  Attendance attendance;
  for (;;) {
    if (stream.finished() >= ticket) return {};
    Driven* driven = stream.blocker();
    attendance.standAt(driven);
    DriveResult result = driven != nullptr
                             ? driven->drive(driven, waiter.lookDue())
                             : (stream.refresh() ? DriveResult::kMoved : DriveResult::kWaiting);
    if (result == DriveResult::kMoved) {
      waiter.moved();
      continue;
    }
    if (stream.finished() >= ticket || stream.refresh()) continue;
    if (result == DriveResult::kBusy) sched_yield();  // whoever drives may need this core
    if (deadline.passed()) {
      unfinished = {&stream, ticket};
      return Status::inProgress();
    }
    waiter.idle(
        myDoorbell(),
        [&] {
          if (stream.finished() >= ticket || deadline.passed()) return false;
          return driven == nullptr || driven->drive(driven, false) != DriveResult::kMoved;
        },
        std::min(WaitPolicy::kSleepNanos, deadline.remainingNanos()));
  }
}

}  // namespace flexlink
