/* SPDX-License-Identifier: Apache-2.0
 * The cffi module's own few functions. Not public, and no policy: opening the library and two
 * steps in one call where a blocking operation would else pay for three.
 */
const char* bridgeOpen(const char* path);
ncclResult_t bridgeWait(cudaStream_t stream, int64_t timeoutMicros);
