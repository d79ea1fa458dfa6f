// SPDX-License-Identifier: Apache-2.0
// Issues cases on a rank and checks every byte: results, untouched inputs, guard bytes.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "flexlink/flexlink.h"
#include "support/check.h"
#include "support/collective_case.h"
#include "support/gpu.h"

namespace ranktest {
namespace {

constexpr size_t kGuard = 256;
constexpr size_t kAlign = 64;
constexpr unsigned char kGuardByte = 0xa5;

bool isShared(Memory memory) {
  return memory == Memory::kMemAlloc || memory == Memory::kRegisteredMemAlloc;
}

bool isRegistered(Memory memory) {
  return memory == Memory::kRegistered || memory == Memory::kRegisteredMemAlloc;
}

void fillPeriodic(char* at, size_t bytes, const std::string& pattern) {
  for (size_t done = 0; done < bytes; done += pattern.size()) {
    memcpy(at + done, pattern.data(), std::min(pattern.size(), bytes - done));
  }
}

// Offset of the first byte that differs from the repeated pattern, or `bytes`.
size_t firstDifference(const char* at, size_t bytes, const std::string& pattern) {
  for (size_t done = 0; done < bytes; done += pattern.size()) {
    const size_t n = std::min(pattern.size(), bytes - done);
    if (memcmp(at + done, pattern.data(), n) == 0) continue;
    size_t i = 0;
    while (at[done + i] == pattern[i]) ++i;
    return done + i;
  }
  return bytes;
}

}  // namespace

Arena::Arena(bool memAlloc, size_t bytes) : memAlloc_(memAlloc), size_(bytes) {
  void* at = nullptr;
  if (memAlloc) RANK_OK(ncclMemAlloc(&at, bytes));
  if (Gpu* gpu = Gpu::use()) {
    onGpu_ = static_cast<char*>(memAlloc ? at : gpu->allocate(bytes));
    at = nullptr;
  }
  if (at == nullptr) at = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  RANK_TRUE(at != nullptr);
  base_ = static_cast<char*>(at);
}

Arena::~Arena() {
  void* theirs = onGpu_ != nullptr ? onGpu_ : base_;
  if (memAlloc_) ncclMemFree(theirs);
  if (onGpu_ != nullptr && !memAlloc_) Gpu::use()->free(onGpu_);
  if (onGpu_ != nullptr || !memAlloc_) free(base_);
}

void Arena::upload(const char* data, size_t bytes) const {
  if (onGpu_ == nullptr) return;
  const char* from = data - kGuard;
  Gpu::use()->copy(onGpu_ + (from - base_), from, bytes + 2 * kGuard);
}

void Arena::download(char* data, size_t bytes) const {
  if (onGpu_ == nullptr) return;
  char* to = data - kGuard;
  Gpu::use()->copy(to, onGpu_ + (to - base_), bytes + 2 * kGuard);
}

char* Arena::take(size_t bytes, size_t offset) {
  const size_t total = (2 * kGuard + bytes + offset + kAlign - 1) / kAlign * kAlign;
  RANK_TRUE_MSG(used_ + total <= size_, "the test's arena is too small");
  char* region = base_ + used_;
  used_ += total;
  memset(region, kGuardByte, total);
  return region + kGuard + offset;
}

CaseRunner::CaseRunner(ncclComm_t comm, int rank, int ranks, size_t arenaBytes)
    : comm_(comm),
      rank_(rank),
      ranks_(ranks),
      plain_(std::make_unique<Arena>(false, arenaBytes)),
      shared_(std::make_unique<Arena>(true, arenaBytes)) {}

CaseRunner::~CaseRunner() = default;

bool CaseRunner::readsSend(const Case& c) const {
  const bool rootOnly =
      c.coll == Coll::kBroadcast || c.coll == Coll::kBcast || c.coll == Coll::kScatter;
  return !rootOnly || rank_ == c.root;
}

bool CaseRunner::writesRecv(const Case& c) const {
  const bool rootOnly = c.coll == Coll::kReduce || c.coll == Coll::kGather;
  return !rootOnly || rank_ == c.root;
}

Memory CaseRunner::memoryOf(const Case& c, bool send) const {
  if (c.memory != Memory::kMixed) return c.memory;
  return kAllMemories[mix(c.key, 99, static_cast<uint64_t>(rank_), send ? 1 : 0) % 4];
}

CaseRunner::Region CaseRunner::makeRegion(const Case& c, bool send, int blocks) {
  const Memory memory = memoryOf(c, send);
  Region region;
  region.bytes = c.count * typeBytes(c.type) * static_cast<size_t>(blocks);
  Arena& arena = isShared(memory) ? *shared_ : *plain_;
  region.arena = &arena;
  region.data = arena.take(region.bytes, static_cast<size_t>(c.misalign) * typeBytes(c.type));
  if (isRegistered(memory) && region.bytes > 0) {
    RANK_OK(ncclCommRegister(comm_, arena.given(region.data), region.bytes, &region.handle));
  }
  return region;
}

CaseRunner::Issued CaseRunner::prepare(const Case& c) {
  const size_t block = c.count * typeBytes(c.type);
  const int nSend = sendBlocks(c.coll, ranks_);
  const int nRecv = recvBlocks(c.coll, ranks_);
  Issued it;
  it.c = c;
  it.oneRegion = c.inPlace;
  it.recv = makeRegion(c, false, c.inPlace ? std::max(nSend, nRecv) : nRecv);
  it.send = c.inPlace ? it.recv : makeRegion(c, true, nSend);
  it.sendAt = it.send.data;
  it.recvAt = it.recv.data;
  if (c.inPlace && nRecv > nSend) it.sendAt += block * static_cast<size_t>(rank_);
  if (c.inPlace && nSend > nRecv) it.recvAt += block * static_cast<size_t>(rank_);
  for (int b = 0; b < nSend && readsSend(c); ++b) {
    fillPeriodic(it.sendAt + static_cast<size_t>(b) * block, block,
                 patternOf(c, ranks_, rank_, b, true));
  }
  it.recv.arena->upload(it.recv.data, it.recv.bytes);
  if (!it.oneRegion) it.send.arena->upload(it.send.data, it.send.bytes);
  return it;
}

ncclRedOp_t CaseRunner::makeOp(const Case& c) {
  if (c.op != Op::kPreMulSum || !reduces(c.coll)) return static_cast<ncclRedOp_t>(c.op);
  ncclRedOp_t op{};
  Bits scalar = scalarBits(c, rank_);
  RANK_OK(ncclRedOpCreatePreMulSum(&op, &scalar, c.type, ncclScalarHostImmediate, comm_));
  return op;
}

void CaseRunner::call(const Issued& it, cudaStream_t stream) {
  if (stream == nullptr && Gpu::use() != nullptr) stream = Gpu::perThread();
  const Case& c = it.c;
  const bool madeOp = reduces(c.coll) && c.op == Op::kPreMulSum;
  const ncclRedOp_t op = makeOp(c);
  const bool config = c.configForm && c.coll != Coll::kSendRecv && c.coll != Coll::kBcast;
  const ncclResult_t result = config ? callConfig(it, op, stream) : callPlain(it, op, stream);
  checkResult(result, ncclSuccess, c.text().c_str(), RANK_WHERE, comm_);
  // The call keeps the op, also while a group still holds it back.
  if (madeOp) RANK_OK(ncclRedOpDestroy(op, comm_));
}

ncclResult_t CaseRunner::callSendRecv(const Issued& it, cudaStream_t stream) {
  const Case& c = it.c;
  const int to = (rank_ + c.shift) % ranks_;
  const int from = (rank_ + ranks_ - c.shift % ranks_) % ranks_;
  RANK_OK(ncclGroupStart());
  RANK_OK(ncclSend(it.sendGiven(), c.count, c.type, to, comm_, stream));
  RANK_OK(ncclRecv(it.recvGiven(), c.count, c.type, from, comm_, stream));
  return ncclGroupEnd();
}

ncclResult_t CaseRunner::callPlain(const Issued& it, ncclRedOp_t op, cudaStream_t stream) {
  const Case& c = it.c;
  const void* send = c.nullUnused && !readsSend(c) && !c.inPlace ? nullptr : it.sendGiven();
  void* recv = c.nullUnused && !writesRecv(c) && !c.inPlace ? nullptr : it.recvGiven();
  switch (c.coll) {
    case Coll::kAllReduce:
      return ncclAllReduce(send, recv, c.count, c.type, op, comm_, stream);
    case Coll::kBroadcast:
      return ncclBroadcast(send, recv, c.count, c.type, c.root, comm_, stream);
    case Coll::kBcast:
      return ncclBcast(recv, c.count, c.type, c.root, comm_, stream);
    case Coll::kReduce:
      return ncclReduce(send, recv, c.count, c.type, op, c.root, comm_, stream);
    case Coll::kAllGather:
      return ncclAllGather(send, recv, c.count, c.type, comm_, stream);
    case Coll::kReduceScatter:
      return ncclReduceScatter(send, recv, c.count, c.type, op, comm_, stream);
    case Coll::kAlltoAll:
      return ncclAlltoAll(send, recv, c.count, c.type, comm_, stream);
    case Coll::kGather:
      return ncclGather(send, recv, c.count, c.type, c.root, comm_, stream);
    case Coll::kScatter:
      return ncclScatter(send, recv, c.count, c.type, c.root, comm_, stream);
    case Coll::kSendRecv:
      return callSendRecv(it, stream);
  }
  return ncclInternalError;
}

ncclResult_t CaseRunner::callConfig(const Issued& it, ncclRedOp_t op, cudaStream_t stream) {
  const Case& c = it.c;
  ncclCollConfig_t config = NCCL_COLLCONFIG_INITIALIZER;
  const ncclCollConfig_t* use = (c.key & 1) != 0 ? &config : nullptr;
  switch (c.coll) {
    case Coll::kAllReduce:
      return ncclAllReduceConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, op, comm_, stream,
                                 use);
    case Coll::kBroadcast:
      return ncclBroadcastConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, c.root, comm_,
                                 stream, use);
    case Coll::kReduce:
      return ncclReduceConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, op, c.root, comm_,
                              stream, use);
    case Coll::kAllGather:
      return ncclAllGatherConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, comm_, stream,
                                 use);
    case Coll::kReduceScatter:
      return ncclReduceScatterConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, op, comm_,
                                     stream, use);
    case Coll::kAlltoAll:
      return ncclAlltoAllConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, comm_, stream,
                                use);
    case Coll::kGather:
      return ncclGatherConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, c.root, comm_,
                              stream, use);
    case Coll::kScatter:
      return ncclScatterConfig(it.sendGiven(), it.recvGiven(), c.count, c.type, c.root, comm_,
                               stream, use);
    default:
      return ncclInternalError;
  }
}

