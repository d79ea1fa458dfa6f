/* SPDX-License-Identifier: Apache-2.0
 *
 * The C API that FlexLink stands in for: NCCL 2.32.3, all 96 functions and their pnccl twins, with
 * the same names, numbers and layouts (src/api/abi_asserts.cc pins them), described for host
 * memory. For C99 and C++, with or without the CUDA headers. It is not the device-side API of
 * kernels.
 *
 * Common to all functions. Counts are elements, sizes and offsets are bytes. A call that fails says
 * why in ncclGetLastError. "Enqueued" work with stream NULL is finished when the call (or the
 * outermost ncclGroupEnd) returns; with a stream of flexlink.h it runs behind it. Every call of a
 * communicator that has failed returns its first error until Abort, Destroy or Shrink. A function
 * marked [gpu] needs a GPU and the vendor's library; on host memory it returns ncclInvalidUsage.
 */
#ifndef NCCL_H_ /* the vendor's own guard: whichever header comes first is the one that counts */
#define NCCL_H_

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Either header order works: CUDA's typedefs are these very ones. */
#ifndef __DRIVER_TYPES_H__
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
#endif

#define NCCL_MAJOR 2
#define NCCL_MINOR 32
#define NCCL_PATCH 3
#define NCCL_SUFFIX ""
#define NCCL_VERSION_CODE 23203
/* Up to 2.8 the code was X*1000 + Y*100 + Z. */
#define NCCL_VERSION(X, Y, Z) \
  (((X) <= 2 && (Y) <= 8) ? (X)*1000 + (Y)*100 + (Z) : (X)*10000 + (Y)*100 + (Z))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Handles ---------------------------------------------------------------------------------*/

typedef struct ncclComm* ncclComm_t;
typedef struct ncclWindow_vidmem* ncclWindow_t;
typedef struct ncclParamHandle* ncclParamHandle_t;
#define NCCL_COMM_NULL NULL

/* Opaque bytes that name a communicator to be: made by one rank, given to all by other means. It
 * holds an address and a secret cookie, so treat it like a password. */
#define NCCL_UNIQUE_ID_BYTES 128
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

/* ---- Numbers ---------------------------------------------------------------------------------*/

/* A caller may pass any number where the API takes an enum, and is then told so. In C++ that is
 * only defined for enums of a fixed type; in C, and in memory, nothing changes. */
#ifdef __cplusplus
#define NCCL_ENUM_BASE : int
#else
#define NCCL_ENUM_BASE
#endif

typedef enum NCCL_ENUM_BASE {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1, /* a CUDA call failed */
  ncclSystemError = 2,        /* a call to this host's kernel failed, or no memory */
  ncclInternalError = 3,      /* a bug of the library */
  ncclInvalidArgument = 4,    /* an argument is wrong by itself */
  ncclInvalidUsage = 5,       /* does not fit the state, or what other ranks called */
  ncclRemoteError = 6,        /* another process died, aborted or could not be reached */
  ncclInProgress = 7,         /* not finished yet; not an error */
  ncclTimeout = 8,            /* a deadline that the user set has passed */
  ncclNumResults = 9
} ncclResult_t;

typedef enum NCCL_ENUM_BASE {
  ncclSum = 0,
  ncclProd = 1,
  ncclMax = 2,
  ncclMin = 3,
  ncclAvg = 4,    /* the sum, then one division by the number of ranks */
  ncclNumOps = 5, /* from here on: made by ncclRedOpCreatePreMulSum */
  ncclMaxRedOp = 0x7fffffff
} ncclRedOp_t;

typedef enum NCCL_ENUM_BASE {
  ncclInt8 = 0,
  ncclChar = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclInt = 2,
  ncclUint32 = 3,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat16 = 6,
  ncclHalf = 6,
  ncclFloat32 = 7,
  ncclFloat = 7,
  ncclFloat64 = 8,
  ncclDouble = 8,
  ncclBfloat16 = 9,
  ncclFloat8e4m3 = 10,
  ncclFloat8e5m2 = 11,
  ncclNumTypes = 12
} ncclDataType_t;

/* When the scalar of a PreMulSum is read: at each operation, or once before Create returns. */
typedef enum NCCL_ENUM_BASE {
  ncclScalarDevice = 0,
  ncclScalarHostImmediate = 1
} ncclScalarResidence_t;

#define NCCL_CONFIG_UNDEF_INT INT_MIN
#define NCCL_CONFIG_UNDEF_PTR NULL
#define NCCL_UNDEF_FLOAT -1.0f
#define NCCL_API_MAGIC 0xcafebeef
#define NCCL_SPLIT_NOCOLOR -1 /* ncclCommSplit: this rank joins no child */

