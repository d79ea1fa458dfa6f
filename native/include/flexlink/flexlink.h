/* SPDX-License-Identifier: Apache-2.0
 *
 * What NCCL's API lacks on host memory: streams to enqueue on and to wait for. A host stream is
 * passed wherever NCCL takes a cudaStream_t. With stream NULL a call returns when its work is done.
 * And a model of how paths share one collective, for machines that need not be there.
 */
#ifndef FLEXLINK_FLEXLINK_H_
#define FLEXLINK_FLEXLINK_H_

#include <stddef.h>
#include <stdint.h>

#include "flexlink/nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bitwise reductions of integers, which NCCL lacks: to be passed as an ncclRedOp_t. */
#define flexlinkBitAnd ((ncclRedOp_t)0x7ffffff0)
#define flexlinkBitOr ((ncclRedOp_t)0x7ffffff1)
#define flexlinkBitXor ((ncclRedOp_t)0x7ffffff2)

/* "0.1.0": the version of FlexLink itself (ncclGetVersion says which NCCL it stands for). */
const char* flexlinkGetVersion(void);

/* For which GPUs this library has CUDA kernels, and by which nvcc; or "none: " and why. */
const char* flexlinkCudaKernels(void);

/* Where the buffers of a communicator lie. */
typedef enum { flexlinkHost = 0, flexlinkCuda = 1 } flexlinkDevice_t;

typedef void (*flexlinkFunction_t)(void);

/* The function `name` of NCCL's API or of this header for communicators on `device`, to be cast to
 * its own type, whatever FLEXLINK_DEVICE says: one process can have communicators on both. On GPUs
 * calls pass through to the vendor where they do in this process; on host memory they never do.
 * What one device's functions make (ids, communicators, windows, memory, streams, groups) is for
 * the functions of that device. NULL: there is no such function, or on GPUs it is one of this
 * header and the vendor has none like it. Where a device cannot be used, the functions that make
 * communicators say why. Any thread. */
flexlinkFunction_t flexlinkFunctionOn(flexlinkDevice_t device, const char* name);

/* Makes an in-order queue of work on host memory. Any thread may use it, one at a time. */
ncclResult_t flexlinkStreamCreate(cudaStream_t* stream);

/* Waits for all work of the stream, then frees it. */
ncclResult_t flexlinkStreamDestroy(cudaStream_t stream);

/* Returns when all work that was enqueued before the call is finished: ncclSuccess, or the first
 * error of that work. The calling thread itself drives the work while it waits. */
ncclResult_t flexlinkStreamSynchronize(cudaStream_t stream);

/* ncclSuccess when all work is finished, ncclInProgress, or the first error. Never waits. */
ncclResult_t flexlinkStreamQuery(cudaStream_t stream);

/* *ticket names all work that was enqueued so far (it grows by one for each piece of work). */
ncclResult_t flexlinkStreamRecord(cudaStream_t stream, uint64_t* ticket);

/* Waits until the work named by ticket is finished. timeoutMicros: microseconds; negative: no
 * limit; 0: only asks. Returns ncclInProgress when the time is over and the work is not finished.
 */
ncclResult_t flexlinkStreamWait(cudaStream_t stream, uint64_t ticket, int64_t timeoutMicros);

typedef void (*flexlinkNotice_t)(void* argument);

/* Calls function(argument) once when the work named by ticket has finished or failed, at once if it
 * has. The calling thread may be the library's own and may hold its locks: the function must be
 * short, must not wait and must not call this library. */
ncclResult_t flexlinkStreamNotify(cudaStream_t stream, uint64_t ticket, flexlinkNotice_t function,
                                  void* argument);

/* Work that is enqueued on `stream` from now on starts after `ticket` of `other` is finished. */
ncclResult_t flexlinkStreamWaitStream(cudaStream_t stream, cudaStream_t other, uint64_t ticket);

/* Three kinds of work that a stream does itself, in its turn, also when nobody waits for it: so
 * that the stream of one library and the streams of others can be ordered from outside. */

/* *at = value, with everything that was enqueued before it: who sees the value (acquire) sees that,
 * too. `at` is aligned to 8 bytes and stays until then; other processes may map it. */
ncclResult_t flexlinkStreamWriteValue64(cudaStream_t stream, uint64_t* at, uint64_t value);

/* What is enqueued from now on starts when *at >= value: a counter that only grows, written by
 * another stream, by a thread (release) or by a process that maps it. A value that never comes is
 * waited for without limit. */
ncclResult_t flexlinkStreamWaitValue64(cudaStream_t stream, const uint64_t* at, uint64_t value);

/* Copies bytes that do not overlap. Both stay untouched until it is done. */
ncclResult_t flexlinkStreamCopy(cudaStream_t stream, void* dst, const void* src, size_t bytes);

