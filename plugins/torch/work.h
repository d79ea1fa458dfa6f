// SPDX-License-Identifier: Apache-2.0
// What c10d hands to the user for an operation under way.
#pragma once

#include <ATen/core/ivalue.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "communicator.h"
#include "flight_record.h"

namespace flexlink::pytorch {

// A DistBackendError with this text.
std::exception_ptr backendError(const std::string& text);

// What c10d calls an end with this code.
c10d::WorkResult resultOf(ncclResult_t code);

// What an operation is, for people and for waiting.
struct WorkInfo {
  int rank = -1;
  c10d::OpType type = c10d::OpType::UNKNOWN;
  const char* name = "";                 // static: "all_reduce"
  const char* title = nullptr;           // for the profiler, static: "flexlink:all_reduce"
  uint64_t seq = 0;                      // of the collective; of the last one before a message
  uint64_t message = 0;                  // number of the message, from 1; 0: a collective
  int peer = -1;                         // of a message; -1: anybody
  bool uneven = false;                   // every rank's part has a size of its own
  std::shared_ptr<RecordedGroup> group;  // null: it is not recorded
  std::chrono::milliseconds timeout{0};  // of a wait() that names none; 0: the communicator's
  bool blocking = false;                 // the caller waits at once: the call itself may do it
};

// The part that all kinds share: it ends once, and futures end with it. Any thread.
class Work : public c10d::Work {
 public:
  bool isCompleted() override;
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  bool wait(std::chrono::milliseconds timeout) override;
  void synchronize() override { wait(kNoTimeout); }
  std::vector<at::Tensor> result() override { return outputs_; }
  uint64_t getSequencenumber() const override { return info_.seq; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;
  c10::intrusive_ptr<c10::ivalue::Future> getFutureResult() override;

  // Drives the operation for at most `timeout` (negative: no limit, 0: only looks); true: it has
  // ended.
  virtual bool advance(std::chrono::microseconds timeout) = 0;

  // The operation has ended; the first call counts.
  void conclude(std::exception_ptr failure, c10d::WorkResult result);

  c10d::WorkResult outcome() const;  // UNKNOWN before the end
  const WorkInfo& info() const { return info_; }

 protected:
  Work(const WorkInfo& info, std::vector<at::Tensor> inputs, std::vector<at::Tensor> outputs);

  void fail(ncclResult_t code);  // with the library's text; in the thread that heard of it

  // Somebody holds a future: see to it that advance() is called when the operation ends.
  virtual void attend() = 0;

  // Of a receive from anybody, whose message has come.
  virtual int sender() const { return -1; }

  // Whom a wait that is too long was for: " It waits for rank 3." or nothing.
  virtual std::string awaited() const { return {}; }

  bool ended() const { return ended_.load(std::memory_order_acquire); }

  const WorkInfo info_;
  const uint64_t record_;           // FlightRecord's number
  std::vector<at::Tensor> inputs_;  // kept until the end
  std::vector<at::Tensor> outputs_;

 private:
  void attendOnce();
  void writeRecord() const;

  std::atomic<bool> ended_{
      false};  // completed_ for those who need no lock; pairs conclude(), ended()
  // With mutex_ of the base, as completed_ and exception_ are.
  c10d::WorkResult result_ = c10d::WorkResult::UNKNOWN;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
  c10::intrusive_ptr<c10::ivalue::Future> futureResult_;
  bool attended_ = false;
};

// Work that the library numbers on a stream.
class EnqueuedWork final : public Work {
 public:
  // `after` runs once when the operation has succeeded, before anybody hears of it: it moves
  // results from where the library has put them. `inputs` and `outputs` live until then.
  EnqueuedWork(const WorkInfo& info, Ticket ticket, std::shared_ptr<Communicator> comm,
               std::vector<at::Tensor> inputs, std::vector<at::Tensor> outputs,
               std::function<void()> after = nullptr);
  ~EnqueuedWork() override;

  bool advance(std::chrono::microseconds timeout) override;
  using Work::fail;  // for a call that has not been enqueued

 private:
  void attend() override;
  std::string awaited() const override;

  const Ticket ticket_;
  const std::shared_ptr<Communicator> comm_;
  std::mutex afterMutex_;  // guards after_
  std::function<void()> after_;
};

// Several operations that the user waits for as one.
class JointWork final : public Work {
 public:
  JointWork(const WorkInfo& info, std::vector<c10::intrusive_ptr<Work>> parts,
            std::vector<at::Tensor> outputs);

  bool advance(std::chrono::microseconds timeout) override;

 private:
  void attend() override;

  const std::vector<c10::intrusive_ptr<Work>> parts_;
};

}  // namespace flexlink::pytorch
