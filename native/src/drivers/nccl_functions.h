// SPDX-License-Identifier: Apache-2.0
// Every function of NCCL's API (96) and of flexlink.h that works on a communicator or a stream:
// X(result, name, parameters, arguments), and of what enqueues work also its Collective. The table
// of a vendor's functions, the declarations of our own ones and what is exported are made from it:
// a new function is one line here.
#pragma once

#include "flexlink/flexlink.h"
#include "flexlink/nccl.h"

// clang-format off
// These enqueue work.
#define FLEXLINK_NCCL_CALLS(X) \
  X(ncclResult_t, ncclAllReduce, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, comm, stream), kAllReduce) \
  X(ncclResult_t, ncclReduce, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, op, root, comm, stream), kReduce) \
  X(ncclResult_t, ncclBroadcast, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream), kBroadcast) \
  X(ncclResult_t, ncclBcast, (void* buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (buff, count, datatype, root, comm, stream), kBroadcast) \
  X(ncclResult_t, ncclAllGather, (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, sendcount, datatype, comm, stream), kAllGather) \
  X(ncclResult_t, ncclReduceScatter, (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, recvcount, datatype, op, comm, stream), kReduceScatter) \
  X(ncclResult_t, ncclAlltoAll, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, comm, stream), kAlltoAll) \
  X(ncclResult_t, ncclGather, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream), kGather) \
  X(ncclResult_t, ncclScatter, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream), (sendbuff, recvbuff, count, datatype, root, comm, stream), kScatter) \
  X(ncclResult_t, ncclAllReduceConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, op, comm, stream, config), kAllReduce) \
  X(ncclResult_t, ncclReduceConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, op, root, comm, stream, config), kReduce) \
  X(ncclResult_t, ncclBroadcastConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config), kBroadcast) \
  X(ncclResult_t, ncclAllGatherConfig, (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, sendcount, datatype, comm, stream, config), kAllGather) \
  X(ncclResult_t, ncclReduceScatterConfig, (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, recvcount, datatype, op, comm, stream, config), kReduceScatter) \
  X(ncclResult_t, ncclAlltoAllConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, comm, stream, config), kAlltoAll) \
  X(ncclResult_t, ncclGatherConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config), kGather) \
  X(ncclResult_t, ncclScatterConfig, (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config), (sendbuff, recvbuff, count, datatype, root, comm, stream, config), kScatter) \
  X(ncclResult_t, ncclSend, (const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream), (sendbuff, count, datatype, peer, comm, stream), kSend) \
  X(ncclResult_t, ncclRecv, (void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream), (recvbuff, count, datatype, peer, comm, stream), kRecv) \
  X(ncclResult_t, ncclPutSignal, (const void* localbuff, size_t count, ncclDataType_t datatype, int peer, ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream), (localbuff, count, datatype, peer, peerWin, peerWinOffset, sigIdx, ctx, flags, comm, stream), kPutSignal) \
  X(ncclResult_t, ncclSignal, (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm, cudaStream_t stream), (peer, sigIdx, ctx, flags, comm, stream), kSignal) \
  X(ncclResult_t, ncclWaitSignal, (int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream), (nDesc, signalDescs, comm, stream), kWaitSignal)

#define FLEXLINK_NCCL_LIFE(X) \
  X(ncclResult_t, ncclGetUniqueId, (ncclUniqueId* uniqueId), (uniqueId)) \
  X(ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int revokeFlags), (comm, revokeFlags)) \
  X(const char*, ncclGetLastError, (ncclComm_t comm), (comm)) \
  X(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncError), (comm, asyncError)) \
  X(ncclResult_t, ncclCommInitRank, (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank), (comm, nranks, commId, rank)) \
  X(ncclResult_t, ncclCommInitRankConfig, (ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config), (comm, nranks, commId, rank, config)) \
  X(ncclResult_t, ncclCommInitRankScalable, (ncclComm_t* newcomm, int nranks, int myrank, int nId, ncclUniqueId* commIds, ncclConfig_t* config), (newcomm, nranks, myrank, nId, commIds, config)) \
  X(ncclResult_t, ncclCommInitAll, (ncclComm_t* comm, int ndev, const int* devlist), (comm, ndev, devlist)) \
  X(ncclResult_t, ncclCommFinalize, (ncclComm_t comm), (comm)) \
  X(ncclResult_t, ncclCommDestroy, (ncclComm_t comm), (comm)) \
  X(ncclResult_t, ncclCommAbort, (ncclComm_t comm), (comm)) \
  X(ncclResult_t, ncclCommSplit, (ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config), (comm, color, key, newcomm, config)) \
  X(ncclResult_t, ncclCommShrink, (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags), (comm, excludeRanksList, excludeRanksCount, newcomm, config, shrinkFlags)) \
  X(ncclResult_t, ncclCommGrow, (ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank, ncclComm_t* newcomm, ncclConfig_t* config), (comm, nRanks, uniqueId, rank, newcomm, config)) \
  X(ncclResult_t, ncclGroupStart, (void), ()) \
  X(ncclResult_t, ncclGroupEnd, (void), ()) \
  X(ncclResult_t, ncclGroupSimulateEnd, (ncclSimInfo_t* simInfo), (simInfo))

