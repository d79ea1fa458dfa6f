// SPDX-License-Identifier: Apache-2.0
#include "engine/stream_driver.h"

#include <algorithm>

#include "device/host/exchange.h"
#include "engine/fd_bell.h"

namespace flexlink {

StreamDriver& StreamDriver::instance() {
  static StreamDriver* driver = new StreamDriver;  // the engine's thread may use it for ever
  return *driver;
}

StreamDriver::StreamDriver() {
  drive = [](Driven* self, bool) { return static_cast<StreamDriver*>(self)->driveAll(); };
}

Status StreamDriver::enqueue(const std::shared_ptr<HostStream>& stream, StreamWork work,
                             Adoption how) {
  FLEXLINK_TRY_ASSIGN(Engine * engine, Engine::instance());
  stream->addOwn(std::move(work), this);
  if (!stream->hasOwnWork()) return {};  // done, for nothing was before it
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) {
      streams_.push_back(stream);
      this->work.fetch_add(1, std::memory_order_seq_cst);
    }
  }
  engine->adopt(this, how);
  return {};
}

DriveResult StreamDriver::driveAll() {
  std::unique_lock<std::mutex> driving(driving_, std::try_to_lock);
  if (!driving.owns_lock()) return DriveResult::kBusy;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    now_ = streams_;
  }
  if (now_.empty()) return DriveResult::kIdle;
  bool moved = false;
  for (const auto& stream : now_) {
    moved = stream->work() || moved;
    if (stream->awaitsCounter()) nobodyRings = true;  // whoever writes it may be another process
  }
  now_.clear();
  dropIdle();
  if (moved) ringOwnDoorbell();  // who drives what lies behind them may sleep
  return moved ? DriveResult::kMoved : DriveResult::kWaiting;
}

// Whatever is enqueued after this look puts its stream on the list again.
void StreamDriver::dropIdle() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto dropped = std::erase_if(streams_, [](const auto& stream) { return !stream->hasOwnWork(); });
  work.fetch_sub(static_cast<uint32_t>(dropped), std::memory_order_seq_cst);
}

}  // namespace flexlink
