// SPDX-License-Identifier: Apache-2.0
// A buffer of the device that communicators are on, and its copy for the test.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "support/check.h"
#include "support/gpu.h"

namespace ranktest {

class Numbers {
 public:
  explicit Numbers(size_t count, int32_t value = 0) : host(count, value), gpu_(Gpu::use()) {
    if (gpu_ == nullptr) return;
    onGpu_ = gpu_->allocate(std::max<size_t>(bytes(), 1));
    upload();
  }
  ~Numbers() {
    if (gpu_ != nullptr) gpu_->free(onGpu_);
  }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;

  size_t count() const { return host.size(); }
  size_t bytes() const { return host.size() * sizeof(int32_t); }
  void* at() { return gpu_ == nullptr ? host.data() : onGpu_; }  // for the library

  void upload() {
    if (gpu_ != nullptr) gpu_->copy(onGpu_, host.data(), bytes());
  }
  void download() {
    if (gpu_ != nullptr) gpu_->copy(host.data(), onGpu_, bytes());
  }
  void checkAll(int32_t value) {
    download();
    for (int32_t each : host) RANK_EQ(each, value);
  }

  std::vector<int32_t> host;

 private:
  Gpu* const gpu_;
  void* onGpu_ = nullptr;
};

}  // namespace ranktest
