// SPDX-License-Identifier: Apache-2.0
// flexlinkPlan: the balancer's own model and split through the C API, for machines that need not
// be there. It turns structs into structs; whatever decides is in balance/.
#include <algorithm>
#include <span>
#include <vector>

#include "api/export.h"
#include "balance/fit.h"
#include "balance/path_model.h"
#include "balance/weights.h"

namespace flexlink {
namespace {

static_assert(kMostPaths <= kMostLanes);

struct Problem {
  std::vector<PathModel> paths;
  std::vector<Cap> caps;
  Collective kind = Collective::kAllReduce;
  double sent = 0;     // bytes that each rank sends
  uint64_t block = 0;  // bytes of a rank's block, which the split is about
};

Status checkShape(const flexlinkPlanInput* input, const flexlinkPlanOutput* output) {
  if (input == nullptr || output == nullptr) {
    return makeStatus(Code::kInvalidArgument, "flexlinkPlan: %s is NULL",
                      input == nullptr ? "the input" : "the output");
  }
  if (input->size < sizeof(*input) || output->size < sizeof(*output)) {
    return makeStatus(Code::kInvalidArgument,
                      "flexlinkPlan: sizes %zu and %zu; set them to %zu and %zu (sizeof)",
                      input->size, output->size, sizeof(*input), sizeof(*output));
  }
  if (output->shares == nullptr || (input->paths == nullptr && input->pathCount > 0) ||
      (input->caps == nullptr && input->capCount > 0)) {
    return makeStatus(Code::kInvalidArgument, "flexlinkPlan: shares, paths or caps is NULL");
  }
  if (input->pathCount < 1 || input->pathCount > kMostPaths || input->capCount > kMostPaths) {
    return makeStatus(Code::kInvalidArgument,
                      "flexlinkPlan: %zu paths and %zu caps; 1 to %d and 0 to %d", input->pathCount,
                      input->capCount, kMostPaths, kMostPaths);
  }
  if (input->ranks < 2 || input->bytes == 0) {
    return makeStatus(Code::kInvalidArgument,
                      "flexlinkPlan: %d ranks, %llu bytes; at least 2 ranks and 1 byte",
                      input->ranks, static_cast<unsigned long long>(input->bytes));
  }
  return {};
}

Result<Collective> kindOf(int32_t collective) {
  switch (collective) {
    case flexlinkPlanAllReduce:
      return Collective::kAllReduce;
    case flexlinkPlanAllGather:
      return Collective::kAllGather;
    case flexlinkPlanReduceScatter:
      return Collective::kReduceScatter;
    case flexlinkPlanAlltoAll:
      return Collective::kAlltoAll;
    default:
      return makeStatus(Code::kInvalidArgument,
                        "flexlinkPlan: collective %d; flexlinkPlanAllReduce (0) to "
                        "flexlinkPlanAlltoAll (3)",
                        collective);
  }
}

Status readPaths(const flexlinkPlanInput& input, Problem* problem) {
  for (size_t i = 0; i < input.pathCount; ++i) {
    const flexlinkPlanPath& path = input.paths[i];
    if (path.schedule != flexlinkPlanRing && path.schedule != flexlinkPlanDirect) {
      return makeStatus(Code::kInvalidArgument,
                        "flexlinkPlan: path %zu: schedule %d; flexlinkPlanRing (0) or "
                        "flexlinkPlanDirect (1)",
                        i, path.schedule);
    }
    int steps = stepsOf(problem->kind, static_cast<StepRule>(path.schedule), input.ranks);
    problem->paths.push_back({path.rate, path.latency, path.chunk, path.stages, steps});
  }
  return {};
}

Status readCaps(const flexlinkPlanInput& input, Problem* problem) {
  for (size_t i = 0; i < input.capCount; ++i) {
    const flexlinkPlanCap& cap = input.caps[i];
    if (cap.crossings == nullptr) {
      return makeStatus(Code::kInvalidArgument, "flexlinkPlan: cap %zu: crossings is NULL", i);
    }
    problem->caps.push_back({cap.rate, {cap.crossings, cap.crossings + input.pathCount}});
  }
  return {};
}

Result<Problem> read(const flexlinkPlanInput& input) {
  Problem problem;
  FLEXLINK_TRY_ASSIGN(problem.kind, kindOf(input.collective));
  FLEXLINK_TRY(readPaths(input, &problem));
  FLEXLINK_TRY(readCaps(input, &problem));
  auto ranks = static_cast<uint64_t>(input.ranks);
  bool whole = problem.kind == Collective::kAllReduce;
  problem.block = whole ? input.bytes : input.bytes / ranks;
  problem.sent = sentPerByte(problem.kind, input.ranks) * static_cast<double>(input.bytes);
  return problem;
}

// The primary has its own caps also when it is alone.
Result<double> secondsAlone(const Problem& problem) {
  std::vector<Cap> caps = problem.caps;
  for (Cap& cap : caps) cap.crossings.resize(1);
  FLEXLINK_TRY_ASSIGN(Fit alone, fit(std::span(problem.paths).first(1), caps, problem.sent));
  return alone.seconds;
}

void writeShares(const Problem& problem, const Fit& best, flexlinkPlanShare* shares) {
  Weights weights = weightsOf(best.bytes);
  for (size_t i = 0; i < problem.paths.size(); ++i) {
    shares[i] = {best.bytes[i] / problem.sent, weights.parts[i], 0, 0};
  }
  for (const Slice& slice : split(problem.block, weights, granularityOf(1))) {
    shares[slice.lane].offset = slice.offset;
    shares[slice.lane].length = slice.length;
  }
}

Status plan(const flexlinkPlanInput& input, flexlinkPlanOutput* output) {
  FLEXLINK_TRY_ASSIGN(Problem problem, read(input));
  FLEXLINK_TRY_ASSIGN(Fit best, fit(problem.paths, problem.caps, problem.sent));
  FLEXLINK_TRY_ASSIGN(double alone, secondsAlone(problem));
  FLEXLINK_TRY_ASSIGN(double full, fullRate(problem.paths, problem.caps));
  writeShares(problem, best, output->shares);
  output->seconds = best.seconds;
  output->secondsAlone = alone;
  output->busbw = problem.sent / best.seconds;
  output->busbwAlone = problem.sent / alone;
  output->fullBusbw = full;
  output->aloneBelow = aloneBelow(problem.paths) / sentPerByte(problem.kind, input.ranks);
  return {};
}

}  // namespace
}  // namespace flexlink

FLEXLINK_OWN_API(ncclResult_t, flexlinkPlan,
                 (const flexlinkPlanInput* input, flexlinkPlanOutput* output)) {
  return flexlink::guarded([&]() -> flexlink::Status {
    FLEXLINK_TRY(flexlink::checkShape(input, output));
    return flexlink::plan(*input, output);
  });
}
