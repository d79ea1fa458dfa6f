// SPDX-License-Identifier: Apache-2.0
#include "device/host/stream_work.h"

#include <atomic>

#include "device/host/exchange.h"

namespace flexlink {

StreamWork StreamWork::writeValue(uint64_t* at, uint64_t value) {
  StreamWork work{Kind::kWrite};
  work.at = at;
  work.value = value;
  return work;
}

StreamWork StreamWork::waitValue(const uint64_t* at, uint64_t value) {
  StreamWork work{Kind::kAwait};
  work.at = const_cast<uint64_t*>(at);  // std::atomic_ref takes no const; it is only read
  work.value = value;
  return work;
}

StreamWork StreamWork::copy(void* dst, const void* src, size_t bytes) {
  StreamWork work{Kind::kCopy};
  work.bytes = bytes;
  work.dsts = {dst};
  work.srcs = {src};
  return work;
}

StreamWork StreamWork::fold(const FoldArgs& args) {
  StreamWork work{Kind::kFold};
  work.dsts.assign(args.dsts, args.dsts + args.nDsts);
  work.srcs.assign(args.srcs, args.srcs + args.nSrcs);
  if (args.op == ReduceOp::kPreMulSum) work.scalars.assign(args.scalars, args.scalars + args.nSrcs);
  work.folded = args;
  return work;
}

// seq_cst: pairs with the acquire load of whoever awaits the counter, and with Doorbell::sleep of a
// thread of this process. One in another process naps.
void StreamWork::write() const {
  std::atomic_ref<uint64_t>(*at).store(value, std::memory_order_seq_cst);
  ringOwnDoorbell();
}

// Acquire: pairs with the store in write(), or of a CPU or a device elsewhere.
bool StreamWork::reached() const {
  return std::atomic_ref<uint64_t>(*at).load(std::memory_order_acquire) >= value;
}

void StreamWork::perform() const {
  if (kind == Kind::kCopy) return copyTo(dsts.data(), 1, srcs[0], bytes, 0);
  FoldArgs args = folded;
  args.dsts = dsts.data();
  args.srcs = srcs.data();
  args.scalars = scalars.data();
  flexlink::fold(args);
}

}  // namespace flexlink