#define NCCL_WIN_DEFAULT 0x00
#define NCCL_WIN_COLL_SYMMETRIC 0x01  /* registered at the same place by all ranks */
#define NCCL_WIN_STRICT_ORDERING 0x02 /* [gpu] */
#define NCCL_WIN_GIN_ONLY 0x04        /* [gpu] */
#define NCCL_WIN_CFT_COUNTED 0x08     /* [gpu] */
#define NCCL_WIN_REQUIRED_ALIGNMENT 4096

#define NCCL_CTA_POLICY_DEFAULT 0x00
#define NCCL_CTA_POLICY_EFFICIENCY 0x01
#define NCCL_CTA_POLICY_ZERO 0x02

#define NCCL_SHRINK_DEFAULT 0x00 /* the parent is healthy */
#define NCCL_SHRINK_ABORT 0x01   /* the parent has failed: its pending work is given up first */
#define NCCL_REVOKE_DEFAULT 0x00
#define NCCL_SUSPEND_MEM 0x01

typedef enum NCCL_ENUM_BASE {
  ncclHostCftDefault = NCCL_CONFIG_UNDEF_INT,
  ncclHostCftEnable = 1,
  ncclHostCftDisable = 2,
  ncclHostCftFallback = 3
} ncclHostCftMode_t;

typedef enum NCCL_ENUM_BASE {
  ncclNvlsHostModeDefault = NCCL_CONFIG_UNDEF_INT,
  ncclNvlsHostModeEnable = 0,
  ncclNvlsHostModeDisableTransport = 1,
  ncclNvlsHostModeDisableSymmetricMultimem = 2,
  ncclNvlsHostModeDisable = INT_MAX
} ncclNvlsHostMode_t;

/* What ncclCommMemStats answers; on host memory "Gpu" reads as the memory of the host device. */
typedef enum NCCL_ENUM_BASE {
  ncclStatGpuMemSuspend = 0,   /* bytes that a suspend would give back */
  ncclStatGpuMemSuspended = 1, /* 1 while suspended, else 0 */
  ncclStatGpuMemPersist = 2,   /* bytes that a suspend keeps */
  ncclStatGpuMemTotal = 3      /* bytes in all */
} ncclCommMemStat_t;

/* ---- Structs that callers fill in ------------------------------------------------------------
 * Each begins with size, magic and version as its initialiser writes them, so that programs built
 * against another NCCL keep working: fields beyond `size`, or newer than `version`, count as unset.
 * A wrong magic is ncclInvalidArgument. */

/* Options of one communicator. Host memory reads blocking and commName; the others steer GPU
 * kernels and are ignored. */
typedef struct ncclConfig_v23100 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int blocking; /* 0: calls may return ncclInProgress; poll ncclCommGetAsyncError */
  int cgaClusterSize;
  int minCTAs;
  int maxCTAs;
  const char* netName;
  int splitShare;
  int trafficClass;
  const char* commName; /* for logs and diagnosis */
  int collnetEnable;
  int CTAPolicy;
  int shrinkShare;
  int nvlsCTAs;
  int nChannelsPerNetPeer;
  int nvlinkCentricSched;
  int graphUsageMode;
  int numRmaCtx;
  int maxP2pPeers;
  int graphStreamOrdering;
  int launchOrderImplicit;
  int numRmaSig;
  int rmaEagerInit;
  int hostCftMode;
  int nvlsHostMode;
} ncclConfig_t;

#define NCCL_CONFIG_INITIALIZER                                                                    \
  {                                                                                                \
    sizeof(ncclConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_CONFIG_UNDEF_INT,                \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                       \
        NCCL_CONFIG_UNDEF_PTR /* netName */, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,         \
        NCCL_CONFIG_UNDEF_PTR /* commName */, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,        \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                       \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                       \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                       \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT \
  }

/* A list of options by vendor: {vendor, option} → value. Whoever does not know a key skips it. */
typedef struct ncclConfigExt {
  struct ncclConfigExt* next;
  struct {
    int vendorId;
    int optionId;
  } key;
  union {
    int i;
    const char* s;
    void* raw;
  } val;
} ncclConfigExt_t;

/* Options of one collective (the ...Config functions). Host memory has one algorithm for each
 * collective: it checks size and magic and ignores the rest. */
typedef struct ncclCollConfig_v23200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  ncclConfigExt_t* ext;
  int minCTAs;
  int maxCTAs;
  int nvlsCTAs;
  int cgaClusterSize;
  const char* algSelection;
  int forceAlgSelection;
  int CTAPolicy;
  uint64_t userProfilerTag;
  cudaEvent_t launchCompletionEvent; /* [gpu] */
} ncclCollConfig_t;

