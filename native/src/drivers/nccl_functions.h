// SPDX-License-Identifier: Apache-2.0
// Every function of NCCL's API (96) and of flexlink.h that works on a communicator or a stream:
// X(kind, result, name, parameters, arguments). The table of a vendor's functions, the declarations
// of our own ones and what is exported are made from it: a new function is one line here.
#pragma once

#include <cstdint>

#include "base/types.h"
#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

namespace flexlink {

// What a function does, as far as it matters to who hands a call over: it enqueues work (a number
// of Collective), or one of these.
enum class FunctionKind : uint8_t {
  kAllReduce,
  kBroadcast,
  kReduce,
  kAllGather,
  kReduceScatter,
  kAlltoAll,
  kGather,
  kScatter,
  kSend,
  kRecv,
  kPutSignal,
  kSignal,
  kWaitSignal,
  kLife,   // makes, ends or settles communicators or groups, or tells of errors
  kPlain,  // neither
};
static_assert(static_cast<int>(FunctionKind::kWaitSignal) ==
              static_cast<int>(Collective::kWaitSignal));

}  // namespace flexlink

// clang-format off
// These enqueue work.
#define FLEXLINK_NCCL_CALLS(X) \
  X(kAllReduce, ncclResult_t, ncclAllReduce, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, comm, stream)) \
  X(kReduce, ncclResult_t, ncclReduce, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, root, comm, stream)) \
  X(kBroadcast, ncclResult_t, ncclBroadcast, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream)) \
  X(kBroadcast, ncclResult_t, ncclBcast, (void* buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (buff, count, datatype, root, comm, stream)) \
  X(kAllGather, ncclResult_t, ncclAllGather, (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, sendcount, datatype, comm, stream)) \
  X(kReduceScatter, ncclResult_t, ncclReduceScatter, (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, recvcount, datatype, op, comm, stream)) \
  X(kAlltoAll, ncclResult_t, ncclAlltoAll, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, comm, stream)) \
  X(kGather, ncclResult_t, ncclGather, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream)) \
  X(kScatter, ncclResult_t, ncclScatter, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream)) \
  X(kAllReduce, ncclResult_t, ncclAllReduceConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, op, comm, stream, config)) \
  X(kReduce, ncclResult_t, ncclReduceConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, op, root, comm, stream, config)) \
  X(kBroadcast, ncclResult_t, ncclBroadcastConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config)) \
  X(kAllGather, ncclResult_t, ncclAllGatherConfig, (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, sendcount, datatype, comm, stream, config)) \
  X(kReduceScatter, ncclResult_t, ncclReduceScatterConfig, (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, recvcount, datatype, op, comm, stream, config)) \
  X(kAlltoAll, ncclResult_t, ncclAlltoAllConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, comm, stream, config)) \
  X(kGather, ncclResult_t, ncclGatherConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config)) \
  X(kScatter, ncclResult_t, ncclScatterConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config)) \
  X(kSend, ncclResult_t, ncclSend, (const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream), (sendbuff, count, datatype, peer, comm, stream)) \
  X(kRecv, ncclResult_t, ncclRecv, (void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream), (recvbuff, count, datatype, peer, comm, stream)) \
  X(kPutSignal, ncclResult_t, ncclPutSignal, (const void* localbuff, size_t count, ncclDataType_t datatype, int peer, ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream), (localbuff, count, datatype, peer, peerWin, peerWinOffset, sigIdx, ctx, flags, comm, stream)) \
  X(kSignal, ncclResult_t, ncclSignal, (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream), (peer, sigIdx, ctx, flags, comm, stream)) \
  X(kWaitSignal, ncclResult_t, ncclWaitSignal, (int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream), (nDesc, signalDescs, comm, stream))

