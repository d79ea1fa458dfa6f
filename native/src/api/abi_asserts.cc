// SPDX-License-Identifier: Apache-2.0
// Every size, offset and number of the C ABI, as measured on NCCL 2.32.3 (x86-64). A line that
// fails means that programs built against the vendor's header would misread us: change the header,
// never the line. Compiles to nothing.
#include <cstddef>
#include <type_traits>

#include "flexlink/nccl.h"

namespace {

#define SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)
#define AT(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field)
#define VALUE(name, value) static_assert(static_cast<long long>(name) == (value), #name)

// Version.
VALUE(NCCL_VERSION_CODE, 23203);
VALUE(NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH), NCCL_VERSION_CODE);
VALUE(NCCL_VERSION(2, 8, 4), 2804);
VALUE(NCCL_VERSION(2, 27, 5), 22705);

// Handles are pointers; the id and the teams go by value.
SIZE(ncclComm_t, 8);
SIZE(ncclWindow_t, 8);
SIZE(ncclParamHandle_t, 8);
SIZE(cudaStream_t, 8);
SIZE(cudaEvent_t, 8);
SIZE(ncclUniqueId, 128);
SIZE(ncclTeam_t, 12);
static_assert(std::is_trivially_copyable_v<ncclUniqueId> && alignof(ncclUniqueId) == 1);
AT(ncclTeam_t, nRanks, 0);
AT(ncclTeam_t, rank, 4);
AT(ncclTeam_t, stride, 8);

// Results.
SIZE(ncclResult_t, 4);
VALUE(ncclSuccess, 0);
VALUE(ncclUnhandledCudaError, 1);
VALUE(ncclSystemError, 2);
VALUE(ncclInternalError, 3);
VALUE(ncclInvalidArgument, 4);
VALUE(ncclInvalidUsage, 5);
VALUE(ncclRemoteError, 6);
VALUE(ncclInProgress, 7);
VALUE(ncclTimeout, 8);
VALUE(ncclNumResults, 9);

// Types.
SIZE(ncclDataType_t, 4);
VALUE(ncclInt8, 0);
VALUE(ncclChar, 0);
VALUE(ncclUint8, 1);
VALUE(ncclInt32, 2);
VALUE(ncclInt, 2);
VALUE(ncclUint32, 3);
VALUE(ncclInt64, 4);
VALUE(ncclUint64, 5);
VALUE(ncclFloat16, 6);
VALUE(ncclHalf, 6);
VALUE(ncclFloat32, 7);
VALUE(ncclFloat, 7);
VALUE(ncclFloat64, 8);
VALUE(ncclDouble, 8);
VALUE(ncclBfloat16, 9);
VALUE(ncclFloat8e4m3, 10);
VALUE(ncclFloat8e5m2, 11);
VALUE(ncclNumTypes, 12);

// Operators.
SIZE(ncclRedOp_t, 4);
VALUE(ncclSum, 0);
VALUE(ncclProd, 1);
VALUE(ncclMax, 2);
VALUE(ncclMin, 3);
VALUE(ncclAvg, 4);
VALUE(ncclNumOps, 5);
VALUE(ncclMaxRedOp, 0x7fffffff);
VALUE(ncclScalarDevice, 0);
VALUE(ncclScalarHostImmediate, 1);

