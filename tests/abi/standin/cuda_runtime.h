/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for CUDA's header of this name where there is no CUDA: just what the vendor's NCCL
 * headers need to compile. Test material; nothing here can run on a GPU.
 */
#ifndef STANDIN_CUDA_RUNTIME_H_
#define STANDIN_CUDA_RUNTIME_H_

#include <stddef.h>
#include <stdint.h>

#define CUDART_VERSION 13000

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;

#endif /* STANDIN_CUDA_RUNTIME_H_ */