#define FLEXLINK_NCCL_PLAIN(X) \
  X(ncclResult_t, ncclGetVersion, (int* version), (version)) \
  X(const char*, ncclGetErrorString, (ncclResult_t result), (result)) \
  X(void, ncclResetDebugInit, (void), ()) \
  X(ncclResult_t, ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId* uniqueId), (comm, uniqueId)) \
  X(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count), (comm, count)) \
  X(ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int* device), (comm, device)) \
  X(ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int* rank), (comm, rank)) \
  X(ncclResult_t, ncclCommSuspend, (ncclComm_t comm, int flags), (comm, flags)) \
  X(ncclResult_t, ncclCommResume, (ncclComm_t comm), (comm)) \
  X(ncclResult_t, ncclCommMemStats, (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value), (comm, stat, value)) \
  X(ncclResult_t, ncclMemAlloc, (void** ptr, size_t size), (ptr, size)) \
  X(ncclResult_t, ncclMemFree, (void* ptr), (ptr)) \
  X(ncclResult_t, ncclCommRegister, (const ncclComm_t comm, void* buff, size_t size, void** handle), (comm, buff, size, handle)) \
  X(ncclResult_t, ncclCommDeregister, (const ncclComm_t comm, void* handle), (comm, handle)) \
  X(ncclResult_t, ncclCommWindowRegister, (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags), (comm, buff, size, win, winFlags)) \
  X(ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win), (comm, win)) \
  X(ncclResult_t, ncclWinGetUserPtr, (ncclComm_t comm, ncclWindow_t win, void** outUserPtr), (comm, win, outUserPtr)) \
  X(ncclResult_t, ncclRedOpCreatePreMulSum, (ncclRedOp_t* op, void* scalar, ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm), (op, scalar, datatype, residence, comm)) \
  X(ncclResult_t, ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm), (op, comm)) \
  X(ncclResult_t, ncclParamBind, (ncclParamHandle_t* out, const char* key), (out, key)) \
  X(ncclResult_t, ncclParamGetI8, (ncclParamHandle_t h, int8_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetI16, (ncclParamHandle_t h, int16_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetI32, (ncclParamHandle_t h, int32_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetI64, (ncclParamHandle_t h, int64_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetU8, (ncclParamHandle_t h, uint8_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetU16, (ncclParamHandle_t h, uint16_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetU32, (ncclParamHandle_t h, uint32_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetU64, (ncclParamHandle_t h, uint64_t* out), (h, out)) \
  X(ncclResult_t, ncclParamGetStr, (ncclParamHandle_t h, const char** out), (h, out)) \
  X(ncclResult_t, ncclParamGet, (ncclParamHandle_t h, void* out, int maxLen, int* len), (h, out, maxLen, len)) \
  X(ncclResult_t, ncclParamGetParameter, (const char* key, const char** value, int* valueLen), (key, value, valueLen)) \
  X(ncclResult_t, ncclParamGetAllParameterKeys, (const char*** table, int* tableLen), (table, tableLen)) \
  X(void, ncclParamDumpAll, (void), ()) \
  X(ncclResult_t, ncclSetEncryption, (const ncclEncryptionConfig_t* config), (config)) \
  X(ncclResult_t, ncclCommQueryProperties, (ncclComm_t comm, ncclCommProperties_t* props), (comm, props)) \
  X(ncclResult_t, ncclDevCommCreate, (ncclComm_t comm, const ncclDevCommRequirements_t* reqs, ncclDevComm_t* outDevComm), (comm, reqs, outDevComm)) \
  X(ncclResult_t, ncclDevCommDestroy, (ncclComm_t comm, const ncclDevComm_t* devComm), (comm, devComm)) \
  X(ncclResult_t, ncclGetLsaMultimemDevicePointer, (ncclWindow_t window, size_t offset, void** outPtr), (window, offset, outPtr)) \
  X(ncclResult_t, ncclGetMultimemDevicePointer, (ncclWindow_t window, size_t offset, ncclMultimemHandle_t multimem, void** outPtr), (window, offset, multimem, outPtr)) \
  X(ncclResult_t, ncclGetLsaDevicePointer, (ncclWindow_t window, size_t offset, int lsaRank, void** outPtr), (window, offset, lsaRank, outPtr)) \
  X(ncclResult_t, ncclGetPeerDevicePointer, (ncclWindow_t window, size_t offset, int peer, void** outPtr), (window, offset, peer, outPtr)) \
  X(ncclResult_t, ncclGetMultimemDeviceLeInfo, (ncclWindow_t window, size_t offset, ncclCftLeId* leId, size_t* leOffset), (window, offset, leId, leOffset)) \
  X(ncclResult_t, ncclGetCftDeviceLeInfo, (ncclWindow_t window, size_t offset, int peerCft, ncclTeam_t cftTeam, ncclCftLeId* leId, size_t* leOffset), (window, offset, peerCft, cftTeam, leId, leOffset)) \
  X(ncclResult_t, ncclGetPeerDeviceLeInfo, (ncclWindow_t window, size_t offset, int peerWorld, ncclCftLeId* leId, size_t* leOffset), (window, offset, peerWorld, leId, leOffset)) \
  X(ncclTeam_t, ncclTeamWorld, (ncclComm_t comm), (comm)) \
  X(ncclTeam_t, ncclTeamLsa, (ncclComm_t comm), (comm)) \
  X(ncclTeam_t, ncclTeamRail, (ncclComm_t comm), (comm)) \
  X(ncclTeam_t, ncclTeamCftMultimem, (ncclComm_t comm), (comm)) \
  X(ncclTeam_t, ncclTeamCft, (ncclComm_t comm, ncclCftTeamMode_t mode), (comm, mode)) \
  X(int, ncclTeamRankToWorld, (ncclComm_t comm, ncclTeam_t team, int rank), (comm, team, rank)) \
  X(int, ncclTeamRankToLsa, (ncclComm_t comm, ncclTeam_t team, int rank), (comm, team, rank)) \
  X(ncclResult_t, ncclLsaBarrierCreateRequirement, (ncclTeam_t team, int nBarriers, ncclLsaBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (team, nBarriers, outHandle, outReq)) \
  X(ncclResult_t, ncclGinBarrierCreateRequirement, (ncclComm_t comm, ncclTeam_t team, int nBarriers, ncclGinBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (comm, team, nBarriers, outHandle, outReq)) \
  X(ncclResult_t, ncclLLA2ACreateRequirement, (int nBlocks, int nSlots, ncclLLA2AHandle_t* outHandle, ncclDevResourceRequirements_t* outReq), (nBlocks, nSlots, outHandle, outReq)) \
  X(ncclResult_t, ncclGinOutboxCreateRequirement, (int nBlocks, int sizeLog2, ncclGinOutboxHandle* outHandle, ncclDevResourceRequirements_t* outReq), (nBlocks, sizeLog2, outHandle, outReq)) \
  X(ncclResult_t, ncclGinInboxA2ACreateRequirement, (ncclTeam_t peers, int nBlocks, int sizeLog2, ncclGinInboxA2AHandle* outHandle, ncclDevResourceRequirements_t* outReq), (peers, nBlocks, sizeLog2, outHandle, outReq)) \
  X(int, ncclLLA2ACalcSlots, (int maxElts, int maxEltSize), (maxElts, maxEltSize))

#define FLEXLINK_NCCL_FUNCTIONS(X) \
  FLEXLINK_NCCL_CALLS(X) \
  FLEXLINK_NCCL_LIFE(X) \
  FLEXLINK_NCCL_PLAIN(X)

// Of a library that works on host memory: this one, and a copy of it that stands in for the vendor.
#define FLEXLINK_HOST_PLAIN(X) \
  X(ncclResult_t, flexlinkStreamCreate, (cudaStream_t* stream), (stream)) \
  X(ncclResult_t, flexlinkStreamDestroy, (cudaStream_t stream), (stream)) \
  X(ncclResult_t, flexlinkStreamSynchronize, (cudaStream_t stream), (stream)) \
  X(ncclResult_t, flexlinkStreamQuery, (cudaStream_t stream), (stream)) \
  X(ncclResult_t, flexlinkStreamRecord, (cudaStream_t stream, uint64_t* ticket), (stream, ticket)) \
  X(ncclResult_t, flexlinkStreamWait, (cudaStream_t stream, uint64_t ticket, int64_t timeoutMicros), (stream, ticket, timeoutMicros)) \
  X(ncclResult_t, flexlinkStreamNotify, (cudaStream_t stream, uint64_t ticket, flexlinkNotice_t function, void* argument), (stream, ticket, function, argument)) \
  X(ncclResult_t, flexlinkStreamWaitStream, (cudaStream_t stream, cudaStream_t other, uint64_t ticket), (stream, other, ticket)) \
  X(ncclResult_t, flexlinkStreamWriteValue64, (cudaStream_t stream, uint64_t* at, uint64_t value), (stream, at, value)) \
  X(ncclResult_t, flexlinkStreamWaitValue64, (cudaStream_t stream, const uint64_t* at, uint64_t value), (stream, at, value)) \
  X(ncclResult_t, flexlinkStreamCopy, (cudaStream_t stream, void* dst, const void* src, size_t bytes), (stream, dst, src, bytes)) \
  X(ncclResult_t, flexlinkCommSetTimeout, (ncclComm_t comm, int64_t timeoutMicros), (comm, timeoutMicros)) \
  X(ncclResult_t, flexlinkCommWaitsFor, (ncclComm_t comm, int* rank), (comm, rank))

#define FLEXLINK_HOST_LIFE(X) \
  X(ncclResult_t, flexlinkCommLeave, (ncclComm_t comm), (comm))

#define FLEXLINK_HOST_FUNCTIONS(X) \
  FLEXLINK_HOST_PLAIN(X) \
  FLEXLINK_HOST_LIFE(X)
// clang-format on
