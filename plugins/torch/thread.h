// SPDX-License-Identifier: Apache-2.0
// Threads of the plugin's own: nobody joins them.
#pragma once

#include <pthread.h>

#include <thread>
#include <utility>

namespace flexlink::pytorch {

// `name`: for debuggers, at most 15 characters.
template <typename Body>
void startThread(const char* name, Body&& body) {
  std::thread thread(std::forward<Body>(body));
  pthread_setname_np(thread.native_handle(), name);
  thread.detach();
}

}  // namespace flexlink::pytorch
