// SPDX-License-Identifier: Apache-2.0
#include "comm/shell.h"

#include <pthread.h>
#include <stdlib.h>

#include <deque>
#include <unordered_set>

#include "comm/creation.h"

namespace flexlink {
namespace {

// All shells ever made, so that a leak checker finds them and the exit handler can say good-bye.
struct Shells {
  std::mutex mutex;  // guards both
  std::unordered_set<ncclComm*> all;
  std::deque<ncclComm*> retired;  // oldest first
};

// A shell serves again only after so many others were destroyed: a stale handle is found out as
// long as it is not very stale, and a program that makes communicators for ever does not grow.
constexpr size_t kQuarantine = 32;

Shells& shells() {
  static Shells* shells = new Shells;
  return *shells;
}

constinit std::atomic<bool> forked{false};  // relaxed: set in a child that has one thread

DriveResult driveShell(Driven* self, bool look) {
  auto* shell = static_cast<ncclComm*>(self);
  if (!shell->tryLock()) return DriveResult::kBusy;
  DriveResult result = shell->impl ? shell->impl->drive(look) : DriveResult::kIdle;
  shell->unlock();
  return result;
}

// A process that ends without destroying its communicators has left, not died.
void sayGoodBye() {
  if (forked.load(std::memory_order_relaxed)) return;
  std::lock_guard<std::mutex> lock(shells().mutex);
  for (ncclComm* shell : shells().all) {
    if (!shell->life.try_lock()) continue;
    if (shell->impl) shell->impl->leave();
    shell->life.unlock();
  }
}

// Takes the communicator out of its shell and destroys it; nobody drives it any more.
void dismantle(ncclComm* shell) {
  std::unique_ptr<Communicator> gone;
  {
    ShellLock lock(shell);
    std::lock_guard<std::mutex> life(shell->life);
    gone = std::move(shell->impl);
  }
  gone.reset();
  retireShell(shell);
}

}  // namespace

ncclComm* newShell() {
  std::lock_guard<std::mutex> lock(shells().mutex);
  if (shells().retired.size() > kQuarantine) {
    ncclComm* shell = shells().retired.front();
    shells().retired.pop_front();
    std::lock_guard<std::mutex> life(shell->life);
    shell->creationFailure = Status();
    shell->gpu = nullptr;
    shell->state.store(ncclComm::State::kConnecting, std::memory_order_release);
    shell->magic = ncclComm::kMagic;
    return shell;
  }
  auto* shell = new ncclComm;
  shell->drive = driveShell;
  shells().all.insert(shell);
  return shell;
}

void retireShell(ncclComm* shell) {
  std::lock_guard<std::mutex> lock(shells().mutex);
  {
    std::lock_guard<std::mutex> life(shell->life);
    shell->state.store(ncclComm::State::kGone, std::memory_order_release);
    shell->magic = 0;
  }
  shells().retired.push_back(shell);
}

ncclComm* shellOf(ncclComm_t handle) {
  // Followed only when it is known to be a shell: a handle may be any number. Shells live for ever,
  // so the last one that a thread used needs no second look.
  thread_local constinit ncclComm* known = nullptr;
  if (handle == nullptr) return nullptr;
  if (handle != known) {
    std::lock_guard<std::mutex> lock(shells().mutex);
    if (shells().all.count(handle) == 0) return nullptr;
    known = handle;
  }
  return handle->magic == ncclComm::kMagic ? handle : nullptr;
}

ShellLock::ShellLock(ncclComm* shell) : shell_(shell) {
  if (shell->tryLock()) return;
  Waiter waiter(waitPolicy(false));
  while (!shell->tryLock()) {
    // Whoever unlocks rings no bell: the sleeps are short.
    waiter.idle(
        myDoorbell(), [] { return true; }, 1'000'000);
  }
}

Status submit(ncclComm* shell, std::unique_ptr<PendingBatch> pending, Adoption how) {
  FLEXLINK_TRY_ASSIGN(Engine * engine, Engine::instance());
  std::lock_guard<std::mutex> lock(shell->life);
  if (!shell->impl) return makeStatus(Code::kInvalidArgument, "the communicator was destroyed");
  FLEXLINK_TRY(shell->impl->usable());
  for (PendingBatch::Fence& fence : pending->fences) fence.ticket = fence.stream->add(shell);
  shell->impl->enqueue(std::move(pending));
  engine->adopt(shell, how);
  return {};
}

void abortShell(ncclComm* shell) {
  {
    std::lock_guard<std::mutex> life(shell->life);
    if (shell->cancelCreation) shell->cancelCreation();
  }
  (void)awaitCreation(shell);
  {
    std::lock_guard<std::mutex> life(shell->life);
    if (shell->impl) shell->impl->abort();
  }
  {
    ShellLock lock(shell);
    if (shell->impl) shell->impl->drainOrFail();  // work on streams ends with the error
  }
  dismantle(shell);
}

void destroyShell(ncclComm* shell, void (*drain)(Communicator&)) {
  (void)awaitCreation(shell);
  {
    ShellLock lock(shell);
    if (shell->impl) drain(*shell->impl);
  }
  dismantle(shell);
}

bool inForkedChild() { return forked.load(std::memory_order_relaxed); }

void guardAgainstFork() {
  static const bool once = [] {
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
    atexit(sayGoodBye);
    return true;
  }();
  (void)once;
}

}  // namespace flexlink