#define NCCL_COLLCONFIG_INITIALIZER                                                     \
  {                                                                                     \
    sizeof(ncclCollConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_CONFIG_UNDEF_PTR, \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,            \
        NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_PTR, 1 /* forceAlgSelection */,        \
        NCCL_CONFIG_UNDEF_INT, 0 /* userProfilerTag */, NCCL_CONFIG_UNDEF_PTR           \
  }

typedef struct ncclSimInfo_v22200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  float estimatedTime; /* microseconds for all calls of the group; negative: unknown */
} ncclSimInfo_t;

#define NCCL_SIM_INFO_INITIALIZER \
  { sizeof(ncclSimInfo_t), 0x74685283, NCCL_VERSION_CODE, NCCL_UNDEF_FLOAT }

typedef enum NCCL_ENUM_BASE {
  NCCL_ENCRYPTION_MODE_NONE = 0,
  NCCL_ENCRYPTION_MODE_PSK = 1 /* a pre-shared key */
} ncclEncryptionMode_t;

typedef struct ncclEncryptionConfig_v23200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int mode; /* ncclEncryptionMode_t */
  const char* psk;
} ncclEncryptionConfig_t;

#define NCCL_ENCRYPTION_CONFIG_INITIALIZER                                                        \
  {                                                                                               \
    sizeof(ncclEncryptionConfig_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NCCL_ENCRYPTION_MODE_NONE, \
        NCCL_CONFIG_UNDEF_PTR                                                                     \
  }

/* One wait: until `peer` has signalled opCnt times more on (sigIdx, ctx). */
typedef struct {
  int opCnt;
  int peer;
  int sigIdx;
  int ctx;
} ncclWaitSignalDesc_t;

/* ---- Version and errors ----------------------------------------------------------------------*/

/* Declares a function and its profiling twin: same code, and a tool that replaces ncclX can still
 * reach it as pncclX. */
#define NCCL_TWINS(result, name, args) \
  result name args;                    \
  result p##name args

/* *version = the NCCL version that this library stands for: 23203. NULL: ncclInvalidArgument. */
NCCL_TWINS(ncclResult_t, ncclGetVersion, (int* version));

/* The fixed English text of a result code; also for numbers that are none. Never NULL. */
NCCL_TWINS(const char*, ncclGetErrorString, (ncclResult_t result));

/* What the calling thread's last failed call said: what was tried, what came back, what to do. ""
 * when none failed. Valid until the thread's next failing call. comm may be NULL. */
NCCL_TWINS(const char*, ncclGetLastError, (ncclComm_t comm));

/* *asyncError = the state of the communicator: ncclSuccess, ncclInProgress, or the first error that
 * hit it in the background. Any thread may ask at any time before Destroy or Abort. */
NCCL_TWINS(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncError));

/* Reads NCCL_DEBUG and its relatives again. Deprecated by the vendor; kept for old programs. */
NCCL_TWINS(void, ncclResetDebugInit, (void));

/* ---- Communicators ---------------------------------------------------------------------------*/

/* Makes a fresh id (or the one that NCCL_COMM_ID names) and starts listening for the ranks. Called
 * by one rank, which must stay alive until all have come. ncclSystemError: no usable interface. */
NCCL_TWINS(ncclResult_t, ncclGetUniqueId, (ncclUniqueId * uniqueId));

/* Joins rank `rank` of `nranks` (0 ≤ rank < nranks). Returns when all ranks have come, or after
 * 120 s with an error that names the missing ones. */
NCCL_TWINS(ncclResult_t, ncclCommInitRank,
           (ncclComm_t * comm, int nranks, ncclUniqueId commId, int rank));

/* The same with options; config NULL means the defaults. */
NCCL_TWINS(ncclResult_t, ncclCommInitRankConfig,
           (ncclComm_t * comm, int nranks, ncclUniqueId commId, int rank, ncclConfig_t* config));

/* The same with nId ids made by different ranks, for very large jobs. On host memory the first one
 * is enough and the others are not used. */
NCCL_TWINS(ncclResult_t, ncclCommInitRankScalable,
           (ncclComm_t * newcomm, int nranks, int myrank, int nId, ncclUniqueId* commIds,
            ncclConfig_t* config));

/* ndev ranks inside this one process; writes comm[0..ndev). devlist (NULL: 0..ndev-1) names the
 * devices; on host memory they are all the same host. */
NCCL_TWINS(ncclResult_t, ncclCommInitAll, (ncclComm_t * comm, int ndev, const int* devlist));

/* Flushes what is pending and tells the peers that this rank leaves. NULL: ncclSuccess. */
NCCL_TWINS(ncclResult_t, ncclCommFinalize, (ncclComm_t comm));

