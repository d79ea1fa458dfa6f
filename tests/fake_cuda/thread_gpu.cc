// SPDX-License-Identifier: Apache-2.0
#include "fake_cuda/thread_gpu.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace flexlink::test {
namespace {

constexpr CUresult kInvalidValue = 1;
constexpr CUresult kNotRegistered = 713;
constexpr size_t kPage = 2 << 20;  // as the allocations of a driver

struct Shared {
  int pid;
  int fd;
  uint64_t bytes;
  CUdevice device;
};
static_assert(sizeof(Shared) <= sizeof(CUipcMemHandle));

uint8_t* mapped(int fd, size_t bytes, int protection) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
  void* at = mmap(nullptr, bytes, protection, flags, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<uint8_t*>(at);
}

// FAKE_GPU_DELAY_US: every piece of work takes up to so long more, so that what nobody waits for
// comes late.
void delay() {
  static const char* text = getenv("FAKE_GPU_DELAY_US");
  static const unsigned most = text == nullptr ? 0 : static_cast<unsigned>(atoi(text));
  if (most == 0) return;
  thread_local uint32_t state =
      static_cast<uint32_t>(std::hash<std::thread::id>()(std::this_thread::get_id())) | 1;
  state = state * 1664525 + 1013904223;
  std::this_thread::sleep_for(std::chrono::microseconds((state >> 8) % most));
}

}  // namespace

CUresult GpuMemory::add(int fd, size_t bytes, CUdevice device, bool keep, CUdeviceptr* address) {
  Block block{bytes, keep ? fd : -1, mapped(fd, bytes, PROT_READ | PROT_WRITE), device};
  uint8_t* outside = mapped(-1, bytes, PROT_NONE);
  if (block.inside == nullptr || outside == nullptr) return kCudaOutOfMemory;
  *address = reinterpret_cast<CUdeviceptr>(outside);
  std::lock_guard<std::mutex> lock(mutex_);
  blocks_[*address] = block;
  return kCudaSuccess;
}

CUresult GpuMemory::allocate(size_t bytes, CUdevice device, CUdeviceptr* address) {
  if (bytes == 0) return kInvalidValue;
  bytes = (bytes + kPage - 1) / kPage * kPage;
  const int fd = memfd_create("fake-gpu", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) return kCudaOutOfMemory;
  return add(fd, bytes, device, true, address);
}

CUresult GpuMemory::free(CUdeviceptr address) {
  Block block;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = blocks_.find(address);
    if (found == blocks_.end()) return kInvalidValue;
    block = found->second;
    blocks_.erase(found);
  }
  munmap(block.inside, block.bytes);
  munmap(reinterpret_cast<void*>(address), block.bytes);
  if (block.fd >= 0) close(block.fd);
  return kCudaSuccess;
}

bool GpuMemory::find(CUdeviceptr address, CUdeviceptr* start, Block* block) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto next = blocks_.upper_bound(address);
  if (next == blocks_.begin()) return false;
  --next;
  if (address - next->first >= next->second.bytes) return false;
  *start = next->first;
  *block = next->second;
  return true;
}

CUresult GpuMemory::share(CUdeviceptr address, CUipcMemHandle* handle) {
  CUdeviceptr start = 0;
  Block block;
  if (!find(address, &start, &block) || block.fd < 0) return kInvalidValue;
  const Shared shared{getpid(), block.fd, block.bytes, block.device};
  memset(handle, 0, sizeof *handle);
  memcpy(handle, &shared, sizeof shared);
  return kCudaSuccess;
}

// As the driver: not in the process that has allocated it.
CUresult GpuMemory::open(const CUipcMemHandle& handle, CUdeviceptr* address) {
  Shared shared;
  memcpy(&shared, &handle, sizeof shared);
  if (shared.pid == getpid()) return 201;  // CUDA_ERROR_INVALID_CONTEXT
  const std::string path =
      "/proc/" + std::to_string(shared.pid) + "/fd/" + std::to_string(shared.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return kInvalidValue;
  const CUresult added = add(fd, shared.bytes, shared.device, false, address);
  close(fd);
  return added;
}

CUresult GpuMemory::pin(void* start, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(start);
  std::lock_guard<std::mutex> lock(mutex_);
  const auto next = pinned_.lower_bound(at);
  const bool before =
      next != pinned_.begin() && std::prev(next)->first + std::prev(next)->second > at;
  if (before || (next != pinned_.end() && next->first < at + bytes)) return kCudaAlreadyRegistered;
  pinned_[at] = bytes;
  return kCudaSuccess;
}

CUresult GpuMemory::unpin(void* start) {
  std::lock_guard<std::mutex> lock(mutex_);
  return pinned_.erase(reinterpret_cast<uintptr_t>(start)) != 0 ? kCudaSuccess : kNotRegistered;
}

bool GpuMemory::pinned(CUdeviceptr address, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto next = pinned_.upper_bound(address);
  if (next == pinned_.begin()) return false;
  --next;
  return address + bytes <= next->first + next->second;
}

void* GpuMemory::forCopy(CUdeviceptr address, size_t bytes) {
  CUdeviceptr start = 0;
  Block block;
  if (!find(address, &start, &block)) return reinterpret_cast<void*>(address);
  return address + bytes <= start + block.bytes ? block.inside + (address - start) : nullptr;
}

void* GpuMemory::forKernel(CUdeviceptr address, size_t bytes) {
  CUdeviceptr start = 0;
  Block block;
  if (!find(address, &start, &block) && !pinned(address, bytes)) return nullptr;
  return forCopy(address, bytes);
}

GpuConnection* GpuConnection::of(CUdevice device, int priority) {
  static const char* text = getenv("FAKE_GPU_CONNECTIONS");
  if (text == nullptr || strcmp(text, "1") != 0) return nullptr;
  static std::mutex mutex;
  static auto* all = new std::map<std::pair<CUdevice, int>, GpuConnection>;
  std::lock_guard<std::mutex> lock(mutex);
  return &(*all)[{device, priority}];
}

void GpuConnection::await(uint64_t number) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return done_ == number; });
}

void GpuConnection::done() {
  std::lock_guard<std::mutex> lock(mutex_);
  ++done_;
  changed_.notify_all();
}

GpuStream::GpuStream(CUdevice device, int priority)
    : device_(device), connection_(GpuConnection::of(device, priority)) {
  std::thread([this] { run(); }).detach();
}

GpuStream::~GpuStream() {
  std::unique_lock<std::mutex> lock(mutex_);
  ends_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return ended_; });
}

CUresult GpuStream::enqueue(Work work) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (error_ != kCudaSuccess) return error_;
  queue_.push_back({std::move(work), connection_ != nullptr ? connection_->next() : 0});
  changed_.notify_all();
  return kCudaSuccess;
}

CUresult GpuStream::query() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (error_ != kCudaSuccess) return error_;
  return queue_.empty() && !busy_ ? kCudaSuccess : kCudaNotReady;
}

CUresult GpuStream::synchronize() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !busy_; });
  return error_;
}

void GpuStream::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !queue_.empty() || ends_; });
    if (queue_.empty()) break;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    const bool works = error_ == kCudaSuccess;
    lock.unlock();
    if (connection_ != nullptr) connection_->await(job.number);
    delay();
    const CUresult result = works ? job.work() : kCudaSuccess;
    job.work = nullptr;
    if (connection_ != nullptr) connection_->done();
    lock.lock();
    if (result != kCudaSuccess) error_ = result;
    busy_ = false;
    changed_.notify_all();
  }
  ended_ = true;
  changed_.notify_all();
}

}  // namespace flexlink::test
