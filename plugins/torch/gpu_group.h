// SPDX-License-Identifier: Apache-2.0
// A process group on a GPU: communicators, and the streams that they work on. As with torch's own
// backend for GPUs, an operation starts behind what the caller's stream holds, and Work.wait() puts
// what the caller's stream does next behind it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gpu_work.h"
#include "meeting.h"

namespace flexlink::pytorch {

// Any thread. One GPU for each rank.
class GpuGroup : public std::enable_shared_from_this<GpuGroup> {
 public:
  using Tensors = std::vector<at::Tensor>;
  using WorkPtr = c10::intrusive_ptr<GpuWork>;

  // The ranks meet at their first operation of all ranks.
  GpuGroup(Meeting meeting, c10::Device device, std::chrono::milliseconds timeout);
  ~GpuGroup();

  c10::Device device() const { return device_; }

  void connect() { whole(); }  // the ranks meet now
  bool connected() { return wholeIfMet() != nullptr; }

  // `after` follows the operation on its stream.
  WorkPtr run(const WorkInfo& info, Tensors inputs, Tensors outputs, const Communicator::Call& call,
              std::function<void()> after);

  // Between two ranks, in the order of the calls on both, without tags. Outside a batch over a
  // communicator of the two alone, which the first message makes, and nobody waits meanwhile: the
  // others need not come, and on a ring each may send first.
  WorkPtr send(const WorkInfo& info, const at::Tensor& tensor, int to);
  WorkPtr receive(const WorkInfo& info, const at::Tensor& tensor, int from);

  // What is called until closeBatch() becomes one group of the library's and one piece of work,
  // `info`'s, which each of those calls gives.
  void openBatch(const WorkInfo& info);
  bool inBatch();
  WorkPtr closeBatch();

  void setTimeout(std::chrono::milliseconds timeout);
  ncclResult_t asyncError();  // ncclSuccess before the ranks have met
  void close();               // waits for the work
  void abort();
  void abandon();  // nobody waits any longer for ranks that have not come

 private:
  struct Pair {
    std::mutex mutex;                          // guards the next three; before order_
    std::shared_ptr<Communicator> comm;        // null: the two have not met
    std::vector<std::function<void()>> later;  // messages until then, in their order
    std::exception_ptr failure;                // why they never will
    c10::Stream sends;
    c10::Stream receives;
  };

  std::shared_ptr<Communicator> join(const Meeting& meeting) const;
  void awaitRanks(const Meeting& meeting) const;
  std::shared_ptr<Communicator> whole();
  std::shared_ptr<Communicator> wholeIfMet();
  c10::Stream newStream() const;
  WorkPtr message(const WorkInfo& info, Tensors inputs, Tensors outputs, int peer, bool sends);
  std::shared_ptr<Pair> pairWith(int peer);
  void meetPeer(const std::shared_ptr<Pair>& pair, const Meeting& two);
  c10::Event now() const;
  void enqueue(const std::shared_ptr<Communicator>& comm, const c10::Stream& stream,
               const c10::Event& start, const WorkPtr& work, const Communicator::Call& call,
               std::function<void()> after);
  WorkPtr addToBatch(const WorkInfo& info, const Tensors& inputs, const Tensors& outputs,
                     const Communicator::Call& call, std::function<void()> after);
  void finish(const std::shared_ptr<Communicator>& comm, const c10::Stream& stream,
              const WorkPtr& work);
  void limit(Communicator* comm);
  std::chrono::milliseconds limitOf(const WorkInfo& info) const;
  std::vector<std::shared_ptr<Communicator>> communicators();

  const Meeting meeting_;
  const c10::Device device_;
  std::atomic<bool> abandoned_{false};  // relaxed: it is looked at again and again
  std::atomic<int64_t> timeoutMillis_;  // relaxed
  std::atomic<bool> ownLimit_{false};   // the library itself ends what does not move; relaxed
  std::mutex meetingMutex_;             // held while the ranks meet
  std::mutex wholeMutex_;               // guards the next
  std::shared_ptr<Communicator> whole_;
  const c10::Stream stream_;
  std::mutex order_;  // guards the batch; operations reach their stream in the order of the calls
  WorkPtr batch_;
  std::thread::id batchThread_;  // groups are a thread's
  std::vector<std::function<void()>> batchAfter_;
  std::mutex pairsMutex_;  // guards pairs_
  std::map<int, std::shared_ptr<Pair>> pairs_;
};

}  // namespace flexlink::pytorch
