// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <memory>

namespace flexlink {
namespace {

using Body = std::function<void()>;

void* run(void* argument) {
  const std::unique_ptr<Body> body(static_cast<Body*>(argument));
  (*body)();
  return nullptr;
}

}  // namespace

Status startThread(const char* name, const char* what, std::function<void()> body) {
  auto held = std::make_unique<Body>(std::move(body));
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int rc = pthread_create(&thread, nullptr, run, held.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (rc != 0) {
    return makeStatus(Code::kSystem,
                      "cannot start %s: %s; raise the limit of processes (ulimit -u)", what,
                      strerror(rc));
  }
  (void)held.release();  // the thread's
  pthread_setname_np(thread, name);
  pthread_detach(thread);
  return {};
}

}  // namespace flexlink
