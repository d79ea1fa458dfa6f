// SPDX-License-Identifier: Apache-2.0
// A device's context for the length of a block, on the calling thread; then the caller's again.
#pragma once

#include "drivers/libcuda.h"

namespace flexlink {

class ContextScope {
 public:
  ContextScope(const CudaDriver& driver, CUcontext wanted) : driver_(driver) {
    status_ = driver.run(driver.ctxGetCurrent, &callers_);
    if (!status_.ok() || callers_ == wanted) return;
    status_ = driver.run(driver.ctxSetCurrent, wanted);
    changed_ = status_.ok();
  }
  ~ContextScope() {
    if (changed_) (void)driver_.ctxSetCurrent(callers_);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

  const Status& status() const { return status_; }

 private:
  const CudaDriver& driver_;
  CUcontext callers_ = nullptr;
  bool changed_ = false;
  Status status_;
};

// Lets this thread allocate while some stream of the process is being recorded into a graph, which
// by default forbids it and would spoil the recording.
class CaptureUndisturbed {
 public:
  explicit CaptureUndisturbed(const CudaDriver& driver) : driver_(driver) {
    changed_ = driver.exchangeCaptureMode(&mode_) == kCudaSuccess;
  }
  ~CaptureUndisturbed() {
    if (changed_) (void)driver_.exchangeCaptureMode(&mode_);
  }
  CaptureUndisturbed(const CaptureUndisturbed&) = delete;
  CaptureUndisturbed& operator=(const CaptureUndisturbed&) = delete;

 private:
  const CudaDriver& driver_;
  int mode_ = kCudaCaptureModeRelaxed;
  bool changed_;
};

}  // namespace flexlink
