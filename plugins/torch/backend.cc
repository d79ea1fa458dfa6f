// SPDX-License-Identifier: Apache-2.0
// A group's life: how it is made, its settings, its end.
#include "backend.h"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string_view>

namespace flexlink::pytorch {
namespace {

constexpr size_t kPrefix = sizeof("flexlink:") - 1;

// torchrun's store outlives an attempt, with what a dead one has left there.
std::string idKey() {
  const char* attempt = std::getenv("TORCHELASTIC_RESTART_COUNT");
  return std::string("flexlink/unique_id/") + (attempt != nullptr ? attempt : "0");
}

std::shared_ptr<Communicator> meetOnHost(Backend::Group* group) {
  ncclUniqueId id;
  auto comm =
      meet(hostLibrary(),
           {group->store, idKey() + group->beside, group->rank, group->size, group->name}, &id);
  const std::hash<std::string_view> hash;
  group->key = "flexlink/" + std::to_string(hash({id.internal, sizeof id.internal})) + "/";
  return comm;
}

void freeShared(void* address) { hostLibrary().ncclMemFree(address); }

// Memory of ncclMemAlloc for torch; any thread.
struct SharedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* address = nullptr;
    if (bytes != 0)
      hostLibrary().check(hostLibrary().ncclMemAlloc(&address, bytes), "ncclMemAlloc");
    return {address, address, address != nullptr ? &freeShared : &c10::detail::deleteNothing,
            c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &freeShared; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

bool onCpu(const Backend::Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const at::Tensor& each) { return each.is_cpu(); });
}

std::shared_ptr<SharedAllocator> sharedAllocator() {
  static auto allocator = std::make_shared<SharedAllocator>();
  return allocator;
}

}  // namespace

c10::intrusive_ptr<Backend> Backend::create(Group group) {
  std::shared_ptr<Communicator> comm = meetOnHost(&group);
  return c10::make_intrusive<Backend>(std::move(group), std::move(comm));
}

Backend::Backend(Group group, std::shared_ptr<Communicator> comm)
    : Announced(group.rank, group.size),
      group_(std::move(group)),
      comm_(std::move(comm)),
      stream_(std::make_shared<Stream>()),
      messages_(std::make_shared<PointToPoint>(comm_->duplicate(), rank_, size_)),
      timeoutMillis_(group_.timeout.count()) {
  init();
  setTimeout(group_.timeout);
}

// Without shutdown(): the program ends, and nobody is to wait for a peer that does not come.
Backend::~Backend() {
  if (GpuGroup* group = gpuIfAny()) group->abandon();
  messages_->sending() ? messages_->abort() : messages_->close();
  stream_->busy() ? comm_->abort() : comm_->close();
}

c10::intrusive_ptr<Backend::Options> Backend::getBackendOptions() {
  auto options = c10::make_intrusive<GroupOptions>(
      getBackendName(), std::chrono::milliseconds(timeoutMillis_.load(std::memory_order_relaxed)));
  options->group_name = group_.name;
  return options;
}

WorkInfo Backend::info(c10d::OpType type, const char* title) {
  WorkInfo what;
  what.rank = rank_;
  what.type = type;
  what.title = title;
  what.name = title + kPrefix;
  what.seq = seq_.fetch_add(1, std::memory_order_relaxed) + 1;
  what.group = recorded();
  return what;
}

WorkInfo Backend::messageInfo(c10d::OpType type, const char* title, int peer) {
  WorkInfo what;
  what.rank = rank_;
  what.type = type;
  what.title = title;
  what.name = title + kPrefix;
  what.seq = seq_.load(std::memory_order_relaxed);
  what.message = messagesSoFar_.fetch_add(1, std::memory_order_relaxed) + 1;
  what.peer = peer;
  what.group = recorded();
  return what;
}

// Torch names a group after it has made it.
std::shared_ptr<RecordedGroup> Backend::recorded() {
  std::call_once(recordedOnce_, [this] {
    std::string name = getGroupUid().empty() ? group_.name : getGroupUid();
    recorded_ = std::make_shared<RecordedGroup>(std::move(name), getGroupDesc(), group_.ranks);
  });
  return recorded_;
}

at::Device Backend::deviceOf(const WorkInfo& what, const Tensors& some, const Tensors& others) {
  std::optional<at::Device> device;  // they are not all on the CPU
  for (const Tensors* tensors : {&some, &others}) {
    for (const at::Tensor& each : *tensors) {
      TORCH_CHECK(!device || *device == each.device(), "flexlink: ", what.name,
                  ": its tensors are on ", *device, " and on ", each.device());
      device = each.device();
    }
  }
  return *device;
}

GpuGroup& Backend::gpu(at::Device device) {
  std::lock_guard<std::mutex> lock(gpuMutex_);
  if (!gpu_) {
    const Meeting meeting{group_.store, group_.key + "gpu", rank_, size_, group_.name};
    const std::chrono::milliseconds limit(timeoutMillis_.load(std::memory_order_relaxed));
    gpu_ = std::make_shared<GpuGroup>(meeting, device, limit);
  }
  TORCH_CHECK(gpu_->device() == device, "flexlink: a tensor on ", device,
              " in a group that this rank uses on ", gpu_->device(),
              "; a rank has one GPU in a group");
  return *gpu_;
}