/* Finalizes when that was not done, then frees. The handle is dead afterwards. NULL: ncclSuccess.
 */
NCCL_TWINS(ncclResult_t, ncclCommDestroy, (ncclComm_t comm));

/* Gives pending work up, on all ranks, and frees; also from another thread while a call is blocked.
 * Buffers of unfinished operations are undefined. NULL: ncclSuccess. */
NCCL_TWINS(ncclResult_t, ncclCommAbort, (ncclComm_t comm));

/* Gives pending work up but keeps the handle: operations are ncclInvalidUsage from now on; Shrink,
 * Split, Abort and Destroy still work. revokeFlags: NCCL_REVOKE_DEFAULT. NULL: ncclSuccess. */
NCCL_TWINS(ncclResult_t, ncclCommRevoke, (ncclComm_t comm, int revokeFlags));

/* Collective: ranks of equal color ≥ 0 form a child, ordered by key, then by old rank. With
 * NCCL_SPLIT_NOCOLOR *newcomm is NULL. config NULL: the parent's options. */
NCCL_TWINS(ncclResult_t, ncclCommSplit,
           (ncclComm_t comm, int color, int key, ncclComm_t* newcomm, ncclConfig_t* config));

/* The child of all ranks but the excluded ones, in the old order; called by those that stay only.
 * NCCL_SHRINK_ABORT is for a parent whose excluded ranks are dead. */
NCCL_TWINS(ncclResult_t, ncclCommShrink,
           (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount, ncclComm_t* newcomm,
            ncclConfig_t* config, int shrinkFlags));

/* An id for ncclCommGrow, made by one rank of an existing communicator. */
NCCL_TWINS(ncclResult_t, ncclCommGetUniqueId, (ncclComm_t comm, ncclUniqueId* uniqueId));

/* A larger communicator of nRanks: old members pass comm and rank -1 (they keep their rank; the one
 * that made the id passes it, the others NULL); new ones pass comm NULL, the id and their rank. */
NCCL_TWINS(ncclResult_t, ncclCommGrow,
           (ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank,
            ncclComm_t* newcomm, ncclConfig_t* config));

/* Facts of a communicator. NULL comm or output: ncclInvalidArgument, output untouched. The device
 * of a host communicator is the number that it was created with (0 for ncclCommInitRank). */
NCCL_TWINS(ncclResult_t, ncclCommCount, (const ncclComm_t comm, int* count));
NCCL_TWINS(ncclResult_t, ncclCommCuDevice, (const ncclComm_t comm, int* device));
NCCL_TWINS(ncclResult_t, ncclCommUserRank, (const ncclComm_t comm, int* rank));

/* Gives memory that can be made again back to the system (flags: NCCL_SUSPEND_MEM), and takes it
 * again. Collective; between the two, operations are ncclInvalidUsage. */
NCCL_TWINS(ncclResult_t, ncclCommSuspend, (ncclComm_t comm, int flags));
NCCL_TWINS(ncclResult_t, ncclCommResume, (ncclComm_t comm));

/* *value = one number about the memory of a communicator; see ncclCommMemStat_t for the units. */
NCCL_TWINS(ncclResult_t, ncclCommMemStats,
           (ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value));

/* ---- Memory, registration, windows -----------------------------------------------------------*/

/* `size` bytes, page aligned, that the ranks of one host can share without a copy. size 0 gives
 * NULL. Free with ncclMemFree (NULL is ncclSuccess, an unknown pointer ncclInvalidArgument). */
NCCL_TWINS(ncclResult_t, ncclMemAlloc, (void** ptr, size_t size));
NCCL_TWINS(ncclResult_t, ncclMemFree, (void* ptr));

/* Announces a buffer for faster use by later operations; local to the rank. The handle is for
 * Deregister, before the buffer is freed. */
NCCL_TWINS(ncclResult_t, ncclCommRegister,
           (const ncclComm_t comm, void* buff, size_t size, void** handle));
NCCL_TWINS(ncclResult_t, ncclCommDeregister, (const ncclComm_t comm, void* handle));

/* Collective: each rank exposes `size` bytes to its peers (ncclPutSignal). winFlags: NCCL_WIN_*.
 * Between processes buff must come from ncclMemAlloc; a rank with size 0 exposes nothing. */
NCCL_TWINS(ncclResult_t, ncclCommWindowRegister,
           (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags));
NCCL_TWINS(ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t win));

/* *outUserPtr = the buffer that this rank registered as win. */
NCCL_TWINS(ncclResult_t, ncclWinGetUserPtr, (ncclComm_t comm, ncclWindow_t win, void** outUserPtr));

