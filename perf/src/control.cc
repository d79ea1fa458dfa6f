// SPDX-License-Identifier: Apache-2.0
// The shared page and the all-gather of control.h.
#include "control.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "fail.h"

namespace flexlink::perf {
namespace {

SharedPage* mapPage(int flags, int fd) {
  void* page = mmap(nullptr, sizeof(SharedPage), PROT_READ | PROT_WRITE, flags, fd, 0);
  return page == MAP_FAILED ? nullptr : static_cast<SharedPage*>(page);
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

double foldOver(Control* control, double mine, Fold fold) {
  const auto rows = control->exchange({mine});
  double result = rows[0][0];
  double sum = 0;
  for (const auto& row : rows) {
    sum += row[0];
    if (fold == Fold::kMin) result = std::min(result, row[0]);
    if (fold == Fold::kMax) result = std::max(result, row[0]);
  }
  if (fold == Fold::kSum) return sum;
  return fold == Fold::kAverage ? sum / static_cast<double>(rows.size()) : result;
}

SharedPage* mapAnonymousPage() { return mapPage(MAP_SHARED | MAP_ANONYMOUS, -1); }

SharedPage* mapPageFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return nullptr;
  SharedPage* page = nullptr;
  if (ftruncate(fd, sizeof(SharedPage)) == 0) page = mapPage(MAP_SHARED, fd);
  close(fd);
  return page;
}

void SharedControl::barrier() {
  constexpr int kSpins =
      4000;  // ~20 µs; then the core may be needed by a rank that is still on its way
  const uint32_t generation = page_->generation.load(std::memory_order_acquire);
  if (page_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 ==
      static_cast<uint32_t>(participants_)) {
    page_->arrived.store(0, std::memory_order_relaxed);
    page_->generation.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; page_->generation.load(std::memory_order_acquire) == generation; ++spins) {
    if (spins < kSpins) {
      relax();
      continue;
    }
    if (page_->failed.load(std::memory_order_relaxed)) fail("another rank has ended; giving up");
    sched_yield();
  }
}

std::vector<std::vector<double>> SharedControl::exchange(const std::vector<double>& mine) {
  std::copy(mine.begin(), mine.end(), page_->numbers[self_]);
  barrier();
  std::vector<std::vector<double>> rows;
  rows.reserve(static_cast<size_t>(participants_));
  for (int i = 0; i < participants_; ++i) {
    rows.emplace_back(page_->numbers[i], page_->numbers[i] + mine.size());
  }
  barrier();  // nobody writes the next numbers before all have read these
  return rows;
}

LibraryControl::LibraryControl(Backend* backend) : backend_(backend) {
  const auto locals = static_cast<size_t>(backend->localRanks());
  sent_.assign(locals, std::vector<double>(kMaxNumbers));
  received_.assign(locals,
                   std::vector<double>(kMaxNumbers * static_cast<size_t>(backend->ranks())));
  for (int i = 0; i < backend->localRanks(); ++i) {
    DeviceMemory* device = backend->memory(i);
    if (!device) continue;
    deviceSent_.push_back(device->allocate(kMaxNumbers * sizeof(double)));
    deviceReceived_.push_back(device->allocate(received_[i].size() * sizeof(double)));
  }
}

void LibraryControl::barrier() { exchange({0}); }

std::vector<std::vector<double>> LibraryControl::exchange(const std::vector<double>& mine) {
  const size_t bytes = mine.size() * sizeof(double);
  std::vector<Call> calls(sent_.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    std::copy(mine.begin(), mine.end(), sent_[i].begin());
    calls[i].collective = Collective::kAllGather;
    calls[i].type = Type::kDouble;
    calls[i].count = mine.size();
    calls[i].send = sent_[i].data();
    calls[i].recv = received_[i].data();
    if (deviceSent_.empty()) continue;
    calls[i].send = deviceSent_[i];
    calls[i].recv = deviceReceived_[i];
    backend_->memory(static_cast<int>(i))->write(deviceSent_[i], sent_[i].data(), bytes);
  }
  if (!backend_->enqueue(calls) || !backend_->wait()) {
    fail("exchanging results between ranks failed: %s", backend_->error().c_str());
  }
  if (!deviceReceived_.empty()) {
    const size_t all = bytes * static_cast<size_t>(backend_->ranks());
    backend_->memory(0)->read(received_[0].data(), deviceReceived_[0], all);
  }
  // Ranks of one thread sent the same: one row for each thread.
  std::vector<std::vector<double>> rows;
  const double* all = received_[0].data();
  for (int rank = 0; rank < backend_->ranks(); rank += backend_->localRanks()) {
    const double* row = all + static_cast<size_t>(rank) * mine.size();
    rows.emplace_back(row, row + mine.size());
  }
  return rows;
}

}  // namespace flexlink::perf
