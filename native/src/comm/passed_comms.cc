// SPDX-License-Identifier: Apache-2.0
#include "comm/passed_comms.h"

#include <sys/uio.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <shared_mutex>
#include <vector>

#include "base/hash.h"
#include "base/log.h"

namespace flexlink {
namespace {

constexpr uint8_t kProbeLane = FLEXLINK_PROBE_LANE_VENDOR;
// Children that the vendor was still making when their program lost sight of them.
constexpr size_t kMostExpected = 64;

struct Expected {
  const ncclComm_t* place;
  PassedFacts facts;
};

struct Table {
  std::shared_mutex mutex;  // before a record's own
  std::map<ncclComm_t, PassedComm*> byHandle;
  std::deque<PassedComm> all;  // records are used again, never freed: see findPassed
  std::vector<PassedComm*> unused;
  std::deque<Expected> expected;  // oldest first
};

Table& table() {
  static auto* table = new Table;
  return *table;
}

uint64_t mixed(uint64_t hash, uint64_t more) {
  return fnv1a({reinterpret_cast<const char*>(&more), sizeof more}, hash);
}

// The program's memory, which it may have freed since: so the kernel reads it.
ncclComm_t peek(const ncclComm_t* place) {
  constexpr size_t kBytes = sizeof(uintptr_t);
  uintptr_t value = 0;
  iovec to{&value, kBytes};
  iovec from{static_cast<void*>(const_cast<ncclComm_t*>(place)), kBytes};
  if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != kBytes) return nullptr;
  return reinterpret_cast<ncclComm_t>(value);
}

// What was told of a communicator whose handle came later.
PassedFacts takeExpected(ncclComm_t handle) {
  std::unique_lock lock(table().mutex);
  auto& expected = table().expected;
  for (auto each = expected.begin(); each != expected.end(); ++each) {
    if (peek(each->place) != handle) continue;
    PassedFacts facts = std::move(each->facts);
    expected.erase(each);
    return facts;
  }
  return {};
}

// The vendor's own number of it, the same on all ranks. Since 2.29.
uint64_t vendorsId(const VendorApi& vendor, ncclComm_t handle) {
  ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
  InsideVendor inside;
  if (vendor.ncclCommQueryProperties == nullptr) return 0;
  bool told = vendor.ncclCommQueryProperties(handle, &properties) == ncclSuccess;
  return told ? properties.commHash : 0;
}

bool complete(const VendorApi& vendor, ncclComm_t handle, PassedFacts* facts) {
  if (facts->rank < 0 || facts->ranks < 0) {
    if (vendor.ncclCommUserRank == nullptr || vendor.ncclCommCount == nullptr) return false;
    InsideVendor inside;
    if (vendor.ncclCommUserRank(handle, &facts->rank) != ncclSuccess) return false;
    if (vendor.ncclCommCount(handle, &facts->ranks) != ncclSuccess) return false;
  }
  if (facts->id == 0) facts->id = vendorsId(vendor, handle);
  return true;
}

void open(const VendorApi& vendor, ncclComm_t handle, PassedComm* comm, PassedFacts facts,
          bool ready) {
  ProbeCommInfo info;
  info.id = facts.id;
  info.parent = facts.parent;
  info.rank = static_cast<uint32_t>(facts.rank);
  info.ranks = static_cast<uint32_t>(facts.ranks);
  info.name = facts.name.c_str();
  std::lock_guard<std::mutex> lock(comm->mutex);
  comm->probe = ProbeWriter::process()->openComm(info);
  comm->probe->state(ready ? ProbeState::kReady : ProbeState::kConnecting);
  if (facts.side) {
    SidePlan plan{facts.rank, facts.ranks, *facts.side, facts.id, facts.name};
    comm->side = std::make_shared<Side>(vendor, handle, std::move(plan));
  }
  comm->facts = std::move(facts);
  ++comm->life;
  comm->seq = 0;
  comm->children = 0;
  comm->settled = ready;
}

std::shared_ptr<Side> close(PassedComm* comm, ProbeState end) {
  std::lock_guard<std::mutex> lock(comm->mutex);
  ProbeWriter::process()->closeComm(comm->probe, end);
  comm->probe = nullptr;
  ++comm->life;
  return std::move(comm->side);
}

ProbeSignature signatureOf(const PassedCall& call) {
  ProbeSignature signature;
  const bool typed = call.type >= 0 && call.type < kDataTypes;  // else the vendor will object
  signature.collective = static_cast<uint8_t>(call.kind);
  signature.type = typed ? static_cast<uint8_t>(call.type) : 0;
  const bool plain = call.op >= 0 && call.op < ncclNumOps;
  signature.op = static_cast<uint8_t>(plain ? call.op : static_cast<int>(ReduceOp::kPreMulSum));
  signature.root = call.root;
  signature.count = call.count;
  signature.bytes = typed ? call.count * typeSize(static_cast<DataType>(call.type)) : 0;
  return signature;
}

}  // namespace