/* ---- Reduction operators ---------------------------------------------------------------------*/

/* *op = "scalar × contribution, then sum", with this rank's scalar of type `datatype`, for comm
 * only. Destroy it when no further call will name it; calls already made keep it. */
NCCL_TWINS(ncclResult_t, ncclRedOpCreatePreMulSum,
           (ncclRedOp_t * op, void* scalar, ncclDataType_t datatype,
            ncclScalarResidence_t residence, ncclComm_t comm));
NCCL_TWINS(ncclResult_t, ncclRedOpDestroy, (ncclRedOp_t op, ncclComm_t comm));

/* ---- Collectives -----------------------------------------------------------------------------
 * Called by all ranks in the same order with the same count, type, op and root: anything else is
 * found and is ncclInvalidUsage on every rank. sendbuff == recvbuff (or the block of the own rank
 * in the larger buffer) works in place; other overlaps are undefined. */

/* recvbuff on every rank = op over the ranks' sendbuff; count elements each. */
NCCL_TWINS(ncclResult_t, ncclAllReduce,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream));

/* The same, on rank root only. */
NCCL_TWINS(ncclResult_t, ncclReduce,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream));

/* recvbuff on every rank = root's sendbuff. Only root's sendbuff is read. */
NCCL_TWINS(ncclResult_t, ncclBroadcast,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream));

/* ncclBroadcast in place. */
NCCL_TWINS(ncclResult_t, ncclBcast,
           (void* buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
            cudaStream_t stream));

/* recvbuff (nranks × sendcount) = the ranks' sendbuff in rank order. */
NCCL_TWINS(ncclResult_t, ncclAllGather,
           (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype,
            ncclComm_t comm, cudaStream_t stream));

/* recvbuff (recvcount) = block `own rank` of op over the ranks' sendbuff (nranks × recvcount). */
NCCL_TWINS(ncclResult_t, ncclReduceScatter,
           (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype,
            ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream));

/* Block i of recvbuff = block `own rank` of rank i's sendbuff; both nranks × count. Not in place.
 */
NCCL_TWINS(ncclResult_t, ncclAlltoAll,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclComm_t comm, cudaStream_t stream));

/* Root's recvbuff (nranks × count) = the ranks' sendbuff (count) in rank order. */
NCCL_TWINS(ncclResult_t, ncclGather,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream));

/* Each rank's recvbuff (count) = its block of root's sendbuff (nranks × count). */
NCCL_TWINS(ncclResult_t, ncclScatter,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream));

