// SPDX-License-Identifier: Apache-2.0
// The host side of the vendor's device API: objects that only kernels on a GPU can use. Without the
// vendor's library nothing of it can be true, so each function refuses and says so. Arguments are
// not looked at: nothing that a caller could pass would make a difference.
#include "api/export.h"

namespace flexlink {
namespace {

Status refusal(const char* function) {
  return makeStatus(Code::kInvalidUsage,
                    "%s needs a GPU and NVIDIA's NCCL library: FlexLink runs on host memory here, "
                    "where no kernel can use its result; use the host collectives instead, or run "
                    "this program on NVIDIA's libnccl.so.2",
                    function);
}

ncclResult_t refuse(const char* function) noexcept {
  return guarded([&] { return refusal(function); });
}

// For functions without a result code: the text alone says that the value means nothing.
template <typename Value>
Value refuseWith(const char* function, Value nothing) noexcept {
  static_cast<void>(refuse(function));
  return nothing;
}

constexpr ncclTeam_t kEmptyTeam = {0, 0, 0};
constexpr int kNoRank = -1;

}  // namespace
}  // namespace flexlink

// Encryption: also "none" is refused, so that success never reads as protection.
FLEXLINK_API(ncclResult_t, ncclSetEncryption, (const ncclEncryptionConfig_t*)) {
  return flexlink::guarded([] {
    return flexlink::makeStatus(
        flexlink::Code::kInvalidUsage,
        "ncclSetEncryption needs NVIDIA's NCCL library: FlexLink authenticates its connections "
        "with "
        "the cookie of the unique id but does not encrypt them; use a private network or a tunnel");
  });
}

// Device communicators.
FLEXLINK_API(ncclResult_t, ncclDevCommCreate,
             (ncclComm_t, const ncclDevCommRequirements_t*, ncclDevComm_t*)) {
  return refuse("ncclDevCommCreate");
}

FLEXLINK_API(ncclResult_t, ncclDevCommDestroy, (ncclComm_t, const ncclDevComm_t*)) {
  return refuse("ncclDevCommDestroy");
}

// Where a window is seen from a GPU.
FLEXLINK_API(ncclResult_t, ncclGetLsaMultimemDevicePointer, (ncclWindow_t, size_t, void**)) {
  return refuse("ncclGetLsaMultimemDevicePointer");
}

FLEXLINK_API(ncclResult_t, ncclGetMultimemDevicePointer,
             (ncclWindow_t, size_t, ncclMultimemHandle_t, void**)) {
  return refuse("ncclGetMultimemDevicePointer");
}

FLEXLINK_API(ncclResult_t, ncclGetLsaDevicePointer, (ncclWindow_t, size_t, int, void**)) {
  return refuse("ncclGetLsaDevicePointer");
}

FLEXLINK_API(ncclResult_t, ncclGetPeerDevicePointer, (ncclWindow_t, size_t, int, void**)) {
  return refuse("ncclGetPeerDevicePointer");
}

FLEXLINK_API(ncclResult_t, ncclGetMultimemDeviceLeInfo,
             (ncclWindow_t, size_t, ncclCftLeId*, size_t*)) {
  return refuse("ncclGetMultimemDeviceLeInfo");
}

FLEXLINK_API(ncclResult_t, ncclGetCftDeviceLeInfo,
             (ncclWindow_t, size_t, int, ncclTeam_t, ncclCftLeId*, size_t*)) {
  return refuse("ncclGetCftDeviceLeInfo");
}

FLEXLINK_API(ncclResult_t, ncclGetPeerDeviceLeInfo,
             (ncclWindow_t, size_t, int, ncclCftLeId*, size_t*)) {
  return refuse("ncclGetPeerDeviceLeInfo");
}

// Teams.
FLEXLINK_API(ncclTeam_t, ncclTeamWorld, (ncclComm_t)) {
  return refuseWith("ncclTeamWorld", kEmptyTeam);
}

FLEXLINK_API(ncclTeam_t, ncclTeamLsa, (ncclComm_t)) {
  return refuseWith("ncclTeamLsa", kEmptyTeam);
}

FLEXLINK_API(ncclTeam_t, ncclTeamRail, (ncclComm_t)) {
  return refuseWith("ncclTeamRail", kEmptyTeam);
}

FLEXLINK_API(ncclTeam_t, ncclTeamCft, (ncclComm_t, ncclCftTeamMode_t)) {
  return refuseWith("ncclTeamCft", kEmptyTeam);
}

FLEXLINK_API(ncclTeam_t, ncclTeamCftMultimem, (ncclComm_t)) {
  return refuseWith("ncclTeamCftMultimem", kEmptyTeam);
}

FLEXLINK_API(int, ncclTeamRankToWorld, (ncclComm_t, ncclTeam_t, int)) {
  return refuseWith("ncclTeamRankToWorld", kNoRank);
}

FLEXLINK_API(int, ncclTeamRankToLsa, (ncclComm_t, ncclTeam_t, int)) {
  return refuseWith("ncclTeamRankToLsa", kNoRank);
}

// Requirements of a device communicator.
FLEXLINK_API(ncclResult_t, ncclLsaBarrierCreateRequirement,
             (ncclTeam_t, int, ncclLsaBarrierHandle_t*, ncclDevResourceRequirements_t*)) {
  return refuse("ncclLsaBarrierCreateRequirement");
}

FLEXLINK_API(ncclResult_t, ncclGinBarrierCreateRequirement,
             (ncclComm_t, ncclTeam_t, int, ncclGinBarrierHandle_t*,
              ncclDevResourceRequirements_t*)) {
  return refuse("ncclGinBarrierCreateRequirement");
}

FLEXLINK_API(ncclResult_t, ncclLLA2ACreateRequirement,
             (int, int, ncclLLA2AHandle_t*, ncclDevResourceRequirements_t*)) {
  return refuse("ncclLLA2ACreateRequirement");
}

FLEXLINK_API(ncclResult_t, ncclGinOutboxCreateRequirement,
             (int, int, ncclGinOutboxHandle*, ncclDevResourceRequirements_t*)) {
  return refuse("ncclGinOutboxCreateRequirement");
}

FLEXLINK_API(ncclResult_t, ncclGinInboxA2ACreateRequirement,
             (ncclTeam_t, int, int, ncclGinInboxA2AHandle*, ncclDevResourceRequirements_t*)) {
  return refuse("ncclGinInboxA2ACreateRequirement");
}

// The one that is plain arithmetic. Unsigned inside: numbers too large wrap as the vendor's do,
// without undefined behaviour.
FLEXLINK_API(int, ncclLLA2ACalcSlots, (int maxElts, int maxEltSize)) {
  constexpr int kSlotBytes = 8;
  int rounded = static_cast<int>(static_cast<unsigned>(maxEltSize) + (kSlotBytes - 1));
  return static_cast<int>(static_cast<unsigned>(maxElts) *
                          static_cast<unsigned>(rounded / kSlotBytes));
}