void CaseRunner::issue(const Case& c, cudaStream_t stream) {
  if (RankContext* ctx = currentRank()) ctx->at("%s", c.text().c_str());
  issued_.push_back(prepare(c));
  call(issued_.back(), stream);
}

void CaseRunner::checkBlock(const Issued& it, const char* what, const char* at, int block,
                            bool input) {
  const Case& c = it.c;
  const size_t width = typeBytes(c.type);
  const size_t bytes = c.count * width;
  const std::string pattern = patternOf(c, ranks_, rank_, block, input);
  const size_t where = firstDifference(at, bytes, pattern);
  if (where < bytes) {
    const size_t element = where / width;
    std::ostringstream text;
    text << c.text() << ": " << what << " block " << block << " element " << element << " is 0x"
         << std::hex << loadBits(at + element * width, c.type) << ", expected 0x"
         << loadBits(pattern.data() + element * width % pattern.size(), c.type) << std::dec
         << " (key " << c.key << ")";
    fail(RANK_WHERE, text.str());
  }
  for (size_t i = 0; i < pattern.size() && !input; i += 8) {
    uint64_t word = 0;
    memcpy(&word, pattern.data() + i, std::min<size_t>(8, pattern.size() - i));
    digest_ = mix(digest_, word);
  }
}