/* The same eight with options for one call; config NULL is the plain call. */
NCCL_TWINS(ncclResult_t, ncclAllReduceConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclReduceConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream,
            const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclBroadcastConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclAllGatherConfig,
           (const void* sendbuff, void* recvbuff, size_t sendcount, ncclDataType_t datatype,
            ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclReduceScatterConfig,
           (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype,
            ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclAlltoAllConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
            ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclGatherConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));
NCCL_TWINS(ncclResult_t, ncclScatterConfig,
           (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, int root,
            ncclComm_t comm, cudaStream_t stream, const ncclCollConfig_t* config));

/* ---- Point to point, one-sided ---------------------------------------------------------------*/

/* A send meets the receive of equal count and type that the peer posts for this rank, in order.
 * Both may block until the other side comes: put what must overlap into one group. */
NCCL_TWINS(ncclResult_t, ncclSend,
           (const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
            cudaStream_t stream));
NCCL_TWINS(ncclResult_t, ncclRecv,
           (void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
            cudaStream_t stream));

/* Writes localbuff into the peer's window peerWinOffset bytes behind its start, then signals it.
 * Signals are counted by (sigIdx 0..15, ctx 0..3); flags must be 0. */
NCCL_TWINS(ncclResult_t, ncclPutSignal,
           (const void* localbuff, size_t count, ncclDataType_t datatype, int peer,
            ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx, unsigned int flags,
            ncclComm_t comm, cudaStream_t stream));

/* Signals only: after all that this rank put to the peer before. */
NCCL_TWINS(ncclResult_t, ncclSignal,
           (int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
            cudaStream_t stream));

/* Waits for all nDesc descriptions; what the counted puts wrote is visible afterwards. */
NCCL_TWINS(ncclResult_t, ncclWaitSignal,
           (int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm, cudaStream_t stream));

/* ---- Groups ----------------------------------------------------------------------------------
 * Calls between Start and End of one thread are issued together at the outermost End; they nest.
 * An error in one fails the group. End without Start is ncclInvalidUsage. */

NCCL_TWINS(ncclResult_t, ncclGroupStart, (void));
NCCL_TWINS(ncclResult_t, ncclGroupEnd, (void));

/* Ends the group and runs nothing of it, but says what it would take. simInfo may be NULL. */
NCCL_TWINS(ncclResult_t, ncclGroupSimulateEnd, (ncclSimInfo_t * simInfo));

/* ---- Parameters ------------------------------------------------------------------------------
 * The library's settings by their environment name, e.g. "NCCL_DEBUG". An unknown key, a number
 * that does not fit the type, or a text where a number was asked is ncclInvalidArgument. */

/* A handle for one key; handles live as long as the process. */
NCCL_TWINS(ncclResult_t, ncclParamBind, (ncclParamHandle_t * out, const char* key));

NCCL_TWINS(ncclResult_t, ncclParamGetI8, (ncclParamHandle_t h, int8_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetI16, (ncclParamHandle_t h, int16_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetI32, (ncclParamHandle_t h, int32_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetI64, (ncclParamHandle_t h, int64_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetU8, (ncclParamHandle_t h, uint8_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetU16, (ncclParamHandle_t h, uint16_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetU32, (ncclParamHandle_t h, uint32_t* out));
NCCL_TWINS(ncclResult_t, ncclParamGetU64, (ncclParamHandle_t h, uint64_t* out));

/* The value as text; belongs to the library and stays valid. */
NCCL_TWINS(ncclResult_t, ncclParamGetStr, (ncclParamHandle_t h, const char** out));

/* The raw value into `out` (maxLen bytes); *len = the bytes it has. */
NCCL_TWINS(ncclResult_t, ncclParamGet, (ncclParamHandle_t h, void* out, int maxLen, int* len));

/* The value of one key as text; *valueLen = its length without the final NUL. */
NCCL_TWINS(ncclResult_t, ncclParamGetParameter,
           (const char* key, const char** value, int* valueLen));

/* All keys; table and texts belong to the library. */
NCCL_TWINS(ncclResult_t, ncclParamGetAllParameterKeys, (const char*** table, int* tableLen));

/* Writes all settings to the log. */
NCCL_TWINS(void, ncclParamDumpAll, (void));

/* ---- The host side of the device API ---------------------------------------------------------*/

/* [gpu] One key for all: mode PSK encrypts what leaves the host. Mode NONE is refused as well, so
 * that nobody takes an answer for protection. */
NCCL_TWINS(ncclResult_t, ncclSetEncryption, (const ncclEncryptionConfig_t* config));

typedef uint32_t ncclDevResourceHandle;
typedef ncclDevResourceHandle ncclDevResourceHandle_t;
typedef uint32_t ncclGinSignal_t;
typedef uint32_t ncclGinCounter_t;
typedef uint32_t ncclCftLeId;
typedef ncclCftLeId ncclCftLeId_t;

typedef enum NCCL_ENUM_BASE {
  NCCL_GIN_CONNECTION_NONE,
  NCCL_GIN_CONNECTION_FULL,
  NCCL_GIN_CONNECTION_RAIL,
  NCCL_GIN_CONNECTION_CUSTOM_STRIDE
} ncclGinConnectionType_t;

typedef enum NCCL_ENUM_BASE {
  NCCL_GIN_TYPE_NONE = 0,
  NCCL_GIN_TYPE_PROXY = 2,
  NCCL_GIN_TYPE_GDAKI = 3,
  NCCL_GIN_TYPE_GPI = 4,
  NCCL_GIN_TYPE_EFA_GDA = 5,
  NCCL_GIN_MAX_TYPES = 6
} ncclGinType_t;

typedef enum NCCL_ENUM_BASE {
  NCCL_CFT_TEAM_FLAT,
  NCCL_CFT_TEAM_HIER_MULTIMEM,
  NCCL_CFT_TEAM_HIER_LSA
} ncclCftTeamMode_t;

typedef enum NCCL_ENUM_BASE { NCCL_CFT_NONE = 0, NCCL_CFT = 1, NCCL_CFT_MULTIMEM = 2 } ncclCftCap_t;

/* The ranks rank, rank ± stride, … of a larger team; nRanks of them. */
typedef struct ncclTeam {
  int nRanks;
  int rank;
  int stride;
} ncclTeam_t;

typedef struct ncclMultimemHandle {
  void* mcBasePtr;
} ncclMultimemHandle_t;

typedef struct ncclLsaBarrierHandle {
  ncclDevResourceHandle_t bufHandle;
  int nBarriers;
} ncclLsaBarrierHandle_t;

typedef struct ncclGinBarrierHandle {
  ncclGinSignal_t signal0;
  ncclDevResourceHandle_t unused;
} ncclGinBarrierHandle_t;

typedef struct ncclLLA2AHandle {
  ncclDevResourceHandle_t bufHandle;
  uint32_t nSlots;
} ncclLLA2AHandle_t;

typedef struct ncclGinOutboxHandle {
  ncclDevResourceHandle bufHandle;
  uint32_t size_log2;
} ncclGinOutboxHandle;

typedef struct ncclGinInboxA2AHandle {
  ncclDevResourceHandle bufHandle;
  ncclGinSignal_t signals;
  uint32_t size_log2;
  uint32_t nPeers_rcp32;
} ncclGinInboxA2AHandle;

/* Only its head is public; kernels that look inside use the vendor's device headers. */
typedef struct ncclDevComm {
  unsigned int magic;
  unsigned int version;
  int rank;
  int nRanks;
  uint64_t internal[29];
} ncclDevComm_t;

typedef struct ncclDevResourceRequirements {
  struct ncclDevResourceRequirements* next;
  size_t bufferSize;
  size_t bufferAlign;
  ncclDevResourceHandle_t* outBufferHandle;
  int ginSignalCount;
  int ginCounterCount;
  ncclGinSignal_t* outGinSignalStart;
  ncclGinCounter_t* outGinCounterStart;
} ncclDevResourceRequirements_t;

typedef struct ncclTeamRequirements {
  struct ncclTeamRequirements* next;
  ncclTeam_t team;
  bool multimem;
  ncclMultimemHandle_t* outMultimemHandle;
} ncclTeamRequirements_t;

typedef struct ncclDevCommRequirements {
  size_t size;
  unsigned int magic;
  unsigned int version;
  ncclDevResourceRequirements_t* resourceRequirementsList;
  ncclTeamRequirements_t* teamRequirementsList;
  bool lsaMultimem;
  int barrierCount;
  int lsaBarrierCount;
  int railGinBarrierCount;
  int lsaLLA2ABlockCount;
  int lsaLLA2ASlotCount;
  bool ginForceEnable;
  int ginContextCount;
  int ginSignalCount;
  int ginCounterCount;
  ncclGinConnectionType_t ginConnectionType;
  bool ginExclusiveContexts;
  int ginQueueDepth;
  int ginTrafficClass;
  int worldGinBarrierCount;
  bool ginStrongSignalsRequired;
  bool ginVaSignalsRequired;
  int ginCustomStride;
  ncclGinType_t ginType;
  bool useRuntimeVersion;
  int cftCaps;
  int cftBarrierCount;
} ncclDevCommRequirements_t;

#define NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER                                                     \
  {                                                                                                \
    sizeof(ncclDevCommRequirements_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, NULL, NULL, false, 0, 0, \
        0, 0, 0, false /* ginForceEnable */, 4 /* ginContextCount */, 0, 0,                        \
        NCCL_GIN_CONNECTION_NONE, false, 0, NCCL_CONFIG_UNDEF_INT /* ginTrafficClass */, 0, true,  \
        true, 1 /* ginCustomStride */, NCCL_GIN_TYPE_NONE, false, NCCL_CFT_NONE, 0                 \
  }

/* What a communicator is and can do. On host memory hostRmaSupport is true, every other "support"
 * is false and every type none; cudaDev is what ncclCommCuDevice says, nvmlDev -1. nLsaTeams is the
 * number of hosts: the ranks of one reach each other's memory by load and store. */
typedef struct ncclCommProperties {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int rank;
  int nRanks;
  int cudaDev;
  int nvmlDev;
  bool deviceApiSupport;
  bool multimemSupport;
  ncclGinType_t ginType;
  int nLsaTeams;
  bool hostRmaSupport;
  ncclGinType_t railedGinType;
  uint64_t commHash;
  int ginMinStride;
  ncclGinConnectionType_t ginConnectionType;
  bool ginSupport[64];
  size_t devCommRuntimeVersionSize;
  bool cftSupport;
  bool cftMulticastSupport;
  bool cftCountedSupport;
} ncclCommProperties_t;

#define NCCL_COMM_PROPERTIES_INITIALIZER                                                           \
  {                                                                                                \
    sizeof(ncclCommProperties_t), NCCL_API_MAGIC, NCCL_VERSION_CODE, 0, 0, 0, 0, false, false,     \
        NCCL_GIN_TYPE_NONE, 0, false, NCCL_GIN_TYPE_NONE, 0, 0, NCCL_GIN_CONNECTION_NONE, {false}, \
        0, false, false, false                                                                     \
  }

/* Fills *props up to props->size, which the initialiser sets. Works on host memory. */
NCCL_TWINS(ncclResult_t, ncclCommQueryProperties, (ncclComm_t comm, ncclCommProperties_t* props));

/* [gpu] The object that kernels communicate with. */
NCCL_TWINS(ncclResult_t, ncclDevCommCreate,
           (ncclComm_t comm, const ncclDevCommRequirements_t* reqs, ncclDevComm_t* outDevComm));
NCCL_TWINS(ncclResult_t, ncclDevCommDestroy, (ncclComm_t comm, const ncclDevComm_t* devComm));

/* [gpu] Where a byte of a window is seen from this GPU: through multicast, or of one peer. */
NCCL_TWINS(ncclResult_t, ncclGetLsaMultimemDevicePointer,
           (ncclWindow_t window, size_t offset, void** outPtr));
NCCL_TWINS(ncclResult_t, ncclGetMultimemDevicePointer,
           (ncclWindow_t window, size_t offset, ncclMultimemHandle_t multimem, void** outPtr));
NCCL_TWINS(ncclResult_t, ncclGetLsaDevicePointer,
           (ncclWindow_t window, size_t offset, int lsaRank, void** outPtr));
NCCL_TWINS(ncclResult_t, ncclGetPeerDevicePointer,
           (ncclWindow_t window, size_t offset, int peer, void** outPtr));

/* [gpu] The same as logical endpoint and offset. */
NCCL_TWINS(ncclResult_t, ncclGetMultimemDeviceLeInfo,
           (ncclWindow_t window, size_t offset, ncclCftLeId* leId, size_t* leOffset));
NCCL_TWINS(ncclResult_t, ncclGetCftDeviceLeInfo,
           (ncclWindow_t window, size_t offset, int peerCft, ncclTeam_t cftTeam, ncclCftLeId* leId,
            size_t* leOffset));
NCCL_TWINS(ncclResult_t, ncclGetPeerDeviceLeInfo,
           (ncclWindow_t window, size_t offset, int peerWorld, ncclCftLeId* leId,
            size_t* leOffset));

/* [gpu] Teams of ranks. They have no result code: a refusal is the empty team {0, 0, 0}, or rank
 * -1, with the reason in ncclGetLastError. */
NCCL_TWINS(ncclTeam_t, ncclTeamWorld, (ncclComm_t comm));
NCCL_TWINS(ncclTeam_t, ncclTeamLsa, (ncclComm_t comm));
NCCL_TWINS(ncclTeam_t, ncclTeamRail, (ncclComm_t comm));
NCCL_TWINS(ncclTeam_t, ncclTeamCftMultimem, (ncclComm_t comm));
#ifdef __cplusplus
NCCL_TWINS(ncclTeam_t, ncclTeamCft, (ncclComm_t comm, ncclCftTeamMode_t mode = NCCL_CFT_TEAM_FLAT));
#else
NCCL_TWINS(ncclTeam_t, ncclTeamCft, (ncclComm_t comm, ncclCftTeamMode_t mode));
#endif
NCCL_TWINS(int, ncclTeamRankToWorld, (ncclComm_t comm, ncclTeam_t team, int rank));
NCCL_TWINS(int, ncclTeamRankToLsa, (ncclComm_t comm, ncclTeam_t team, int rank));

/* [gpu] Each fills one element of ncclDevCommRequirements_t.resourceRequirementsList. */
NCCL_TWINS(ncclResult_t, ncclLsaBarrierCreateRequirement,
           (ncclTeam_t team, int nBarriers, ncclLsaBarrierHandle_t* outHandle,
            ncclDevResourceRequirements_t* outReq));
NCCL_TWINS(ncclResult_t, ncclGinBarrierCreateRequirement,
           (ncclComm_t comm, ncclTeam_t team, int nBarriers, ncclGinBarrierHandle_t* outHandle,
            ncclDevResourceRequirements_t* outReq));
NCCL_TWINS(ncclResult_t, ncclLLA2ACreateRequirement,
           (int nBlocks, int nSlots, ncclLLA2AHandle_t* outHandle,
            ncclDevResourceRequirements_t* outReq));
NCCL_TWINS(ncclResult_t, ncclGinOutboxCreateRequirement,
           (int nBlocks, int size_log2, ncclGinOutboxHandle* outHandle,
            ncclDevResourceRequirements_t* outReq));
NCCL_TWINS(ncclResult_t, ncclGinInboxA2ACreateRequirement,
           (ncclTeam_t peers, int nBlocks, int size_log2, ncclGinInboxA2AHandle* outHandle,
            ncclDevResourceRequirements_t* outReq));

/* Slots of 8 bytes that maxElts elements of maxEltSize bytes take: plain arithmetic, on any host.
 */
NCCL_TWINS(int, ncclLLA2ACalcSlots, (int maxElts, int maxEltSize));

#undef NCCL_TWINS

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* NCCL_H_ */