/* An operation of this communicator that has not moved for timeoutMicros fails with ncclTimeout and
 * names the rank that it waited for; the peers fail with it. <= 0: no limit. In place of
 * FLEXLINK_TIMEOUT. Any thread. */
ncclResult_t flexlinkCommSetTimeout(ncclComm_t comm, int64_t timeoutMicros);

/* Destroys the communicator as ncclCommDestroy does, but waits for no receive that nobody has
 * answered: it ends with ncclInvalidUsage here, and no peer hears of it. All else that was enqueued
 * is waited for. Where a message has come in part, its sender gets an error. A receive of a peer
 * from this rank that is in no group with others ends with ncclRemoteError there, and that peer's
 * communicator goes on. */
ncclResult_t flexlinkCommLeave(ncclComm_t comm);

/* *rank = whom the operation at hand waits for, as this rank sees it; -1: nobody. Any thread. */
ncclResult_t flexlinkCommWaitsFor(ncclComm_t comm, int* rank);

/* Writes the list of all settings with value and origin as text ("name value origin unit prose",
 * tab-separated lines) into buffer (NUL-terminated, cut at capacity). Returns the full length. */
size_t flexlinkSettingsDump(char* buffer, size_t capacity);

/* Where this process looks for the vendor's libnccl.so.2 and what is there, as text: a line "path
 * source what" (separated by tabs) for each place, in order, up to the first library that may be
 * used; of that, "what" begins with "NCCL". Written as by flexlinkSettingsDump. */
size_t flexlinkVendorPlaces(char* buffer, size_t capacity);

/* Collectives that a plan can be made for. */
enum {
  flexlinkPlanAllReduce = 0,
  flexlinkPlanAllGather = 1,
  flexlinkPlanReduceScatter = 2,
  flexlinkPlanAlltoAll = 3
};

/* How the steps of a path follow each other: to one neighbour at a time, or to all peers at once.
 */
enum { flexlinkPlanRing = 0, flexlinkPlanDirect = 1 };

/* One way from every rank to its peers. A message passes `stages` copies, which overlap by chunks
 * (GPU to host memory to GPU: 2; straight: 1). */
typedef struct {
  double rate;      /* bytes/s in one direction for each rank; > 0 */
  double latency;   /* seconds of each stage of each step */
  double chunk;     /* bytes of the buffer between two stages; 0: no wait for a chunk */
  int32_t stages;   /* >= 1 */
  int32_t schedule; /* flexlinkPlanRing or flexlinkPlanDirect */
} flexlinkPlanPath;

/* Something that paths share: an uplink, the host's memory. */
typedef struct {
  double rate;             /* bytes/s that one rank has of it; > 0 */
  const double* crossings; /* for each path: how often a byte on it crosses the cap; 0: never */
} flexlinkPlanCap;

typedef struct {
  size_t size;        /* sizeof(flexlinkPlanInput) */
  int32_t collective; /* flexlinkPlanAllReduce ... */
  int32_t ranks;      /* >= 2 */
  uint64_t bytes;     /* as in nccl-tests: the buffer of AllReduce, else the larger buffer */
  const flexlinkPlanPath* paths; /* 1 to 16; the first one is the primary */
  size_t pathCount;
  const flexlinkPlanCap* caps; /* at most 16; NULL where capCount is 0 */
  size_t capCount;
} flexlinkPlanInput;

typedef struct {
  double share;    /* of the bytes, 0 to 1: what the model finds best */
  uint32_t weight; /* the same as the library uses it: parts of 1024 */
  uint64_t offset; /* the slice that follows from the weights, in bytes of each rank's block */
  uint64_t length; /* 0: no slice */
} flexlinkPlanShare;

typedef struct {
  size_t size;               /* sizeof(flexlinkPlanOutput), set by the caller */
  flexlinkPlanShare* shares; /* set by the caller: room for pathCount; filled in */
  double seconds;            /* of the operation, all used paths ending together */
  double secondsAlone;       /* of the operation on the primary alone */
  double busbw;              /* bytes/s, as nccl-tests define it */
  double busbwAlone;
  double fullBusbw;  /* what busbw nears for ever larger operations */
  double aloneBelow; /* bytes below which one path alone carries all; infinite with one path */
} flexlinkPlanOutput;

/* What the library's balancer would do on a machine with these paths, and how long that takes: a
 * model, nothing is measured or sent. Any thread, at any time, without a communicator. */
ncclResult_t flexlinkPlan(const flexlinkPlanInput* input, flexlinkPlanOutput* output);

#ifdef __cplusplus
}
#endif

#endif /* FLEXLINK_FLEXLINK_H_ */