void CaseRunner::checkGuards(const Issued& it, const Region& region) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(region.data);
  for (size_t i = 0; i < kGuard; ++i) {
    const bool before = bytes[-1 - static_cast<ptrdiff_t>(i)] == kGuardByte;
    const bool behind = bytes[region.bytes + i] == kGuardByte;
    if (!before || !behind) {
      fail(RANK_WHERE, it.c.text() + ": wrote " + std::to_string(i + 1) + " bytes " +
                           (before ? "behind" : "before") + " its buffer");
    }
  }
}

void CaseRunner::verify(const Issued& it) {
  const Case& c = it.c;
  const size_t block = c.count * typeBytes(c.type);
  it.recv.arena->download(it.recv.data, it.recv.bytes);
  if (!it.oneRegion) it.send.arena->download(it.send.data, it.send.bytes);
  checkGuards(it, it.recv);
  if (!it.oneRegion) checkGuards(it, it.send);
  const std::string untouched(block, static_cast<char>(kGuardByte));
  if (writesRecv(c)) {
    for (int b = 0; b < recvBlocks(c.coll, ranks_); ++b) {
      checkBlock(it, "result", it.recvAt + static_cast<size_t>(b) * block, b, false);
    }
  } else if (!it.oneRegion) {
    RANK_TRUE_MSG(firstDifference(it.recvAt, it.recv.bytes, untouched) == it.recv.bytes,
                  c.text() << ": wrote to a receive buffer of a rank that is not the root");
  }
  for (int b = 0; b < sendBlocks(c.coll, ranks_); ++b) {
    const char* at = it.sendAt + static_cast<size_t>(b) * block;
    const bool overwritten = it.oneRegion && writesRecv(c) && at == it.recvAt;
    if (readsSend(c) && !overwritten) checkBlock(it, "send buffer", at, b, true);
  }
}

void CaseRunner::verifyAll() {
  if (Gpu* gpu = Gpu::use()) gpu->synchronize(Gpu::perThread());
  for (Issued& it : issued_) {
    verify(it);
    if (it.recv.handle != nullptr) RANK_OK(ncclCommDeregister(comm_, it.recv.handle));
    if (!it.oneRegion && it.send.handle != nullptr) {
      RANK_OK(ncclCommDeregister(comm_, it.send.handle));
    }
  }
  issued_.clear();
  plain_->reset();
  shared_->reset();
}

void CaseRunner::run(const Case& c, cudaStream_t stream) {
  issue(c, stream);
  if (Gpu* gpu = Gpu::use()) {
    gpu->synchronize(stream != nullptr ? stream : Gpu::perThread());
  } else if (stream != nullptr) {
    RANK_OK(flexlinkStreamSynchronize(stream));
  }
  verifyAll();
}

}  // namespace ranktest
