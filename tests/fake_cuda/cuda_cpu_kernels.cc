// SPDX-License-Identifier: Apache-2.0
#include "fake_cuda/cuda_cpu_kernels.h"

#include "device/cuda/kernels/list.h"

namespace flexlink::test {
namespace {

using cuda::FoldPack;

struct Row {
  const char* name;
  void (*run)(const FoldPack& pack, size_t thread, size_t threads);
};

// The names in namespace cuda are those of list.h's rows.
const std::vector<Row>& rows() {
  using namespace cuda;  // NOLINT(google-build-using-namespace)
  static const std::vector<Row> rows = {
#define X(type, op, Number, Operation) {"flexlink_" #type "_" #op, &Fold<Number, Operation>::run},
      FLEXLINK_FOLD_KERNELS(X)
#undef X
  };
  return rows;
}

}  // namespace

std::vector<std::string> cpuKernelNames() {
  std::vector<std::string> names;
  for (const Row& row : rows()) names.emplace_back(row.name);
  return names;
}

bool runOnCpu(const std::string& name, const FoldPack& pack, size_t threads) {
  for (const Row& row : rows()) {
    if (name != row.name) continue;
    for (size_t thread = 0; thread < threads; ++thread) row.run(pack, thread, threads);
    return true;
  }
  return false;
}

}  // namespace flexlink::test