#define FLEXLINK_NCCL_LIFE(X) \
  X(kLife, ncclResult_t, ncclGetUniqueId, (ncclUniqueId* uniqueId), (uniqueId)) \
  X(kLife, ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int revokeFlags), (comm, revokeFlags)) \
  X(kLife, const char*, ncclGetLastError, (ncclComm_t comm), (comm)) \
  X(kLife, ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncError), (comm, asyncError)) \
  X(kLife, ncclResult_t, ncclCommInitRank, (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank), (comm, nranks, commId, rank)) \
  X(kLife, ncclResult_t, ncclCommInitRankConfig, (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config), (comm, nranks, commId, rank, config)) \
  X(kLife, ncclResult_t, ncclCommInitRankScalable, (ncclComm_t* newcomm, int nranks, int myrank, int nId, ncclUniqueId* commIds, ncclConfig_t* config), (newcomm, nranks, myrank, nId, commIds, config)) \
  X(kLife, ncclResult_t, ncclCommInitAll, (ncclComm_t* comm, int ndev, const int* devlist), (comm, ndev, devlist)) \
  X(kLife, ncclResult_t, ncclCommFinalize, (ncclComm_t comm), (comm)) \
  X(kLife, ncclResult_t, ncclCommDestroy, (ncclComm_t comm), (comm)) \
  X(kLife, ncclResult_t, ncclCommAbort, (ncclComm_t comm), (comm)) \
  X(kLife, ncclResult_t, ncclCommSplit, (ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config), (comm, color, key, newcomm, config)) \
  X(kLife, ncclResult_t, ncclCommShrink, (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags), (comm, excludeRanksList, excludeRanksCount, newcomm, config, shrinkFlags)) \
  X(kLife, ncclResult_t, ncclCommGrow, (ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank, ncclComm_t* newcomm, ncclConfig_t* config), (comm, nRanks, uniqueId, rank, newcomm, config)) \
  X(kLife, ncclResult_t, ncclGroupStart, (void), ()) \
  X(kLife, ncclResult_t, ncclGroupEnd, (void), ()) \
  X(kLife, ncclResult_t, ncclGroupSimulateEnd, (ncclSimInfo_t* simInfo), (simInfo))