// Flags.
VALUE(NCCL_CONFIG_UNDEF_INT, -2147483648LL);
VALUE(NCCL_API_MAGIC, 0xcafebeefLL);
VALUE(NCCL_SPLIT_NOCOLOR, -1);
VALUE(NCCL_WIN_DEFAULT, 0);
VALUE(NCCL_WIN_COLL_SYMMETRIC, 1);
VALUE(NCCL_WIN_STRICT_ORDERING, 2);
VALUE(NCCL_WIN_GIN_ONLY, 4);
VALUE(NCCL_WIN_CFT_COUNTED, 8);
VALUE(NCCL_WIN_REQUIRED_ALIGNMENT, 4096);
VALUE(NCCL_CTA_POLICY_DEFAULT, 0);
VALUE(NCCL_CTA_POLICY_EFFICIENCY, 1);
VALUE(NCCL_CTA_POLICY_ZERO, 2);
VALUE(NCCL_SHRINK_DEFAULT, 0);
VALUE(NCCL_SHRINK_ABORT, 1);
VALUE(NCCL_REVOKE_DEFAULT, 0);
VALUE(NCCL_SUSPEND_MEM, 1);
VALUE(ncclHostCftDefault, -2147483648LL);
VALUE(ncclHostCftEnable, 1);
VALUE(ncclHostCftDisable, 2);
VALUE(ncclHostCftFallback, 3);
VALUE(ncclNvlsHostModeDefault, -2147483648LL);
VALUE(ncclNvlsHostModeEnable, 0);
VALUE(ncclNvlsHostModeDisableTransport, 1);
VALUE(ncclNvlsHostModeDisableSymmetricMultimem, 2);
VALUE(ncclNvlsHostModeDisable, 2147483647);
VALUE(ncclStatGpuMemSuspend, 0);
VALUE(ncclStatGpuMemSuspended, 1);
VALUE(ncclStatGpuMemPersist, 2);
VALUE(ncclStatGpuMemTotal, 3);
VALUE(NCCL_ENCRYPTION_MODE_NONE, 0);
VALUE(NCCL_ENCRYPTION_MODE_PSK, 1);

// Configuration of a communicator.
SIZE(ncclConfig_t, 120);
AT(ncclConfig_t, size, 0);
AT(ncclConfig_t, magic, 8);
AT(ncclConfig_t, version, 12);
AT(ncclConfig_t, blocking, 16);
AT(ncclConfig_t, cgaClusterSize, 20);
AT(ncclConfig_t, minCTAs, 24);
AT(ncclConfig_t, maxCTAs, 28);
AT(ncclConfig_t, netName, 32);
AT(ncclConfig_t, splitShare, 40);
AT(ncclConfig_t, trafficClass, 44);
AT(ncclConfig_t, commName, 48);
AT(ncclConfig_t, collnetEnable, 56);
AT(ncclConfig_t, CTAPolicy, 60);
AT(ncclConfig_t, shrinkShare, 64);
AT(ncclConfig_t, nvlsCTAs, 68);
AT(ncclConfig_t, nChannelsPerNetPeer, 72);
AT(ncclConfig_t, nvlinkCentricSched, 76);
AT(ncclConfig_t, graphUsageMode, 80);
AT(ncclConfig_t, numRmaCtx, 84);
AT(ncclConfig_t, maxP2pPeers, 88);
AT(ncclConfig_t, graphStreamOrdering, 92);
AT(ncclConfig_t, launchOrderImplicit, 96);
AT(ncclConfig_t, numRmaSig, 100);
AT(ncclConfig_t, rmaEagerInit, 104);
AT(ncclConfig_t, hostCftMode, 108);
AT(ncclConfig_t, nvlsHostMode, 112);

// Configuration of a call.
SIZE(ncclConfigExt_t, 24);
AT(ncclConfigExt_t, next, 0);
AT(ncclConfigExt_t, key, 8);
AT(ncclConfigExt_t, val, 16);
SIZE(ncclCollConfig_t, 72);
AT(ncclCollConfig_t, size, 0);
AT(ncclCollConfig_t, magic, 8);
AT(ncclCollConfig_t, version, 12);
AT(ncclCollConfig_t, ext, 16);
AT(ncclCollConfig_t, minCTAs, 24);
AT(ncclCollConfig_t, maxCTAs, 28);
AT(ncclCollConfig_t, nvlsCTAs, 32);
AT(ncclCollConfig_t, cgaClusterSize, 36);
AT(ncclCollConfig_t, algSelection, 40);
AT(ncclCollConfig_t, forceAlgSelection, 48);
AT(ncclCollConfig_t, CTAPolicy, 52);
AT(ncclCollConfig_t, userProfilerTag, 56);
AT(ncclCollConfig_t, launchCompletionEvent, 64);

// The smaller structs.
SIZE(ncclSimInfo_t, 24);
AT(ncclSimInfo_t, magic, 8);
AT(ncclSimInfo_t, version, 12);
AT(ncclSimInfo_t, estimatedTime, 16);
SIZE(ncclEncryptionConfig_t, 32);
AT(ncclEncryptionConfig_t, magic, 8);
AT(ncclEncryptionConfig_t, version, 12);
AT(ncclEncryptionConfig_t, mode, 16);
AT(ncclEncryptionConfig_t, psk, 24);
SIZE(ncclWaitSignalDesc_t, 16);
AT(ncclWaitSignalDesc_t, opCnt, 0);
AT(ncclWaitSignalDesc_t, peer, 4);
AT(ncclWaitSignalDesc_t, sigIdx, 8);
AT(ncclWaitSignalDesc_t, ctx, 12);

