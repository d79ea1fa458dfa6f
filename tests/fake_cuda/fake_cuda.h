// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 without a GPU, for tests: every call is noted, host memory stands for a device's,
// streams do their work at once, and any function can be told to fail. Built twice: whole, and as
// an older driver (FAKE_CUDA_OLD) that lacks functions and exports some under no name.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "drivers/libcuda_types.h"

namespace flexlink::test {

// What a test scripts and reads; lives in the fake library. One thread.
struct FakeCuda {
  std::vector<std::string> calls;      // "name" or "name argument ...", in order
  std::map<std::string, int> results;  // exported name: what it gives instead of working
  std::map<int, int> attributes;       // of the only device
  CUcontext current = nullptr;         // the calling thread's context
  struct Block {
    CUdeviceptr begin = 0;
    size_t bytes = 0;
    unsigned memoryType = kCudaMemoryDevice;
    bool managed = false;
  } block;  // the one allocation that the driver knows
  int captureStatus = kCudaCaptureNone;
  int captureMode = 0;       // of the calling thread
  bool streamsBusy = false;  // cuStreamQuery and cuEventQuery say "not ready"
  std::function<void(const char* kernel, void** parameters)> launch;  // what a kernel does
  std::deque<std::string> names;

  // A text that stays where it is.
  const char* keepName(const char* name) { return names.emplace_back(name).c_str(); }

  // Forgets everything.
  void reset() { *this = FakeCuda(); }

  // The calls so far, joined with "; ", and forgets them.
  std::string takeCalls() {
    std::string joined;
    for (const auto& call : calls) joined += (joined.empty() ? "" : "; ") + call;
    calls.clear();
    return joined;
  }
};

// The primary context of the fake's only device, and a context that is the caller's own.
inline CUcontext fakePrimary() { return reinterpret_cast<CUcontext>(0x100); }
inline CUcontext fakeOther() { return reinterpret_cast<CUcontext>(0x200); }

// Of the fake library at `path`, which is opened if it is not yet.
inline FakeCuda& fakeCudaOf(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  auto* get = reinterpret_cast<FakeCuda* (*)()>(dlsym(library, "fakeCuda"));
  return *get();
}

}  // namespace flexlink::test
