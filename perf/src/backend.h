// SPDX-License-Identifier: Apache-2.0
// What the benchmark needs of a communication library, so that every library is timed by the same
// loop over the same buffers. One Backend serves one thread; it may hold several ranks.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "cases.h"
#include "device_memory.h"

namespace flexlink::perf {

// One rank's part of one collective. Pointers are the final ones, in place or not.
struct Call {
  Collective collective = Collective::kAllReduce;
  Type type = Type::kFloat;
  Op op = Op::kSum;
  int root = 0;
  size_t count = 0;  // as the library's function takes it (Shape::count)
  const void* send = nullptr;
  void* recv = nullptr;
};

// Functions return false when the library refused; error() then says what it said.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string name() const = 0;  // library and version
  virtual int ranks() const = 0;         // of the whole job
  virtual int firstRank() const = 0;     // of this thread
  virtual int localRanks() const { return 1; }

  // Empty when (collective, type, op) can run; else why not.
  virtual std::string refusal(const Call& call) const = 0;

  // Starts one collective on all local ranks: calls[i] belongs to rank firstRank() + i. A blocking
  // library has finished it on return.
  virtual bool enqueue(std::span<const Call> calls) = 0;
  virtual bool wait() { return true; }

  // Between the two, calls are issued as one (-m). Libraries without groups run them one by one.
  virtual bool groupStart() { return true; }
  virtual bool groupEnd() { return true; }

  // Where the buffers of local rank `local` live; nullptr: in this process's own memory.
  virtual DeviceMemory* memory(int) const { return nullptr; }

  // A buffer of the library's own kind for local rank `local`, or nullptr where it has none.
  virtual void* allocate(int, size_t) { return nullptr; }

  // Announces a buffer of local rank `local`; symmetric: as a window that all ranks register.
  virtual bool registerBuffer(int, void*, size_t, bool) { return true; }

  virtual std::string error() const = 0;
};

}  // namespace flexlink::perf