// The host side of the device API.
SIZE(ncclDevComm_t, 248);
AT(ncclDevComm_t, magic, 0);
AT(ncclDevComm_t, version, 4);
AT(ncclDevComm_t, rank, 8);
AT(ncclDevComm_t, nRanks, 12);
SIZE(ncclMultimemHandle_t, 8);
SIZE(ncclLsaBarrierHandle_t, 8);
SIZE(ncclGinBarrierHandle_t, 8);
SIZE(ncclLLA2AHandle_t, 8);
SIZE(ncclGinOutboxHandle, 8);
SIZE(ncclGinInboxA2AHandle, 16);
SIZE(ncclDevResourceRequirements_t, 56);
AT(ncclDevResourceRequirements_t, outBufferHandle, 24);
AT(ncclDevResourceRequirements_t, ginSignalCount, 32);
AT(ncclDevResourceRequirements_t, ginCounterCount, 36);
AT(ncclDevResourceRequirements_t, outGinSignalStart, 40);
AT(ncclDevResourceRequirements_t, outGinCounterStart, 48);
SIZE(ncclTeamRequirements_t, 32);
AT(ncclTeamRequirements_t, team, 8);
AT(ncclTeamRequirements_t, multimem, 20);
AT(ncclTeamRequirements_t, outMultimemHandle, 24);
SIZE(ncclDevCommRequirements_t, 120);
AT(ncclDevCommRequirements_t, resourceRequirementsList, 16);
AT(ncclDevCommRequirements_t, teamRequirementsList, 24);
AT(ncclDevCommRequirements_t, lsaMultimem, 32);
AT(ncclDevCommRequirements_t, barrierCount, 36);
AT(ncclDevCommRequirements_t, lsaLLA2ASlotCount, 52);
AT(ncclDevCommRequirements_t, ginForceEnable, 56);
AT(ncclDevCommRequirements_t, ginContextCount, 60);
AT(ncclDevCommRequirements_t, ginConnectionType, 72);
AT(ncclDevCommRequirements_t, ginExclusiveContexts, 76);
AT(ncclDevCommRequirements_t, ginTrafficClass, 84);
AT(ncclDevCommRequirements_t, worldGinBarrierCount, 88);
AT(ncclDevCommRequirements_t, ginStrongSignalsRequired, 92);
AT(ncclDevCommRequirements_t, ginVaSignalsRequired, 93);
AT(ncclDevCommRequirements_t, ginCustomStride, 96);
AT(ncclDevCommRequirements_t, ginType, 100);
AT(ncclDevCommRequirements_t, useRuntimeVersion, 104);
AT(ncclDevCommRequirements_t, cftCaps, 108);
AT(ncclDevCommRequirements_t, cftBarrierCount, 112);
SIZE(ncclCommProperties_t, 152);
AT(ncclCommProperties_t, magic, 8);
AT(ncclCommProperties_t, version, 12);
AT(ncclCommProperties_t, rank, 16);
AT(ncclCommProperties_t, nRanks, 20);
AT(ncclCommProperties_t, cudaDev, 24);
AT(ncclCommProperties_t, nvmlDev, 28);
AT(ncclCommProperties_t, deviceApiSupport, 32);
AT(ncclCommProperties_t, multimemSupport, 33);
AT(ncclCommProperties_t, ginType, 36);
AT(ncclCommProperties_t, nLsaTeams, 40);
AT(ncclCommProperties_t, hostRmaSupport, 44);
AT(ncclCommProperties_t, railedGinType, 48);
AT(ncclCommProperties_t, commHash, 56);
AT(ncclCommProperties_t, ginMinStride, 64);
AT(ncclCommProperties_t, ginConnectionType, 68);
AT(ncclCommProperties_t, ginSupport, 72);
AT(ncclCommProperties_t, devCommRuntimeVersionSize, 136);
AT(ncclCommProperties_t, cftSupport, 144);
AT(ncclCommProperties_t, cftMulticastSupport, 145);
AT(ncclCommProperties_t, cftCountedSupport, 146);

}  // namespace
