// SPDX-License-Identifier: Apache-2.0
#include "api/redop.h"

#include <string.h>

#include <optional>

#include "api/export.h"
#include "api/handles.h"

namespace flexlink {
namespace {

constexpr uint32_t kSlotBits = 10;
// The highest numbers of all are those of flexlinkBitAnd and its like.
constexpr uint32_t kMaxOps = (1u << kSlotBits) - ncclNumOps - 16;

constexpr std::optional<ReduceOp> bitwise(ncclRedOp_t op) {
  if (op == flexlinkBitAnd) return ReduceOp::kBitAnd;
  if (op == flexlinkBitOr) return ReduceOp::kBitOr;
  if (op == flexlinkBitXor) return ReduceOp::kBitXor;
  return std::nullopt;
}

// As the vendor does, the number carries something of the communicator, so that an op of another
// communicator is found out.
uint32_t tagOf(const Communicator& comm) {
  return static_cast<uint32_t>((comm.hash() ^ static_cast<uint64_t>(comm.rank()) * 0x9e3779b9) &
                               0x1fffff)
         << kSlotBits;
}

UserOp* find(Communicator& comm, ncclRedOp_t op) {
  auto number = static_cast<uint32_t>(op);
  uint32_t slot = (number & ((1u << kSlotBits) - 1)) - ncclNumOps;
  bool ours = (number & ~((1u << kSlotBits) - 1)) == tagOf(comm);
  if (!ours || slot >= comm.userOps.size() || !comm.userOps[slot].used) return nullptr;
  return &comm.userOps[slot];
}

Status create(Communicator& comm, ncclRedOp_t* op, UserOp made) {
  uint32_t slot = 0;
  while (slot < comm.userOps.size() && comm.userOps[slot].used) ++slot;
  if (slot == kMaxOps) {
    return makeStatus(Code::kInvalidUsage,
                      "%u reduction ops are alive on this communicator; destroy "
                      "some with ncclRedOpDestroy",
                      kMaxOps);
  }
  if (slot == comm.userOps.size()) comm.userOps.emplace_back();
  comm.userOps[slot] = made;
  *op = static_cast<ncclRedOp_t>(tagOf(comm) | (slot + ncclNumOps));
  return {};
}

}  // namespace

Status resolveOp(Communicator& comm, ncclRedOp_t op, Call* call) {
  if (op >= ncclSum && op <= ncclAvg) {
    call->op = static_cast<ReduceOp>(op);
    return {};
  }
  if (std::optional<ReduceOp> bits = bitwise(op)) {
    if (!isInteger(call->type)) {
      return makeStatus(Code::kInvalidArgument, "%s is for integers, not for %s", opName(*bits),
                        typeName(call->type));
    }
    call->op = *bits;
    return {};
  }
  const UserOp* made = find(comm, op);
  if (made == nullptr) {
    return makeStatus(Code::kInvalidArgument, "%d is no reduction op of this communicator",
                      static_cast<int>(op));
  }
  if (made->type != call->type) {
    return makeStatus(Code::kInvalidArgument, "this op was made for %s and is used with %s",
                      typeName(made->type), typeName(call->type));
  }
  call->op = ReduceOp::kPreMulSum;
  call->scalar = made->scalar;
  call->scalarAddress = made->address;
  return {};
}

}  // namespace flexlink

FLEXLINK_API(ncclResult_t, ncclRedOpCreatePreMulSum,
             (ncclRedOp_t * op, void* scalar, ncclDataType_t datatype,
              ncclScalarResidence_t residence, ncclComm_t comm)) {
  using namespace flexlink;
  return guarded([&] {
    return withCommunicator(comm, [&](Communicator& impl) -> Status {
      if (op == nullptr || scalar == nullptr || datatype < 0 || datatype >= ncclNumTypes) {
        return makeStatus(Code::kInvalidArgument,
                          "ncclRedOpCreatePreMulSum: op or scalar is NULL, or "
                          "%d is no data type",
                          static_cast<int>(datatype));
      }
      UserOp made{true, static_cast<DataType>(datatype), 0, nullptr};
      if (residence == ncclScalarHostImmediate) {
        memcpy(&made.scalar, scalar, typeSize(made.type));
      } else if (residence == ncclScalarDevice) {
        made.address = scalar;
      } else {
        return makeStatus(Code::kInvalidArgument,
                          "ncclRedOpCreatePreMulSum: there is no scalar "
                          "residence %d",
                          static_cast<int>(residence));
      }
      return create(impl, op, made);
    });
  });
}

FLEXLINK_API(ncclResult_t, ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm)) {
  using namespace flexlink;
  return guarded([&] {
    return withCommunicator(comm, [&](Communicator& impl) -> Status {
      UserOp* made = find(impl, op);
      if (made == nullptr) {
        return makeStatus(Code::kInvalidArgument,
                          "%d is no reduction op that was made on this "
                          "communicator",
                          static_cast<int>(op));
      }
      *made = UserOp{};
      return {};
    });
  });
}
