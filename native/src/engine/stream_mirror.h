// SPDX-License-Identifier: Apache-2.0
// A stream that is not ours, of a GPU or of another library, as an order of work of ours: what a
// communicator is to do on it lies on a stream of the host, and two counters tie the two together.
// The other stream carries nothing of a collective but a start fence and an end fence.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "device/device.h"
#include "device/host/stream.h"

namespace flexlink {

struct VendorApi;

class StreamMirror {
 public:
  // The one of this stream, for as long as the process lives: a stream may read a counter when
  // nobody knows it any more. Of a device: the counters are pinned at the first call, and it is
  // kInvalidUsage while the stream is being recorded into a graph.
  static Result<StreamMirror*> of(const std::shared_ptr<Device>& device, StreamHandle stream);

  // Of a copy of this library that stands in for the vendor; it must have counters on its streams.
  static Result<StreamMirror*> of(const VendorApi& vendor, StreamHandle stream);

  const std::shared_ptr<HostStream>& order() const { return order_; }

  // What is put on order() from now on begins when the other stream has come to where it is now.
  Status begin();

  // Calls listener(argument) once when the other stream has come to where it is now; by whoever
  // sees that, which may be a nap later.
  Status mark(HostStream::Listener listener, void* argument);

  // What is put on the other stream from now on begins when all that is on order() is over, however
  // it ends.
  Status end();

 private:
  // As Device has them, of one stream.
  using WriteValue = std::function<Status(uint64_t* at, uint64_t value)>;
  using WaitValue = std::function<Status(const uint64_t* at, uint64_t value)>;
  struct Fences {  // each on a line of its own, of one page
    alignas(64) uint64_t begun;
    alignas(64) uint64_t ended;
    alignas(64) uint64_t marked;
  };

  StreamMirror(Fences* fences, WriteValue write, WaitValue wait)
      : fences_(fences),
        write_(std::move(write)),
        wait_(std::move(wait)),
        order_(std::make_shared<HostStream>()),
        marks_(std::make_shared<HostStream>()) {}
  static StreamMirror* find(const void* owner, StreamHandle stream);
  static StreamMirror* keep(const void* owner, StreamHandle stream,
                            std::unique_ptr<StreamMirror> made);
  static Fences* makeFences();

  Fences* const fences_;
  const WriteValue write_;
  const WaitValue wait_;
  const std::shared_ptr<HostStream> order_;
  const std::shared_ptr<HostStream> marks_;  // waits for nothing else
  std::mutex mutex_;  // guards the rest, and that both sides get fences in the same order
  uint64_t begins_ = 0;
  uint64_t ends_ = 0;
  uint64_t marked_ = 0;
};

}  // namespace flexlink
