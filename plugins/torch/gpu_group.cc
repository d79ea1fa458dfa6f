// SPDX-License-Identifier: Apache-2.0
#include "gpu_group.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>

#include "gpu_watch.h"
#include "tensors.h"
#include "thread.h"

namespace flexlink::pytorch {
namespace {

// A limit of the library's own comes first and names who is late.
constexpr std::chrono::milliseconds kGrace{1000};

// Of older torch nobody can have it.
template <typename Stream>
cudaStream_t handleOf(const Stream& stream) {
  if constexpr (requires { stream.native_handle(); }) {
    return static_cast<cudaStream_t>(stream.native_handle());
  } else {
    TORCH_CHECK(false, "flexlink: tensors on ", stream.device(), " need a newer torch");
  }
}

template <typename Impl>
bool isRecorded(const Impl& impl, const c10::Stream& stream) {
  if constexpr (requires { impl.isStreamCapturing(stream); }) {
    return impl.isStreamCapturing(stream);
  } else {
    return false;
  }
}

constexpr std::chrono::milliseconds kLongestPause{50};

// In the store: how many have come, and which.
constexpr const char* kCome = "/come";
std::string cameKey(const Meeting& meeting, int rank) {
  return meeting.key + kCome + std::to_string(rank);
}

// Says who has not come.
std::string lateText(const Meeting& meeting, std::chrono::milliseconds limit) {
  std::string missing;
  for (int rank = 0; rank < meeting.size; ++rank) {
    if (meeting.store->check({cameKey(meeting, rank)})) continue;
    const int number =
        meeting.members.empty() ? rank : meeting.members.at(static_cast<size_t>(rank));
    missing += (missing.empty() ? "rank " : ", rank ") + std::to_string(number);
  }
  return "flexlink: " + missing + " of the group did not come to the first operation on a GPU " +
         "within " + std::to_string(limit.count()) + " ms";
}

// What body() throws is the Work's end, too.
template <typename Body>
void concludedIfThrown(const GpuGroup::WorkPtr& work, Body&& body) {
  try {
    body();
  } catch (...) {
    work->conclude(std::current_exception(), c10d::WorkResult::COMM_ERROR);
    throw;
  }
}

}  // namespace

GpuGroup::GpuGroup(Meeting meeting, c10::Device device, std::chrono::milliseconds timeout)
    : meeting_(std::move(meeting)),
      device_(device),
      timeoutMillis_(timeout.count()),
      stream_(newStream()) {}

// Without close(): the program ends, and nobody is to wait for a peer that does not come.
GpuGroup::~GpuGroup() {
  for (const auto& comm : communicators()) {
    if (GpuWatch::instance().busy(*comm)) comm->abort();
  }
}

// Without a limit but the group's: a rank may come late to its first operation, and the library
// waits no longer than two minutes for one. No lock is held meanwhile, not the store's either.
void GpuGroup::awaitRanks(const Meeting& meeting) const {
  const std::string come = meeting.key + kCome, mine = cameKey(meeting, meeting.rank);
  if (!meeting.store->check({mine})) {  // it may have come before, and given up
    meeting.store->set(mine, std::vector<uint8_t>{1});
    meeting.store->add(come, 1);
  }
  const std::chrono::milliseconds limit(timeoutMillis_.load(std::memory_order_relaxed));
  const auto begun = GpuTrace::Clock::now();
  std::chrono::milliseconds pause{1};
  while (meeting.store->add(come, 0) < meeting.size) {
    TORCH_CHECK_WITH(DistBackendError, !abandoned_.load(std::memory_order_relaxed),
                     "flexlink: the process group has ended before all of its ranks had come");
    if (limit.count() > 0 && GpuTrace::Clock::now() - begun > limit) {
      C10_THROW_ERROR(DistBackendError, lateText(meeting, limit));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

std::shared_ptr<Communicator> GpuGroup::join(const Meeting& meeting) const {
  awaitRanks(meeting);
  const c10::DeviceGuard here(device_);
  ncclUniqueId id;
  auto comm = meet(gpuLibrary(), meeting, &id);
  if (meeting.rank != 0) return comm;
  for (int rank = 0; rank < meeting.size; ++rank) meeting.store->deleteKey(cameKey(meeting, rank));
  meeting.store->deleteKey(meeting.key + kCome);
  return comm;
}

// The communicator of all ranks, who meet now if they have not.
std::shared_ptr<Communicator> GpuGroup::whole() {
  std::lock_guard<std::mutex> meeting(meetingMutex_);
  if (auto met = wholeIfMet()) return met;
  std::shared_ptr<Communicator> comm = join(meeting_);
  limit(comm.get());
  std::lock_guard<std::mutex> lock(wholeMutex_);
  return whole_ = std::move(comm);
}

std::shared_ptr<Communicator> GpuGroup::wholeIfMet() {
  std::lock_guard<std::mutex> lock(wholeMutex_);
  return whole_;
}

void GpuGroup::limit(Communicator* comm) {
  const std::chrono::milliseconds timeout(timeoutMillis_.load(std::memory_order_relaxed));
  ownLimit_.store(comm->setTimeout(timeout), std::memory_order_relaxed);
}

ncclResult_t GpuGroup::asyncError() {
  const std::shared_ptr<Communicator> met = wholeIfMet();
  return met ? met->asyncError() : ncclSuccess;
}

c10::Stream GpuGroup::newStream() const {
  return implOf(device_).getStreamFromGlobalPool(device_, /*isHighPriority=*/true);
}

// What the caller's stream holds now: an operation starts behind it.
c10::Event GpuGroup::now() const {
  c10::Event start(device_.type());
  start.record(implOf(device_).getStream(device_));
  return start;
}

std::chrono::milliseconds GpuGroup::limitOf(const WorkInfo& info) const {
  if (info.timeout.count() > 0) return info.timeout;
  const std::chrono::milliseconds limit(timeoutMillis_.load(std::memory_order_relaxed));
  return limit.count() > 0 && ownLimit_.load(std::memory_order_relaxed) ? limit + kGrace : limit;
}

void GpuGroup::finish(const std::shared_ptr<Communicator>& comm, const c10::Stream& stream,
                      const WorkPtr& work) {
  const c10::impl::VirtualGuardImpl impl = implOf(device_);
  c10::Event end(device_.type());
  end.record(stream);
  work->enqueued(comm, std::move(end), limitOf(work->info()),
                 !isRecorded(impl, impl.getStream(device_)));
}

// With order_. What fails here has failed for good, also for those who hold the Work already.
void GpuGroup::enqueue(const std::shared_ptr<Communicator>& comm, const c10::Stream& stream,
                       const c10::Event& start, const WorkPtr& work, const Communicator::Call& call,
                       std::function<void()> after) {
  const c10::DeviceGuard here(device_);
  const char* what = work->info().name;
  concludedIfThrown(work, [&] {
    start.block(stream);
    comm->library().check(comm->run(what, handleOf(stream), call), what);
    if (after) {
      const c10::StreamGuard behind(stream);
      after();
      work->keep(std::move(after));
    }
    finish(comm, stream, work);
  });
}

GpuGroup::WorkPtr GpuGroup::run(const WorkInfo& info, Tensors inputs, Tensors outputs,
                                const Communicator::Call& call, std::function<void()> after) {
  if (inBatch()) return addToBatch(info, inputs, outputs, call, std::move(after));
  // Without the lock: a Work takes the GIL to note its caller, and who has the GIL may want the
  // lock.
  auto work = c10::make_intrusive<GpuWork>(info, device_, std::move(inputs), std::move(outputs));
  const std::shared_ptr<Communicator> comm = whole();
  std::lock_guard<std::mutex> lock(order_);
  enqueue(comm, stream_, now(), work, call, std::move(after));
  return work;
}

GpuGroup::WorkPtr GpuGroup::send(const WorkInfo& info, const at::Tensor& tensor, int to) {
  return message(info, {tensor}, {}, to, true);
}

GpuGroup::WorkPtr GpuGroup::receive(const WorkInfo& info, const at::Tensor& tensor, int from) {
  return message(info, {}, {tensor}, from, false);
}

GpuGroup::WorkPtr GpuGroup::message(const WorkInfo& info, Tensors inputs, Tensors outputs, int peer,
                                    bool sends) {
  const Elements all = movable(sends ? inputs.front() : outputs.front(), info.name);
  auto callTo = [all, sends](int whom) {
    return [all, sends, whom](const On& on) {
      if (!sends) return on.nccl.ncclRecv(all.data, all.count, all.type, whom, on.comm, on.stream);
      return on.nccl.ncclSend(all.data, all.count, all.type, whom, on.comm, on.stream);
    };
  };
  if (inBatch()) return addToBatch(info, inputs, outputs, callTo(peer), nullptr);
  const std::shared_ptr<Pair> pair = pairWith(peer);
  auto work = c10::make_intrusive<GpuWork>(info, device_, std::move(inputs), std::move(outputs));
  auto start = std::make_shared<c10::Event>(now());
  auto post = [this, pair, work, start, call = callTo(peer < meeting_.rank ? 0 : 1), sends] {
    if (pair->failure) std::rethrow_exception(pair->failure);
    std::lock_guard<std::mutex> lock(order_);
    enqueue(pair->comm, sends ? pair->sends : pair->receives, *start, work, call, nullptr);
  };
  std::lock_guard<std::mutex> lock(pair->mutex);
  if (pair->comm || pair->failure) {
    post();
    return work;
  }
  work->deferred();
  pair->later.push_back([work, post] {
    try {
      post();
    } catch (...) {
      work->conclude(std::current_exception(), c10d::WorkResult::COMM_ERROR);
    }
  });
  return work;
}

std::shared_ptr<GpuGroup::Pair> GpuGroup::pairWith(int peer) {
  TORCH_CHECK(peer != meeting_.rank, "flexlink: rank ", peer, " sends to itself");
  std::lock_guard<std::mutex> lock(pairsMutex_);
  if (auto found = pairs_.find(peer); found != pairs_.end()) return found->second;
  Meeting two = meeting_;
  const auto [low, high] = std::minmax(peer, meeting_.rank);
  two.key += "/" + std::to_string(low) + "-" + std::to_string(high);
  two.rank = meeting_.rank == low ? 0 : 1;
  two.size = 2;
  two.members = {low, high};
  auto pair = std::shared_ptr<Pair>(new Pair{{}, {}, {}, {}, newStream(), newStream()});
  pairs_.emplace(peer, pair);
  startThread("flexlink-meet",
              [self = shared_from_this(), pair, two] { self->meetPeer(pair, two); });
  return pair;
}

// On a thread of its own, which ends with it; what has been posted meanwhile follows.
void GpuGroup::meetPeer(const std::shared_ptr<Pair>& pair, const Meeting& two) {
  std::shared_ptr<Communicator> comm;
  std::exception_ptr failure;
  try {
    comm = join(two);
    limit(comm.get());
  } catch (...) {
    failure = std::current_exception();
  }
  std::lock_guard<std::mutex> lock(pair->mutex);
  pair->comm = std::move(comm);
  pair->failure = failure;
  for (const auto& each : std::exchange(pair->later, {})) each();
}

bool GpuGroup::inBatch() {
  std::lock_guard<std::mutex> lock(order_);
  return batch_.defined() && batchThread_ == std::this_thread::get_id();
}

void GpuGroup::openBatch(const WorkInfo& info) {
  auto work = c10::make_intrusive<GpuWork>(info, device_, Tensors(), Tensors());
  const Library& library = whole()->library();  // in a group nobody can meet
  std::lock_guard<std::mutex> lock(order_);
  TORCH_CHECK(!batch_.defined(), "flexlink: two threads make a batch in one group");
  library.check(library.ncclGroupStart(), "ncclGroupStart");
  batch_ = std::move(work);
  batchThread_ = std::this_thread::get_id();
}

GpuGroup::WorkPtr GpuGroup::addToBatch(const WorkInfo& info, const Tensors& inputs,
                                       const Tensors& outputs, const Communicator::Call& call,
                                       std::function<void()> after) {
  std::lock_guard<std::mutex> lock(order_);
  const c10::DeviceGuard here(device_);
  const std::shared_ptr<Communicator> comm = whole();
  const Library& library = comm->library();
  const WorkPtr work = batch_;
  try {
    concludedIfThrown(work, [&] {
      work->add(inputs, outputs);
      now().block(stream_);
      library.check(comm->run(info.name, handleOf(stream_), call), info.name);
    });
  } catch (...) {
    batch_.reset();
    batchAfter_.clear();
    library.ncclGroupEnd();  // nothing of it runs
    throw;
  }
  if (after) batchAfter_.push_back(std::move(after));
  return work;
}

GpuGroup::WorkPtr GpuGroup::closeBatch() {
  std::lock_guard<std::mutex> lock(order_);
  const c10::DeviceGuard here(device_);
  const WorkPtr work = std::exchange(batch_, {});
  const auto after = std::exchange(batchAfter_, {});
  const std::shared_ptr<Communicator> comm = whole();
  const Library& library = comm->library();
  concludedIfThrown(work, [&] {
    library.check(library.ncclGroupEnd(), "ncclGroupEnd");
    const c10::StreamGuard behind(stream_);
    for (const auto& each : after) {
      each();
      work->keep(each);
    }
    finish(comm, stream_, work);
  });
  return work;
}

void GpuGroup::setTimeout(std::chrono::milliseconds timeout) {
  timeoutMillis_.store(timeout.count(), std::memory_order_relaxed);
  for (const auto& comm : communicators()) limit(comm.get());
}

std::vector<std::shared_ptr<Communicator>> GpuGroup::communicators() {
  std::vector<std::shared_ptr<Communicator>> all;
  if (auto met = wholeIfMet()) all.push_back(std::move(met));
  std::lock_guard<std::mutex> lock(pairsMutex_);
  for (const auto& [peer, pair] : pairs_) {
    std::lock_guard<std::mutex> met(pair->mutex);
    if (pair->comm) all.push_back(pair->comm);
  }
  return all;
}

void GpuGroup::abandon() { abandoned_.store(true, std::memory_order_relaxed); }

void GpuGroup::close() {
  abandon();
  for (const auto& comm : communicators()) comm->close();
}

void GpuGroup::abort() {
  abandon();
  for (const auto& comm : communicators()) {
    GpuWatch::instance().fail(*comm, "flexlink: the process group was aborted",
                              c10d::WorkResult::COMM_ERROR);
  }
}

}  // namespace flexlink::pytorch
