// SPDX-License-Identifier: Apache-2.0
// One rank of an MPI library in a comparison (src/worker.h). Compiled by prepare.py with the
// wrapper of the library to measure, together with the sources that all workers share.
#include <mpi.h>

#include <climits>
#include <cstdlib>
#include <cstring>

#include "backend.h"
#include "fail.h"
#include "worker.h"

namespace flexlink::perf {
namespace {

MPI_Datatype datatypeOf(Type type) {
  switch (type) {
    case Type::kInt8:
      return MPI_INT8_T;
    case Type::kUint8:
      return MPI_UINT8_T;
    case Type::kInt32:
      return MPI_INT32_T;
    case Type::kUint32:
      return MPI_UINT32_T;
    case Type::kInt64:
      return MPI_INT64_T;
    case Type::kUint64:
      return MPI_UINT64_T;
    case Type::kFloat:
      return MPI_FLOAT;
    case Type::kDouble:
      return MPI_DOUBLE;
    default:
      return MPI_DATATYPE_NULL;
  }
}

MPI_Op opOf(Op op) {
  switch (op) {
    case Op::kSum:
      return MPI_SUM;
    case Op::kProd:
      return MPI_PROD;
    case Op::kMax:
      return MPI_MAX;
    case Op::kMin:
      return MPI_MIN;
    default:
      return MPI_OP_NULL;
  }
}

class MpiBackend final : public Backend {
 public:
  MpiBackend() {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  }

  std::string name() const override {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(text, &length);
    std::string line;  // some put a page there; the first two tokens' line is enough
    for (const char* c = text; *c && *c != '\n' && *c != ','; ++c) line += *c == '\t' ? ' ' : *c;
    return line;
  }
  int ranks() const override { return ranks_; }
  int firstRank() const override { return rank_; }
  std::string error() const override { return error_; }

  std::string refusal(const Call& call) const override {
    const bool copies = !reduces(call.collective);
    if (datatypeOf(call.type) == MPI_DATATYPE_NULL) {
      return std::string("MPI has no type ") + typeName(call.type);
    }
    if (!copies && opOf(call.op) == MPI_OP_NULL)
      return std::string("MPI has no op ") + opName(call.op);
    if (call.count > INT_MAX) return "MPI's counts end at 2147483647 elements";
    const bool inPlace = isInPlace(call);
    if (call.collective == Collective::kBroadcast && !inPlace) {
      return "MPI broadcasts in place: use --inplace 1";
    }
    const bool elsewhere =
        call.collective == Collective::kReduceScatter || call.collective == Collective::kAlltoAll;
    if (elsewhere && inPlace && ranks_ > 1) {
      return "MPI puts the result elsewhere in place: use --inplace 0";
    }
    return {};
  }

  bool enqueue(std::span<const Call> calls) override {
    const int code = issue(calls[0]);
    if (code == MPI_SUCCESS) [[likely]]
      return true;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    error_ = text;
    return false;
  }

 private:
  // In NCCL's sense: the own block lies where it belongs in the larger buffer.
  bool isInPlace(const Call& c) const {
    const auto* send = static_cast<const char*>(c.send);
    const auto* recv = static_cast<const char*>(c.recv);
    const size_t own = static_cast<size_t>(rank_) * c.count * typeSize(c.type);
    if (c.collective == Collective::kAllGather || c.collective == Collective::kGather) {
      return send == recv + own;
    }
    if (c.collective == Collective::kReduceScatter || c.collective == Collective::kScatter) {
      return recv == send + own;
    }
    return send == recv;
  }

  int issue(const Call& c) {
    const MPI_Datatype type = datatypeOf(c.type);
    const int count = static_cast<int>(c.count);
    const MPI_Comm world = MPI_COMM_WORLD;
    const bool root = rank_ == c.root;
    const void* send = isInPlace(c) ? MPI_IN_PLACE : c.send;
    switch (c.collective) {
      case Collective::kAllReduce:
        return MPI_Allreduce(send, c.recv, count, type, opOf(c.op), world);
      case Collective::kAllGather:
        return MPI_Allgather(send, count, type, c.recv, count, type, world);
      case Collective::kBroadcast:
        return MPI_Bcast(c.recv, count, type, c.root, world);
      case Collective::kReduceScatter:
        return MPI_Reduce_scatter_block(c.send, c.recv, count, type, opOf(c.op), world);
      case Collective::kReduce:
        return MPI_Reduce(root ? send : c.send, root ? c.recv : nullptr, count, type, opOf(c.op),
                          c.root, world);
      case Collective::kAlltoAll:
        return MPI_Alltoall(c.send, count, type, c.recv, count, type, world);
      case Collective::kGather:
        return MPI_Gather(root ? send : c.send, count, type, c.recv, count, type, c.root, world);
      case Collective::kScatter:
        return MPI_Scatter(c.send, count, type, root && isInPlace(c) ? MPI_IN_PLACE : c.recv, count,
                           type, c.root, world);
      case Collective::kSendRecv:
        return MPI_Sendrecv(c.send, count, type, (rank_ + 1) % ranks_, 0, c.recv, count, type,
                            (rank_ + ranks_ - 1) % ranks_, 0, world, MPI_STATUS_IGNORE);
    }
    return MPI_ERR_ARG;
  }

  int ranks_ = 1;
  int rank_ = 0;
  std::string error_;
};

int localRank() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_RANK"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  fail("no local rank in the environment: start this by flexlink_perf --vs");
}

}  // namespace
}  // namespace flexlink::perf

int main(int argc, char** argv) {
  flexlink::perf::pinWorker(flexlink::perf::localRank());
  MPI_Init(&argc, &argv);
  int status = 0;
  {
    flexlink::perf::MpiBackend backend;
    status = flexlink::perf::serveWorker(&backend);
  }
  MPI_Finalize();
  return status;
}