void addPassed(const VendorApi& vendor, ncclComm_t handle, PassedFacts facts, bool ready) {
  if (ready && !complete(vendor, handle, &facts)) return;
  if (facts.rank < 0 || facts.ranks < 0) return;  // usePassed will ask
  std::unique_lock lock(table().mutex);
  PassedComm*& at = table().byHandle[handle];
  if (at != nullptr) return;  // another thread was here first
  if (table().unused.empty()) {
    at = &table().all.emplace_back();
  } else {
    at = table().unused.back();
    table().unused.pop_back();
  }
  FLEXLINK_INFO(kInit, "comm %p rank %d of %d passes through to the vendor, id %016llx",
                static_cast<void*>(handle), facts.rank, facts.ranks,
                static_cast<unsigned long long>(facts.id));
  open(vendor, handle, at, std::move(facts), ready);
  at->handle.store(handle, std::memory_order_release);
  std::shared_ptr<Side> side = at->side;
  lock.unlock();
  if (side && ready) side->start();
}

void expectPassed(const ncclComm_t* place, PassedFacts facts) {
  std::unique_lock lock(table().mutex);
  std::erase_if(table().expected, [&](const Expected& each) { return each.place == place; });
  if (table().expected.size() == kMostExpected) table().expected.pop_front();
  table().expected.push_back({place, std::move(facts)});
}

PassedComm* findPassed(ncclComm_t handle) {
  // Records are never freed, and one that serves another communicator has another handle.
  thread_local constinit PassedComm* last = nullptr;
  if (handle == nullptr) return nullptr;
  if (last != nullptr && last->handle.load(std::memory_order_acquire) == handle) return last;
  std::shared_lock lock(table().mutex);
  auto found = table().byHandle.find(handle);
  return found == table().byHandle.end() ? nullptr : last = found->second;
}

PassedComm* usePassed(const VendorApi& vendor, ncclComm_t handle) {
  PassedComm* comm = findPassed(handle);
  if (comm != nullptr || handle == nullptr) return comm;
  addPassed(vendor, handle, takeExpected(handle), true);
  return findPassed(handle);
}

std::shared_ptr<Side> dropPassed(ncclComm_t handle, ProbeState end) {
  std::unique_lock lock(table().mutex);
  auto found = table().byHandle.find(handle);
  if (found == table().byHandle.end()) return nullptr;
  PassedComm* comm = found->second;
  table().byHandle.erase(found);
  comm->handle.store(nullptr, std::memory_order_release);
  std::shared_ptr<Side> side = close(comm, end);
  table().unused.push_back(comm);
  return side;
}

std::shared_ptr<Side> sideOf(ncclComm_t handle) {
  PassedComm* comm = findPassed(handle);
  if (comm == nullptr) return nullptr;
  std::lock_guard<std::mutex> lock(comm->mutex);
  return comm->side;
}

void settlePassed(ncclComm_t handle, ncclResult_t state) {
  PassedComm* comm = findPassed(handle);
  if (comm == nullptr || state == ncclInProgress) return;
  std::unique_lock<std::mutex> lock(comm->mutex);
  if (comm->probe == nullptr || (comm->settled && state == ncclSuccess)) return;
  comm->probe->state(state == ncclSuccess ? ProbeState::kReady : ProbeState::kFailed);
  comm->settled = true;
  std::shared_ptr<Side> side = comm->side;
  lock.unlock();
  if (side && state == ncclSuccess) side->start();
}

void finalizePassed(ncclComm_t handle) {
  PassedComm* comm = findPassed(handle);
  if (comm == nullptr) return;
  std::lock_guard<std::mutex> lock(comm->mutex);
  if (comm->probe != nullptr) comm->probe->state(ProbeState::kFinalizing);
}

PassedFacts childFacts(ncclComm_t parent, uint64_t colour) {
  PassedFacts facts;
  PassedComm* comm = findPassed(parent);
  if (comm == nullptr) return facts;
  std::lock_guard<std::mutex> lock(comm->mutex);
  facts.parent = comm->facts.id;
  facts.id = mixed(mixed(facts.parent, ++comm->children), colour);
  if (comm->side && comm->facts.side) {
    const uint64_t number = mixed(mixed(comm->facts.side->number, comm->children), colour);
    facts.side = comm->facts.side;
    facts.side->number = number;
  }
  return facts;
}

PassedWatch::PassedWatch(const VendorApi& vendor, const PassedCall& call) noexcept {
  try {
    PassedComm* comm = usePassed(vendor, call.comm);
    if (comm == nullptr) return;
    std::lock_guard<std::mutex> lock(comm->mutex);
    if (comm->probe == nullptr) return;  // it has just been destroyed: the vendor will say what
    comm_ = comm;
    life_ = comm->life;
    seq_ = comm->seq++;
    side_ = comm->side;
    comm->probe->entered(seq_);
    if (!side_) comm->probe->begin(seq_, signatureOf(call), kProbeLane);
  } catch (...) {  // no memory for a record: the call goes on without
  }
}

void PassedWatch::begun(const PassedCall& call) noexcept {
  std::lock_guard<std::mutex> lock(comm_->mutex);
  if (comm_->life == life_) comm_->probe->begin(seq_, signatureOf(call), kProbeLane);
}

void PassedWatch::ended(ncclResult_t result) noexcept {
  if (comm_ == nullptr) return;
  std::lock_guard<std::mutex> lock(comm_->mutex);
  if (comm_->life != life_) return;  // aborted meanwhile
  comm_->probe->end(seq_, taken(result) ? 0 : static_cast<uint8_t>(result), kProbeLane);
}

}  // namespace flexlink
