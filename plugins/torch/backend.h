// SPDX-License-Identifier: Apache-2.0
// The c10d backend "flexlink" of one process group: it translates tensors, options and results, and
// decides nothing. Any thread may call; the collectives of a group follow each other in the order
// of the calls, which must be the same on all ranks.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <vector>

#include "capabilities.h"
#include "communicator.h"
#include "gpu_group.h"
#include "point_to_point.h"
#include "tensors.h"
#include "work.h"

namespace flexlink::pytorch {

// What torch takes along when it splits a group, which it copies in Python.
struct GroupOptions final : c10d::Backend::Options {
  using Options::Options;
};

class Backend final : public Announced<c10d::Backend> {
 public:
  // What a group is made of: its store, and how it appears in logs and in `flexlink links`.
  struct Group {
    c10::intrusive_ptr<c10d::Store> store;
    int rank = 0;
    int size = 1;
    std::chrono::milliseconds timeout = kBackendDefaultTimeout;
    std::string name;
    std::vector<int64_t> ranks;  // of the world
    std::string key;             // of this group alone in the store; empty: not agreed yet
    std::string beside;          // tells its meeting from others in the same store
  };

  // All ranks of the group call this.
  static c10::intrusive_ptr<Backend> create(Group group);
  // Over a communicator of these ranks that is there already; its key is agreed.
  Backend(Group group, std::shared_ptr<Communicator> comm);
  ~Backend() override;

  const std::string getBackendName() const override { return "flexlink"; }
  c10::intrusive_ptr<Options> getBackendOptions() override;

  // collectives.cc
  using Tensors = std::vector<at::Tensor>;
  using TensorLists = std::vector<Tensors>;
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;
  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& opts) override;
  WorkPtr allreduce_sparse(Tensors& tensors, const c10d::AllreduceOptions& opts) override;
  WorkPtr allreduce_coalesced(Tensors& tensors,
                              const c10d::AllreduceCoalescedOptions& opts) override;
  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& opts) override;
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& opts) override;
  WorkPtr allgather(TensorLists& outputs, Tensors& inputs,
                    const c10d::AllgatherOptions& opts) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input,
                          const c10d::AllgatherOptions& opts) override;
  WorkPtr allgather_coalesced(TensorLists& outputs, Tensors& inputs,
                              const c10d::AllgatherOptions& opts) override;
  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& opts) override;
  WorkPtr gather(TensorLists& outputs, Tensors& inputs, const c10d::GatherOptions& opts) override;
  WorkPtr scatter(Tensors& outputs, TensorLists& inputs, const c10d::ScatterOptions& opts) override;
  WorkPtr reduce_scatter(Tensors& outputs, TensorLists& inputs,
                         const c10d::ReduceScatterOptions& opts) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& opts) override;
  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& opts) override;
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& outputSplits,
                        std::vector<int64_t>& inputSplits,
                        const c10d::AllToAllOptions& opts) override;
  WorkPtr alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& opts) override;
  WorkPtr barrier(const c10d::BarrierOptions& opts) override;
  WorkPtr send(Tensors& tensors, int to, int tag) override;
  WorkPtr recv(Tensors& tensors, int from, int tag) override;
  WorkPtr recvAnysource(Tensors& tensors, int tag) override;

  // backend.cc
  void startCoalescing() override;
  WorkPtr endCoalescing() override;
  void monitoredBarrier(const c10d::BarrierOptions& opts, bool waitAllRanks) override;
  void setSequenceNumberForGroup() override {}  // it counts from 0 on every rank
  uint64_t getSequenceNumberForGroup() override { return seq_.load(std::memory_order_relaxed); }
  void setTimeout(std::chrono::milliseconds timeout) override;
  c10d::ErrorType getError() override;
  void abort() override;
  void shutdown() override;
  // Those of `ranks` meet anew; the others return at once, with null.
  c10::intrusive_ptr<c10d::Backend> split(const c10::intrusive_ptr<c10d::Store>& store,
                                          const std::vector<int>& ranks,
                                          const c10::intrusive_ptr<Options>& options) override;
  void eagerConnectSingleDevice(at::Device device) override;
  // A virtual from torch 2.10 on.
  virtual c10::intrusive_ptr<c10d::Backend> shrink(const std::vector<int64_t>& excluded, int flags,
                                                   const c10::intrusive_ptr<Options>& options);

  // Tensors in memory that all ranks of a host reach: collectives on them copy less.
  bool supportsTensorAlloc(c10::DeviceIndex device) override;
  at::Tensor allocateTensor(long size, at::TensorOptions options) override;
  std::shared_ptr<c10::Allocator> getMemAllocator() override;

 private:
  WorkInfo info(c10d::OpType type, const char* title);
  WorkInfo messageInfo(c10d::OpType type, const char* title, int peer);
  std::shared_ptr<RecordedGroup> recorded();
  template <typename OpOptions>
  WorkInfo info(c10d::OpType type, const char* title, const OpOptions& opts) {
    WorkInfo what = info(type, title);
    if (opts.timeout != c10d::kUnsetTimeout) what.timeout = opts.timeout;
    what.blocking = !opts.asyncOp && what.timeout.count() == 0;
    return what;
  }
  // On the device of its tensors.
  WorkPtr run(const WorkInfo& info, Tensors inputs, Tensors outputs, const Communicator::Call& call,
              std::function<void()> after = nullptr);
  c10::intrusive_ptr<Work> runOnHost(const WorkInfo& info, Tensors inputs, Tensors outputs,
                                     const Communicator::Call& call, std::function<void()> after);
  static at::Device deviceOf(const WorkInfo& info, const Tensors& some, const Tensors& others);
  GpuGroup& gpu(at::Device device);
  GpuGroup& gpuForCall(at::Device device);
  void joinBatch(GpuGroup* group);
  GpuGroup* gpuIfAny();
  WorkPtr noted(c10::intrusive_ptr<Work> work);
  WorkPtr gatherUneven(const WorkInfo& info, Tensors outputs, const at::Tensor& input);
  WorkPtr reduceScatterUneven(const WorkInfo& info, const at::Tensor& output, Tensors inputs,
                              const c10d::ReduceOp& op);
  WorkPtr exchange(const WorkInfo& info, Tensors inputs, Tensors outputs, Tensors parts,
                   Tensors wholes);
  int peerOf(int rank, const char* what) const;

  const Group group_;
  const std::shared_ptr<Communicator> comm_;
  const std::shared_ptr<Stream> stream_;
  const std::shared_ptr<PointToPoint> messages_;
  std::once_flag recordedOnce_;
  std::shared_ptr<RecordedGroup> recorded_;
  std::atomic<uint64_t> seq_{0};  // collectives so far; relaxed, as the next
  std::atomic<uint64_t> messagesSoFar_{0};
  std::atomic<uint64_t> barriers_{0};  // monitored ones
  std::atomic<uint64_t> splits_{0};    // calls of split(), the same on all ranks
  std::atomic<int64_t> timeoutMillis_;
  std::mutex gpuMutex_;  // guards the next
  std::shared_ptr<GpuGroup> gpu_;
  std::mutex coalescingMutex_;  // guards the next two
  std::thread::id coalescer_;   // who is between the two calls; none: nobody
  std::vector<c10::intrusive_ptr<Work>> coalesced_;
};

}  // namespace flexlink::pytorch