GpuGroup* Backend::gpuIfAny() {
  std::lock_guard<std::mutex> lock(gpuMutex_);
  return gpu_.get();
}

// Between startCoalescing() and endCoalescing() the first operation on a GPU opens the batch.
void Backend::joinBatch(GpuGroup* group) {
  {
    std::lock_guard<std::mutex> lock(coalescingMutex_);
    if (coalescer_ != std::this_thread::get_id() || group->inBatch()) return;
  }
  group->openBatch(info(c10d::OpType::COALESCED, "flexlink:coalesced"));
}

GpuGroup& Backend::gpuForCall(at::Device device) {
  GpuGroup& group = gpu(device);
  joinBatch(&group);
  return group;
}

Backend::WorkPtr Backend::run(const WorkInfo& what, Tensors inputs, Tensors outputs,
                              const Communicator::Call& call, std::function<void()> after) {
  if (onCpu(inputs) && onCpu(outputs)) {
    return noted(runOnHost(what, std::move(inputs), std::move(outputs), call, std::move(after)));
  }
  GpuGroup& group = gpuForCall(deviceOf(what, inputs, outputs));
  return group.run(what, std::move(inputs), std::move(outputs), call, std::move(after));
}

c10::intrusive_ptr<Work> Backend::runOnHost(const WorkInfo& what, Tensors inputs, Tensors outputs,
                                            const Communicator::Call& call,
                                            std::function<void()> after) {
  if (what.blocking) {
    auto work = c10::make_intrusive<EnqueuedWork>(what, Ticket(), comm_, std::move(inputs),
                                                  std::move(outputs), std::move(after));
    const ncclResult_t code = comm_->run(what.name, nullptr, call);
    if (code != ncclSuccess) work->fail(code);
    work->wait(kNoTimeout);
    return work;
  }
  Ticket ticket = comm_->issue(what.name, stream_, call);
  return c10::make_intrusive<EnqueuedWork>(what, std::move(ticket), comm_, std::move(inputs),
                                           std::move(outputs), std::move(after));
}

Backend::WorkPtr Backend::noted(c10::intrusive_ptr<Work> work) {
  std::lock_guard<std::mutex> lock(coalescingMutex_);
  if (coalescer_ == std::this_thread::get_id()) coalesced_.push_back(work);
  return work;
}

int Backend::peerOf(int rank, const char* what) const {
  TORCH_CHECK(rank >= 0 && rank < size_, "flexlink: ", what, ": there is no rank ", rank,
              " in a group of ", size_);
  return rank;
}

void Backend::startCoalescing() {
  GpuGroup* group = gpuIfAny();
  if (group != nullptr && group->inBatch())
    group->closeBatch();  // of one that ended by an exception
  std::lock_guard<std::mutex> lock(coalescingMutex_);
  coalescer_ = std::this_thread::get_id();
  coalesced_.clear();
}

// What was called in between is on its way already; here it becomes one thing to wait for.
Backend::WorkPtr Backend::endCoalescing() {
  std::vector<c10::intrusive_ptr<Work>> parts;
  {
    std::lock_guard<std::mutex> lock(coalescingMutex_);
    coalescer_ = {};
    parts.swap(coalesced_);
  }
  GpuGroup* group = gpuIfAny();
  if (group != nullptr && group->inBatch()) {
    const WorkPtr work = group->closeBatch();
    TORCH_CHECK(parts.empty(), "flexlink: a batch has tensors on the CPU and on ", group->device(),
                "; make it two");
    return work;
  }
  Tensors outputs;
  for (const auto& part : parts) {
    for (const at::Tensor& each : part->result()) outputs.push_back(each);
  }
  return c10::make_intrusive<JointWork>(info(c10d::OpType::COALESCED, "flexlink:coalesced"),
                                        std::move(parts), std::move(outputs));
}

// Over the store, so that a rank that does not come leaves nothing half done in the communicator.
void Backend::monitoredBarrier(const c10d::BarrierOptions& opts, bool waitAllRanks) {
  const std::string round = group_.key + "barrier/" +
                            std::to_string(barriers_.fetch_add(1, std::memory_order_relaxed)) + "/";
  auto limit = opts.timeout == c10d::kUnsetTimeout
                   ? std::chrono::milliseconds(timeoutMillis_.load(std::memory_order_relaxed))
                   : opts.timeout;
  const auto end = std::chrono::steady_clock::now() + limit;
  if (rank_ != 0) {
    group_.store->set(round + std::to_string(rank_), std::vector<uint8_t>{1});
    group_.store->wait({round + "verdict"}, limit + limit / 2);
    std::vector<uint8_t> verdict = group_.store->get(round + "verdict");
    if (verdict.size() <= 1) return;
    C10_THROW_ERROR(DistBackendError, std::string(verdict.begin(), verdict.end()));
  }
  std::string missing;
  for (int rank = 1; rank < size_ && (missing.empty() || waitAllRanks); ++rank) {
    auto rest = std::max(std::chrono::milliseconds(1),
                         std::chrono::duration_cast<std::chrono::milliseconds>(
                             end - std::chrono::steady_clock::now()));
    try {
      group_.store->wait({round + std::to_string(rank)}, rest);
    } catch (const c10::Error&) {
      missing += (missing.empty() ? "rank " : ", rank ") + std::to_string(rank);
    }
  }
  if (missing.empty()) {
    group_.store->set(round + "verdict", std::vector<uint8_t>{1});
    return;
  }
  const std::string text = "flexlink: monitored_barrier: " + missing +
                           " of the group did not come within " + std::to_string(limit.count()) +
                           " ms";
  group_.store->set(round + "verdict", std::vector<uint8_t>(text.begin(), text.end()));
  C10_THROW_ERROR(DistBackendError, text);
}

