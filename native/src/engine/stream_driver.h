// SPDX-License-Identifier: Apache-2.0
// Drives the streams with work of their own, counters to await and bytes to copy, that belong to no
// communicator: a thread that waits for such a stream, else the engine's thread.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine.h"

namespace flexlink {

class StreamDriver final : public Driven {
 public:
  // The one of this process.
  static StreamDriver& instance();

  // Enqueues it; it is done in its turn although nobody may ever wait for the stream. Any thread.
  Status enqueue(const std::shared_ptr<HostStream>& stream, StreamWork work,
                 Adoption how = Adoption::kSoon);

 private:
  StreamDriver();
  DriveResult driveAll();
  void dropIdle();

  std::mutex driving_;  // held by the thread that drives; guards now_
  std::vector<std::shared_ptr<HostStream>> now_;
  std::mutex mutex_;  // guards streams_; a leaf lock but for those of streams
  std::vector<std::shared_ptr<HostStream>> streams_;
};

}  // namespace flexlink