#define FLEXLINK_NCCL_PLAIN(X) \
  X(kPlain, ncclResult_t, ncclGetVersion, (int* version), (version)) \
  X(kPlain, const char*, ncclGetErrorString, (ncclResult_t result), (result)) \
  X(kPlain, void, ncclResetDebugInit, (void), ()) \
  X(kPlain, ncclResult_t, ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId* uniqueId), (comm, uniqueId)) \
  X(kPlain, ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count), (comm, count)) \
  X(kPlain, ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int* device), (comm, device)) \
  X(kPlain, ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int* rank), (comm, rank)) \
  X(kPlain, ncclResult_t, ncclCommSuspend, (ncclComm_t comm, int flags), (comm, flags)) \
  X(kPlain, ncclResult_t, ncclCommResume, (ncclComm_t comm), (comm)) \
  X(kPlain, ncclResult_t, ncclCommMemStats, (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value), (comm, stat, value)) \
  X(kPlain, ncclResult_t, ncclMemAlloc, (void** ptr, size_t size), (ptr, size)) \
  X(kPlain, ncclResult_t, ncclMemFree, (void* ptr), (ptr)) \
  X(kPlain, ncclResult_t, ncclCommRegister, (const ncclComm_t comm, void* buff, size_t size, void** handle), (comm, buff, size, handle)) \
  X(kPlain, ncclResult_t, ncclCommDeregister, (const ncclComm_t comm, void* handle), (comm, handle)) \
  X(kPlain, ncclResult_t, ncclCommWindowRegister, (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags), (comm, buff, size, win, winFlags)) \
  X(kPlain, ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win), (comm, win)) \
  X(kPlain, ncclResult_t, ncclWinGetUserPtr, (ncclComm_t comm, ncclWindow_t win, void** outUserPtr), (comm, win, outUserPtr)) \
  X(kPlain, ncclResult_t, ncclRedOpCreatePreMulSum, (ncclRedOp_t* op, void* scalar, ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm), (op, scalar, datatype, residence, comm)) \
  X(kPlain, ncclResult_t, ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm), (op, comm)) \
  X(kPlain, ncclResult_t, ncclParamBind, (ncclParamHandle_t* out, const char* key), (out, key)) \
  X(kPlain, ncclResult_t, ncclParamGetI8, (ncclParamHandle_t h, int8_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetI16, (ncclParamHandle_t h, int16_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetI32, (ncclParamHandle_t h, int32_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetI64, (ncclParamHandle_t h, int64_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetU8, (ncclParamHandle_t h, uint8_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetU16, (ncclParamHandle_t h, uint16_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetU32, (ncclParamHandle_t h, uint32_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetU64, (ncclParamHandle_t h, uint64_t* out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGetStr, (ncclParamHandle_t h, const char** out), (h, out)) \
  X(kPlain, ncclResult_t, ncclParamGet, (ncclParamHandle_t h, void* out, int maxLen, int* len), (h, out, maxLen, len)) \
  X(kPlain, ncclResult_t, ncclParamGetParameter, (const char* key, const char** value, int* valueLen), (key, value, valueLen)) \
  X(kPlain, ncclResult_t, ncclParamGetAllParameterKeys, (const char*** table, int* tableLen), (table, tableLen)) \
  X(kPlain, void, ncclParamDumpAll, (void), ()) \
  X(kPlain, ncclResult_t, ncclSetEncryption, (const ncclEncryptionConfig_t* config), (config)) \
  X(kPlain, ncclResult_t, ncclCommQueryProperties, (ncclComm_t comm, ncclCommProperties_t* props), (comm, props)) \
  X(kPlain, ncclResult_t, ncclDevCommCreate, (ncclComm_t comm, const ncclDevCommRequirements_t* reqs, ncclDevComm_t* outDevComm), (comm, reqs, outDevComm)) \
  X(kPlain, ncclResult_t, ncclDevCommDestroy, (ncclComm_t comm, const ncclDevComm_t* devComm), (comm, devComm)) \
  X(kPlain, ncclResult_t, ncclGetLsaMultimemDevicePointer, (ncclWindow_t window, size_t offset, void** outPtr), (window, offset, outPtr)) \
  X(kPlain, ncclResult_t, ncclGetMultimemDevicePointer, (ncclWindow_t window, size_t offset, ncclMultimemHandle_t multimem, void** outPtr), (window, offset, multimem, outPtr)) \
  X(kPlain, ncclResult_t, ncclGetLsaDevicePointer, (ncclWindow_t window, size_t offset, int lsaRank, void** outPtr), (window, offset, lsaRank, outPtr)) \
  X(kPlain, ncclResult_t, ncclGetPeerDevicePointer, (ncclWindow_t window, size_t offset, int peer, void** outPtr), (window, offset, peer, outPtr)) \
  X(kPlain, ncclResult_t, ncclGetMultimemDeviceLeInfo, (ncclWindow_t window, size_t offset, ncclCftLeId* leId, size_t* leOffset), (window, offset, leId, leOffset)) \
  X(kPlain, ncclResult_t, ncclGetCftDeviceLeInfo, (ncclWindow_t window, size_t offset, int peerCft, ncclTeam_t cftTeam, ncclCftLeId* leId, size_t* leOffset), (window, offset, peerCft, cftTeam, leId, leOffset)) \
  X(kPlain, ncclResult_t, ncclGetPeerDeviceLeInfo, (ncclWindow_t window, size_t offset, int peerWorld, ncclCftLeId* leId, size_t* leOffset), (window, offset, peerWorld, leId, leOffset)) \
  X(kPlain, ncclTeam_t, ncclTeamWorld, (ncclComm_t comm), (comm)) \
  X(kPlain, ncclTeam_t, ncclTeamLsa, (ncclComm_t comm), (comm)) \
  X(kPlain, ncclTeam_t, ncclTeamRail, (ncclComm_t comm), (comm)) \
  X(kPlain, ncclTeam_t, ncclTeamCftMultimem, (ncclComm_t comm), (comm)) \
  X(kPlain, ncclTeam_t, ncclTeamCft, (ncclComm_t comm, ncclCftTeamMode_t mode), (comm, mode)) \
  X(kPlain, int, ncclTeamRankToWorld, (ncclComm_t comm, ncclTeam_t team, int rank), (comm, team, rank)) \
  X(kPlain, int, ncclTeamRankToLsa, (ncclComm_t comm, ncclTeam_t team, int rank), (comm, team, rank)) \
  X(kPlain, ncclResult_t, ncclLsaBarrierCreateRequirement, (ncclTeam_t team, int nBarriers, ncclLsaBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (team, nBarriers, outHandle, outReq)) \
  X(kPlain, ncclResult_t, ncclGinBarrierCreateRequirement, (ncclComm_t comm, ncclTeam_t team, int nBarriers, ncclGinBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (comm, team, nBarriers, outHandle, outReq)) \
  X(kPlain, ncclResult_t, ncclLLA2ACreateRequirement, (int nBlocks, int nSlots, ncclLLA2AHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (nBlocks, nSlots, outHandle, outReq)) \
  X(kPlain, ncclResult_t, ncclGinOutboxCreateRequirement, (int nBlocks, int size_log2, ncclGinOutboxHandle* outHandle, ncclDevResourceRequirements_t* outReq), (nBlocks, size_log2, outHandle, outReq)) \
  X(kPlain, ncclResult_t, ncclGinInboxA2ACreateRequirement, (ncclTeam_t peers, int nBlocks, int size_log2, ncclGinInboxA2AHandle* outHandle, ncclDevResourceRequirements_t* outReq), (peers, nBlocks, size_log2, outHandle, outReq)) \
  X(kPlain, int, ncclLLA2ACalcSlots, (int maxElts, int maxEltSize), (maxElts, maxEltSize))

#define FLEXLINK_NCCL_FUNCTIONS(X) \
  FLEXLINK_NCCL_CALLS(X) \
  FLEXLINK_NCCL_LIFE(X) \
  FLEXLINK_NCCL_PLAIN(X)

// Of a library that works on host memory: this one, and a copy of it that stands in for the vendor.
#define FLEXLINK_HOST_PLAIN(X) \
  X(kPlain, ncclResult_t, flexlinkStreamCreate, (cudaStream_t* stream), (stream)) \
  X(kPlain, ncclResult_t, flexlinkStreamDestroy, (cudaStream_t stream), (stream)) \
  X(kPlain, ncclResult_t, flexlinkStreamSynchronize, (cudaStream_t stream), (stream)) \
  X(kPlain, ncclResult_t, flexlinkStreamQuery, (cudaStream_t stream), (stream)) \
  X(kPlain, ncclResult_t, flexlinkStreamRecord, (cudaStream_t stream, uint64_t* ticket), (stream, ticket)) \
  X(kPlain, ncclResult_t, flexlinkStreamWait, (cudaStream_t stream, uint64_t ticket, int64_t timeoutMicros), (stream, ticket, timeoutMicros)) \
  X(kPlain, ncclResult_t, flexlinkStreamNotify, (cudaStream_t stream, uint64_t ticket, flexlinkNotice_t function, void* argument), (stream, ticket, function, argument)) \
  X(kPlain, ncclResult_t, flexlinkStreamWaitStream, (cudaStream_t stream, cudaStream_t other, uint64_t ticket), (stream, other, ticket)) \
  X(kPlain, ncclResult_t, flexlinkStreamWriteValue64, (cudaStream_t stream, uint64_t* at, uint64_t value), (stream, at, value)) \
  X(kPlain, ncclResult_t, flexlinkStreamWaitValue64, (cudaStream_t stream, const uint64_t* at, uint64_t value), (stream, at, value)) \
  X(kPlain, ncclResult_t, flexlinkStreamCopy, (cudaStream_t stream, void* dst, const void* src, size_t bytes), (stream, dst, src, bytes)) \
  X(kPlain, ncclResult_t, flexlinkCommSetTimeout, (ncclComm_t comm, int64_t timeoutMicros), (comm, timeoutMicros)) \
  X(kPlain, ncclResult_t, flexlinkCommWaitsFor, (ncclComm_t comm, int* rank), (comm, rank))

#define FLEXLINK_HOST_LIFE(X) \
  X(kLife, ncclResult_t, flexlinkCommLeave, (ncclComm_t comm), (comm))

#define FLEXLINK_HOST_FUNCTIONS(X) \
  FLEXLINK_HOST_PLAIN(X) \
  FLEXLINK_HOST_LIFE(X)
// clang-format on
