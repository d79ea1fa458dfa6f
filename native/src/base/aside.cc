// SPDX-License-Identifier: Apache-2.0
#include "base/aside.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <memory>

namespace flexlink {

Status runAside(std::function<void()> job) {
  auto held = std::make_unique<std::function<void()>>(std::move(job));
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int rc = pthread_create(
      &thread, nullptr,
      [](void* argument) -> void* {
        const std::unique_ptr<std::function<void()>> job(
            static_cast<std::function<void()>*>(argument));
        (*job)();
        return nullptr;
      },
      held.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (rc != 0) return makeStatus(Code::kSystem, "cannot start a thread: %s", strerror(rc));
  (void)held.release();  // the thread's
  pthread_setname_np(thread, "flexlink-aside");
  pthread_detach(thread);
  return {};
}

}  // namespace flexlink
