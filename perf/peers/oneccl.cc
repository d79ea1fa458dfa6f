// SPDX-License-Identifier: Apache-2.0
// One rank of oneCCL on host memory in a comparison (src/worker.h). It meets over Intel MPI, as its
// own examples do; every call waits for its event.
#include <mpi.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <oneapi/ccl.hpp>

#include "backend.h"
#include "fail.h"
#include "worker.h"

namespace flexlink::perf {
namespace {

ccl::datatype datatypeOf(Type type) {
  switch (type) {
    case Type::kInt8:
      return ccl::datatype::int8;
    case Type::kUint8:
      return ccl::datatype::uint8;
    case Type::kInt32:
      return ccl::datatype::int32;
    case Type::kUint32:
      return ccl::datatype::uint32;
    case Type::kInt64:
      return ccl::datatype::int64;
    case Type::kUint64:
      return ccl::datatype::uint64;
    case Type::kHalf:
      return ccl::datatype::float16;
    case Type::kDouble:
      return ccl::datatype::float64;
    case Type::kBfloat16:
      return ccl::datatype::bfloat16;
    default:
      return ccl::datatype::float32;
  }
}

ccl::reduction opOf(Op op) {
  switch (op) {
    case Op::kProd:
      return ccl::reduction::prod;
    case Op::kMax:
      return ccl::reduction::max;
    case Op::kMin:
      return ccl::reduction::min;
    default:
      return ccl::reduction::sum;
  }
}

class CclBackend final : public Backend {
 public:
  CclBackend() {
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    ccl::init();
    ccl::kvs::address_type address;
    if (rank_ == 0) {
      store_ = ccl::create_main_kvs();
      address = store_->get_address();
    }
    MPI_Bcast(address.data(), static_cast<int>(address.size()), MPI_BYTE, 0, MPI_COMM_WORLD);
    if (rank_ != 0) store_ = ccl::create_kvs(address);
    comm_ = std::make_unique<ccl::communicator>(ccl::create_communicator(ranks_, rank_, store_));
  }

  std::string name() const override {
    const ccl::library_version version = ccl::get_library_version();
    return "oneCCL " + std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.update);
  }
  int ranks() const override { return ranks_; }
  int firstRank() const override { return rank_; }
  std::string error() const override { return error_; }

  std::string refusal(const Call& call) const override {
    if (call.collective == Collective::kGather || call.collective == Collective::kScatter) {
      return std::string("oneCCL has no ") + collectiveName(call.collective);
    }
    if (call.collective == Collective::kSendRecv) {
      return "oneCCL 2022.1.2 looks for a GPU in send and recv and crashes on host memory";
    }
    if (call.type == Type::kFloat8e4m3 || call.type == Type::kFloat8e5m2) {
      return std::string("oneCCL has no type ") + typeName(call.type);
    }
    if (reduces(call.collective) && call.op >= Op::kAvg) {
      return std::string("oneCCL has no op ") + opName(call.op);
    }
    if (call.collective == Collective::kBroadcast && call.send != call.recv) {
      return "oneCCL broadcasts in place: use --inplace 1";
    }
    return {};
  }

  bool enqueue(std::span<const Call> calls) override {
    try {
      issue(calls[0]);
      return true;
    } catch (const std::exception& caught) {
      error_ = caught.what();
      return false;
    }
  }

 private:
  void issue(const Call& c) {
    const ccl::datatype type = datatypeOf(c.type);
    void* send = const_cast<void*>(c.send);
    switch (c.collective) {
      case Collective::kAllReduce:
        ccl::allreduce(send, c.recv, c.count, type, opOf(c.op), *comm_).wait();
        return;
      case Collective::kAllGather:
        ccl::allgather(send, c.recv, c.count, type, *comm_).wait();
        return;
      case Collective::kBroadcast:
        ccl::broadcast(c.recv, c.count, type, c.root, *comm_).wait();
        return;
      case Collective::kReduceScatter:
        ccl::reduce_scatter(send, c.recv, c.count, type, opOf(c.op), *comm_).wait();
        return;
      case Collective::kReduce:
        ccl::reduce(send, c.recv, c.count, type, opOf(c.op), c.root, *comm_).wait();
        return;
      case Collective::kAlltoAll:
        ccl::alltoall(send, c.recv, c.count, type, *comm_).wait();
        return;
      default:
        return;  // refused before
    }
  }

  int ranks_ = 1;
  int rank_ = 0;
  ccl::shared_ptr_class<ccl::kvs> store_;
  std::unique_ptr<ccl::communicator> comm_;
  std::string error_;
};

int localRank() {
  for (const char* name : {"MPI_LOCALRANKID", "PMI_RANK"}) {
    if (const char* value = std::getenv(name)) return std::atoi(value);
  }
  fail("no local rank in the environment: start this by flexlink_perf --vs");
}

}  // namespace
}  // namespace flexlink::perf

int main(int argc, char** argv) {
  flexlink::perf::pinWorker(flexlink::perf::localRank());
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int status = 0;
  {
    flexlink::perf::CclBackend backend;
    status = flexlink::perf::serveWorker(&backend);
  }
  MPI_Finalize();
  return status;
}
