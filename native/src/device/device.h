// SPDX-License-Identifier: Apache-2.0
// Where buffers live, who copies them and who adds numbers: host memory and the CPU, or one GPU.
// The third seam beside Lane and Link, wide and boring: one function for each call of a driver.
// What orders work on it are monotonic 64-bit counters in host memory, written and awaited by
// streams and by CPUs alike.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "device/host/kernels.h"

namespace flexlink {

enum class MemoryKind : uint8_t {
  kHost,     // pageable: a copy engine goes through a buffer of its driver
  kPinned,   // of the host, and copy engines reach it
  kDevice,   // of a GPU
  kManaged,  // moves between the two
};

// Names memory of one process to another one of this host. Opaque; travels as bytes, and only to
// whom this process trusts: it opens the memory.
using MemoryHandle = std::array<uint8_t, 96>;

// What the C API calls a cudaStream_t: ours, or the user's. Work on it is done in order, without
// blocking who enqueues it.
using StreamHandle = void*;

// Any thread, but a stream by one at a time. Nothing here waits for a stream, nothing allocates on
// the device but allocate(), makeStream(), pin() and open(): those belong to set-up.
class Device {
 public:
  virtual ~Device() = default;

  virtual const char* name() const = 0;  // "host", "cuda"

  // Of the host memory that is nearest; -1: not known.
  virtual int numaNode() const = 0;

  virtual Result<MemoryKind> memoryOf(const void* pointer) = 0;

  // Host memory that copies and counters of this device are to reach: whole pages, once each;
  // unpin() takes the same start.
  virtual Status pin(void* begin, size_t bytes) = 0;
  virtual Status unpin(void* begin) = 0;

  // Memory of this device that share() takes. Set-up.
  virtual Result<void*> allocate(size_t bytes) = 0;
  virtual Status release(void* allocated) = 0;

  // Memory of this device (on host memory: from allocate() or ncclMemAlloc) for another process,
  // which opens it and closes what open() gave it. open() answers for the address that was shared,
  // not for the start of its allocation, may take seconds where the peer is slow, and is not for
  // the control thread.
  virtual Result<MemoryHandle> share(const void* pointer) = 0;
  virtual Result<void*> open(const MemoryHandle& handle) = 0;
  virtual Status close(void* opened) = 0;

  // Of the highest priority, apart from every other stream. Free it when query() has said that
  // nothing is left to do on it.
  virtual Result<StreamHandle> makeStream() = 0;
  virtual Status freeStream(StreamHandle stream) = 0;

  // ok: all that was enqueued is done; kInProgress; else what has failed. Never waits.
  virtual Status query(StreamHandle stream) = 0;

  // Between any two kinds of memory. Both stay as they are until it is done.
  virtual Status copy(StreamHandle stream, void* dst, const void* src, size_t bytes) = 0;

  // *at = value, after all that was enqueued before and with its effects: whoever reads the value
  // (acquire) sees them. `at`: pinned, 8 bytes, aligned.
  virtual Status writeValue(StreamHandle stream, uint64_t* at, uint64_t value) = 0;

  // What is enqueued from now on starts when *at >= value. Somebody must see to it that it comes:
  // a stream that waits cannot be stopped.
  virtual Status waitValue(StreamHandle stream, const uint64_t* at, uint64_t value) = 0;

  // As fold() of kernels.h; the lists that `args` points to are copied, the elements are not.
  virtual Status fold(StreamHandle stream, const FoldArgs& args) = 0;

  // Is the stream being recorded into a graph instead of being worked on?
  virtual Result<bool> capturing(StreamHandle stream) = 0;

  // Where no hardware does the work of the streams that makeStream() has made, the caller does here
  // what can be done now. True: something was done.
  virtual bool drive() = 0;
};

}  // namespace flexlink