void Backend::setTimeout(std::chrono::milliseconds timeout) {
  timeoutMillis_.store(timeout.count(), std::memory_order_relaxed);
  comm_->setTimeout(timeout);
  messages_->communicator().setTimeout(timeout);
  if (GpuGroup* group = gpuIfAny()) group->setTimeout(timeout);
}

c10d::ErrorType Backend::getError() {
  ncclResult_t error = comm_->asyncError();
  if (error == ncclSuccess) error = messages_->communicator().asyncError();
  GpuGroup* group = gpuIfAny();
  if (error == ncclSuccess && group != nullptr) error = group->asyncError();
  switch (error) {
    case ncclSuccess:
    case ncclInProgress:
      return c10d::ErrorType::SUCCESS;
    case ncclTimeout:
      return c10d::ErrorType::TIMEOUT;
    case ncclRemoteError:
      return c10d::ErrorType::REMOTE_ERROR;
    default:
      return c10d::ErrorType::COMM_ERROR;
  }
}

void Backend::abort() {
  if (GpuGroup* group = gpuIfAny()) group->abort();
  messages_->abort();
  comm_->abort();
}

void Backend::shutdown() {
  if (GpuGroup* group = gpuIfAny()) group->close();
  messages_->close();
  comm_->close();
}

c10::intrusive_ptr<c10d::Backend> Backend::shrink(const std::vector<int64_t>& excluded, int flags,
                                                  const c10::intrusive_ptr<Options>& options) {
  std::vector<int> gone(excluded.begin(), excluded.end());
  const bool failed = (flags & NCCL_SHRINK_ABORT) != 0;
  Group rest = group_;
  rest.size = size_ - static_cast<int>(gone.size());
  rest.rank = rank_;
  for (int rank : gone) {
    rest.rank -= rank < rank_ ? 1 : 0;
    rest.key += "-" + std::to_string(rank);
  }
  rest.ranks.clear();
  for (int rank = 0; rank < size_; ++rank) {
    const bool stays = std::find(gone.begin(), gone.end(), rank) == gone.end();
    if (stays) rest.ranks.push_back(group_.ranks.at(static_cast<size_t>(rank)));
  }
  rest.key += "/";
  if (options) rest.timeout = options->timeout;
  std::shared_ptr<Communicator> comm = comm_->shrink(gone, failed);
  return c10::make_intrusive<Backend>(std::move(rest), std::move(comm));
}

c10::intrusive_ptr<c10d::Backend> Backend::split(const c10::intrusive_ptr<c10d::Store>& store,
                                                 const std::vector<int>& ranks,
                                                 const c10::intrusive_ptr<Options>& options) {
  Group part;
  part.store = store;
  part.beside = "/split/" + std::to_string(splits_.fetch_add(1, std::memory_order_relaxed));
  part.size = static_cast<int>(ranks.size());
  const auto mine = std::find(ranks.begin(), ranks.end(), rank_);
  if (mine == ranks.end()) return {};
  part.rank = static_cast<int>(mine - ranks.begin());
  for (int rank : ranks) {
    part.ranks.push_back(group_.ranks.at(static_cast<size_t>(peerOf(rank, "split"))));
  }
  part.name = options && !options->group_name.empty() ? options->group_name : group_.name;
  part.timeout = options ? options->timeout : group_.timeout;
  return create(std::move(part));
}

// On the CPU the group is connected from its creation on.
void Backend::eagerConnectSingleDevice(at::Device device) {
  if (!device.is_cpu()) gpu(device).connect();
}

// Only a GPU has a number. Torch's own allocator serves GPUs better: it keeps what is freed.
bool Backend::supportsTensorAlloc(c10::DeviceIndex device) { return device < 0; }

at::Tensor Backend::allocateTensor(long size, at::TensorOptions options) {
  TORCH_CHECK(options.device().is_cpu(), "flexlink: allocate_tensor for ", options.device(),
              ": it has memory of the CPU only");
  auto bytes = static_cast<size_t>(size) * options.dtype().itemsize();
  auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                                       sharedAllocator()->allocate(bytes),
                                                       sharedAllocator().get(), false);
  return at::empty({0}, options).set_(at::Storage(std::move(storage)), 0, {size}, {1});
}

std::shared_ptr<c10::Allocator> Backend::getMemAllocator() { return sharedAllocator(); }

}  // namespace flexlink::pytorch
