/* SPDX-License-Identifier: Apache-2.0
 *
 * What NCCL's API lacks on host memory: streams to enqueue on and to wait for. A host stream is
 * passed wherever NCCL takes a cudaStream_t. With stream NULL a call returns when its work is done.
 */
#ifndef FLEXLINK_FLEXLINK_H_
#define FLEXLINK_FLEXLINK_H_

#include <stddef.h>
#include <stdint.h>

#include "flexlink/nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0": the version of FlexLink itself (ncclGetVersion says which NCCL it stands for). */
const char* flexlinkGetVersion(void);

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

/* Work that is enqueued on `stream` from now on starts after `ticket` of `other` is finished. */
ncclResult_t flexlinkStreamWaitStream(cudaStream_t stream, cudaStream_t other, uint64_t ticket);

/* Writes the list of all settings with value and origin as text ("name value origin unit prose",
 * tab-separated lines) into buffer (NUL-terminated, cut at capacity). Returns the full length. */
size_t flexlinkSettingsDump(char* buffer, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* FLEXLINK_FLEXLINK_H_ */
