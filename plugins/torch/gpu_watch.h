// SPDX-License-Identifier: Apache-2.0
// Sees operations on GPUs to their end where nobody waits for them: time limits, errors that a
// communicator hears of between calls, memory that is still in use, records. One thread for the
// process, which sleeps while nothing is under way.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "gpu_work.h"

namespace flexlink::pytorch {

class GpuWatch {
 public:
  static GpuWatch& instance();

  void follow(std::shared_ptr<GpuTrace> trace);

  // All that is under way on the communicator and not over ends with this text; then the
  // communicator is aborted.
  void fail(Communicator& comm, const std::string& why, c10d::WorkResult result);

  bool busy(const Communicator& comm);  // is there anything of it that is not over?

  // Of a trace whose streams have passed it: with what the communicator knows of errors.
  static void conclude(GpuTrace& trace);

 private:
  GpuWatch() = default;
  void loop();
  void look();
  void lookAt(GpuTrace& trace);
  std::vector<std::shared_ptr<GpuTrace>> all();

  std::mutex mutex_;  // guards the rest; a leaf lock
  std::condition_variable some_;
  std::vector<std::shared_ptr<GpuTrace>> traces_;
  bool started_ = false;
};

}  // namespace flexlink::pytorch
