// SPDX-License-Identifier: Apache-2.0
// What an ncclComm_t points to. A shell is never freed (some 300 bytes; it serves again later): a
// thread that comes late with a destroyed communicator finds that out instead of reading freed
// memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>

#include "comm/communicator.h"
#include "engine/engine.h"

struct ncclComm : flexlink::Driven {
  enum class State : uint8_t { kConnecting, kReady, kFailed, kGone };

  // Takes the progress lock; who holds it may drive. Abort takes it last of all.
  bool tryLock() { return !locked.exchange(true, std::memory_order_acquire); }
  void unlock() { locked.store(false, std::memory_order_release); }

  std::atomic<uint64_t> magic{kMagic};           // 0: destroyed
  bool blocking = true;                          // set before the handle is given out
  std::shared_ptr<flexlink::CudaDevice> gpu;     // likewise; null: on host memory
  std::atomic<bool> locked{false};               // acquire in tryLock, release in unlock
  std::atomic<State> state{State::kConnecting};  // release after impl is set, acquire by callers

  // Guards impl against destruction while another thread (abort, async error) looks at it, and
  // carries the wait for creation. Order: `locked` before `life`.
  std::mutex life;
  std::condition_variable changed;
  std::unique_ptr<flexlink::Communicator> impl;
  flexlink::Status creationFailure;
  std::function<void()> cancelCreation;  // any thread, with `life`

  static constexpr uint64_t kMagic = 0x4d4f434b4e494c46;  // "FLINKCOM"
};

namespace flexlink {

ncclComm* newShell();

// The communicator is out of it, nobody will be given this handle again for some time.
void retireShell(ncclComm* shell);

// The shell behind a handle: nullptr for what is no communicator of ours.
ncclComm* shellOf(ncclComm_t handle);

// Holds the progress lock of a shell, waiting for it in turns with whoever drives.
class ShellLock {
 public:
  explicit ShellLock(ncclComm* shell);
  ~ShellLock() { shell_->unlock(); }
  ShellLock(const ShellLock&) = delete;
  ShellLock& operator=(const ShellLock&) = delete;

 private:
  ncclComm* shell_;
};

// Hands work on streams to the communicator.
Status submit(ncclComm* shell, std::unique_ptr<PendingBatch> pending, Adoption how);

// Ends the communicator, also while it is being created. Work on streams ends with an error.
void abortShell(ncclComm* shell);

// drain(communicator) first: waits for what has to be done before it goes.
void destroyShell(ncclComm* shell, void (*drain)(Communicator&));

// True in a child that was forked after the library had started: nothing of it works there.
bool inForkedChild();
void guardAgainstFork();

}  // namespace flexlink
