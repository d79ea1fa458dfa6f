// SPDX-License-Identifier: Apache-2.0
// One operation as a value (collective, type, op, count, ...), its inputs and exact result as pure
// functions, and a runner that issues it on a rank and checks every byte, guard bytes included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "flexlink/nccl.h"
#include "support/rank_run.h"
#include "support/values.h"

namespace ranktest {

enum class Coll {
  kAllReduce,
  kBroadcast,
  kBcast,
  kReduce,
  kAllGather,
  kReduceScatter,
  kAlltoAll,
  kGather,
  kScatter,
  kSendRecv,  // to rank + shift, from rank − shift, in a group; shift 0 is a self send
};
inline constexpr Coll kAllColls[] = {
    Coll::kAllReduce,     Coll::kBroadcast, Coll::kBcast,  Coll::kReduce,  Coll::kAllGather,
    Coll::kReduceScatter, Coll::kAlltoAll,  Coll::kGather, Coll::kScatter, Coll::kSendRecv};
const char* collText(Coll coll);
bool reduces(Coll coll);
bool hasRoot(Coll coll);

enum class Memory { kMalloc, kMemAlloc, kRegistered, kRegisteredMemAlloc, kMixed };
inline constexpr Memory kAllMemories[] = {Memory::kMalloc, Memory::kMemAlloc, Memory::kRegistered,
                                          Memory::kRegisteredMemAlloc, Memory::kMixed};

struct Case {
  Coll coll = Coll::kAllReduce;
  ncclDataType_t type = ncclFloat32;
  Op op = Op::kSum;
  size_t count = 1;  // of one block
  int root = 0;
  int shift = 1;  // kSendRecv
  bool inPlace = false;
  int misalign = 0;                 // elements behind a 64-byte boundary, 0..7
  Memory memory = Memory::kMalloc;  // kMixed: each rank and buffer draws its own
  bool smallIntegers = true;        // exact in every type; else arbitrary bits
  bool configForm = false;          // the ...Config function, with an initialised struct
  bool nullUnused = false;          // NULL for buffers that this rank neither reads nor writes
  uint64_t key = 0;                 // of the inputs

  std::string text() const;
};

// The case number `index` of a pseudo-random list; maxBytes bounds one rank's larger buffer.
Case drawCase(uint64_t seed, uint64_t index, int ranks, size_t maxBytes);

// Element i of block `block` of rank `rank`'s send buffer; of its result.
Bits inputBits(const Case& c, int ranks, int rank, int block, size_t i);
Bits resultBits(const Case& c, int ranks, int rank, int block, size_t i);
// The scalar that rank `rank` gives to kPreMulSum.
Bits scalarBits(const Case& c, int rank);
// Blocks of `count` elements in a rank's buffers.
int sendBlocks(Coll coll, int ranks);
int recvBlocks(Coll coll, int ranks);
// One period of a block as bytes (the whole block where it is shorter); the block repeats it.
std::string patternOf(const Case& c, int ranks, int rank, int block, bool input);

// Memory of one kind, handed out from the start again after reset(). On a GPU the library is given
// memory of that, and a test sees a copy.
class Arena {
 public:
  Arena(bool memAlloc, size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  // `bytes` that begin `offset` bytes behind a 64-byte boundary, with guard bytes around.
  char* take(size_t bytes, size_t offset);
  void reset() { used_ = 0; }

  // What the library is given for this address.
  char* given(char* at) const { return onGpu_ == nullptr ? at : onGpu_ + (at - base_); }

  // To the GPU, and back; guard bytes included.
  void upload(const char* data, size_t bytes) const;
  void download(char* data, size_t bytes) const;

 private:
  bool memAlloc_;
  char* base_ = nullptr;
  char* onGpu_ = nullptr;
  size_t size_ = 0;
  size_t used_ = 0;
};

// Runs cases on one rank of one communicator. Thread: the rank's own.
class CaseRunner {
 public:
  CaseRunner(ncclComm_t comm, int rank, int ranks, size_t arenaBytes);
  ~CaseRunner();

  // Prepares the buffers, calls the library, and returns; the work may still be under way.
  void issue(const Case& c, cudaStream_t stream);
  // Checks all that was issued since the last call, which must be finished, and forgets it.
  void verifyAll();
  // issue, wait for the stream (unless NULL), verify.
  void run(const Case& c, cudaStream_t stream);
  // A number made of all result bytes since the runner was made.
  uint64_t digest() const { return digest_; }

 private:
  struct Region {
    char* data = nullptr;  // payload; guards lie on both sides
    size_t bytes = 0;
    const Arena* arena = nullptr;
    void* handle = nullptr;  // of ncclCommRegister
  };
  struct Issued {
    Case c;
    Region send;
    Region recv;
    bool oneRegion = false;  // in place: recv and send lie in the same region
    char* sendAt = nullptr;
    char* recvAt = nullptr;
    const void* sendGiven() const { return send.arena->given(sendAt); }
    void* recvGiven() const { return recv.arena->given(recvAt); }
  };

  Memory memoryOf(const Case& c, bool send) const;
  Region makeRegion(const Case& c, bool send, int blocks);
  Issued prepare(const Case& c);
  void call(const Issued& it, cudaStream_t stream);
  ncclResult_t callPlain(const Issued& it, ncclRedOp_t op, cudaStream_t stream);
  ncclResult_t callConfig(const Issued& it, ncclRedOp_t op, cudaStream_t stream);
  ncclResult_t callSendRecv(const Issued& it, cudaStream_t stream);
  ncclRedOp_t makeOp(const Case& c);
  void verify(const Issued& it);
  void checkBlock(const Issued& it, const char* what, const char* at, int block, bool input);
  void checkGuards(const Issued& it, const Region& region) const;
  bool readsSend(const Case& c) const;
  bool writesRecv(const Case& c) const;

  ncclComm_t comm_;
  int rank_;
  int ranks_;
  std::unique_ptr<Arena> plain_;
  std::unique_ptr<Arena> shared_;
  std::vector<Issued> issued_;
  uint64_t digest_ = 0;
};

// FLEXLINK_TEST_SEED, else a fixed number.
uint64_t testSeed();

}  // namespace ranktest
