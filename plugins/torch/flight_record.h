// SPDX-License-Identifier: Apache-2.0
// The last operations of this process as torch's flight recorder keeps those of torch's own
// backends, for torch's analyzer (torch.distributed.flight_recorder) to read. Settings are torch's:
// TORCH_FR_BUFFER_SIZE says how many are kept (2000; 0: none), TORCH_FR_DUMP_TEMP_FILE where a dump
// goes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

namespace torch {
struct CapturedTraceback;
}

namespace flexlink::pytorch {

struct WorkInfo;

// What the record says of a process group.
struct RecordedGroup {
  RecordedGroup(std::string name, std::string description, std::vector<int64_t> ranks);

  const int64_t number;  // of this process
  const std::string name;
  const std::string description;
  const std::vector<int64_t> ranks;  // of the world
  // Collectives so far; relaxed, for people.
  std::atomic<int64_t> enqueued{-1};
  std::atomic<int64_t> completed{-1};
};

// Any thread.
class FlightRecord {
 public:
  static FlightRecord& instance();

  // The number of the entry; 0: nothing is kept of it, as where it belongs to no group.
  uint64_t begin(const WorkInfo& what, const std::vector<at::Tensor>& inputs,
                 const std::vector<at::Tensor>& outputs);

  // `peer`: of a receive from anybody, whose message it was.
  void end(uint64_t number, bool success, int peer = -1);

  // A pickled dictionary of torch's version 2.10. `frames`: with the Python stacks of the callers,
  // for which it takes the GIL.
  std::string dump(bool frames, bool onlyActive);

  // At the first failure of the process, where the environment says that and where: to the file of
  // this rank of the world, or to whatever writer was registered with torch.
  void writeOnce(int64_t rank);

 private:
  // A place of the ring. The operation that comes into it uses the memory of the one before, so
  // that a call allocates nothing here.
  struct Entry {
    uint64_t number = 0;
    std::shared_ptr<RecordedGroup> group;
    const char* name = "";  // static
    bool uneven = false;
    uint64_t collective = 0;
    uint64_t message = 0;
    int rank = -1;
    int peer = -1;
    c10d::OpType type = c10d::OpType::UNKNOWN;
    int64_t timeoutMillis = 0;
    std::vector<std::vector<int64_t>> inputs, outputs;
    std::vector<c10::ScalarType> inputTypes, outputTypes;
    int64_t created = 0;  // ns since 1970, as the next
    int64_t completed = 0;
    bool retired = false;
    std::shared_ptr<torch::CapturedTraceback> stack;
    void take(uint64_t number, const WorkInfo& what);
    void shape(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to);
    std::string profilingName() const;
    c10::IValue asValue() const;
  };

  FlightRecord();
  Entry& next();  // with mutex_
  std::vector<Entry> inOrder();

  const size_t most_;
  std::mutex mutex_;  // guards the next two; a leaf lock
  std::vector<Entry> ring_;
  uint64_t last_ = 0;
  std::atomic<bool> written_{false};
};

}  // namespace flexlink::pytorch
