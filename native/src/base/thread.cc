// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <memory>

namespace flexlink {
namespace {

struct Start {
  const char* name;
  std::function<void()> body;
};

void* run(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  pthread_setname_np(pthread_self(), start->name);
  start->body();
  return nullptr;
}

// Detached from its first moment on: nobody joins it, even when the process ends right away.
int createDetached(pthread_t* thread, Start* start) {
  pthread_attr_t attributes;
  int rc = pthread_attr_init(&attributes);
  if (rc != 0) return rc;
  rc = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (rc == 0) rc = pthread_create(thread, &attributes, run, start);
  pthread_attr_destroy(&attributes);
  return rc;
}

}  // namespace

Status startThread(const char* name, const char* what, std::function<void()> body) {
  auto start = std::make_unique<Start>(Start{name, std::move(body)});
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int rc = createDetached(&thread, start.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (rc != 0) {
    return makeStatus(Code::kSystem,
                      "cannot start %s: %s; raise the limit of processes (ulimit -u)", what,
                      strerror(rc));
  }
  (void)start.release();  // the thread's
  return {};
}

}  // namespace flexlink
